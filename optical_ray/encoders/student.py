"""The multilingual student: an encoder, from scratch or from a folder, and a projection into the teacher's space.

B sentences, N tokens, D dimensions.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase

from optical_ray.encoders.config import StudentConfig
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.layout import read_layout
from optical_ray.encoders.pretrained import check_length, find_model, load_dense, load_pretrained
from optical_ray.encoders.trainable import Trainable
from optical_ray.errors import ModelError

log = logging.getLogger(__name__)


class Student(Trainable):
    """Token ids -> token vectors in the teacher's space."""

    centre_D: Tensor
    """The teacher's mean token, [D], float32: a buffer, so that it goes wherever the student goes. `forward` does not use it."""

    def __init__(self, encoder: nn.Module, projection: nn.Linear, centre_D: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = projection
        self.register_buffer("centre_D", centre_D.clone())

    def forward(self, ids_BN: Tensor, attention_BN: Tensor) -> Tensor:
        """Token vectors, not normalised, [B, N, D]."""
        states: Tensor = self.encoder(input_ids=ids_BN, attention_mask=attention_BN).last_hidden_state
        projected: Tensor = self.projection(states)
        return projected

    def centred(self) -> Student:
        """The student whose vectors are this one's minus the teacher's mean token: the difference is in the projection's bias."""
        dimension, hidden = self.projection.weight.shape
        projection = nn.Linear(hidden, dimension)
        with torch.no_grad():
            projection.weight.copy_(self.projection.weight)
            projection.bias.copy_(-self.centre_D if self.projection.bias is None else self.projection.bias - self.centre_D)
        return Student(self.encoder, projection, self.centre_D)

    def head_parameters(self) -> list[nn.Parameter]:
        """The projection."""
        return list(self.projection.parameters())


def build_student(
    config: StudentConfig,
    tokenizer: PreTrainedTokenizerBase,
    centre_D: Tensor,
    spread: float,
    generator: torch.Generator,
    encoder: nn.Module | None = None,
    encode: Callable[[Student], TokenClouds] | None = None,
) -> Student:
    """A student whose initial weights are a pure function of the arguments.

    Args:
        config: Architecture and initialisation.
        tokenizer: Fixes the vocabulary of a `scratch` student.
        centre_D: The teacher's mean token, [D]: where the projection's bias starts, if it has one, so that training learns what differs.
        spread: Mean distance of the teacher's tokens from it: how long projected tokens are at the start, beyond the bias.
        generator: CPU generator.
        encoder: Stands in the place of the one that `config` makes, of the same width; that one is made all the same, so that the
            projection is drawn alike with and without it.
        encode: Gives a student's tokens of training texts, for `projection_fit`; None: nothing is fitted.
    """
    if config.init == "scratch":
        own: Any = scratch_encoder(config, tokenizer, generator)
    else:
        own = load_pretrained(config.init, config.revision)[0]
        longest = max(config.query_form.max_tokens, config.document_form.max_tokens)
        check_length(config.init, own, "student.max_tokens", longest)
    hidden, dimension = int(own.config.hidden_size), len(centre_D)
    projection = nn.Linear(hidden, dimension, bias=config.projection_bias)
    with torch.no_grad():
        if config.projection_bias:
            projection.bias.copy_(centre_D)
        copied = _copy_projection(config, projection)
        if not copied:
            nn.init.normal_(projection.weight, std=spread / math.sqrt(hidden * dimension), generator=generator)
    student = Student(own if encoder is None else encoder, projection, centre_D)
    if encode is not None and (config.projection_fit == "always" or (config.projection_fit == "new" and not copied)):
        fit_projection(student, encode(student), spread)
    return student


def fit_projection(student: Student, tokens: TokenClouds, spread: float) -> None:
    """Scale the projection, and move its bias, so that these tokens have the teacher's mean and spread; changed in place.

    An encoder's states have a mean of their own, and after masked-LM most of their length may be that mean: projected, it lies anywhere,
    and a student that has to find the teacher's mean first spends its steps on what the bias can say from the start (decision 019).

    Args:
        student: Whose projection it is; without a bias it is scaled alone.
        tokens: What it makes of training texts now. None, or all the same: nothing is done.
        spread: Mean distance of the teacher's tokens from their mean.
    """
    if not len(tokens.vectors_TD):
        return
    vectors_TD = tokens.vectors_TD.double()
    mean_D = vectors_TD.mean(0)
    distance = float((vectors_TD - mean_D).norm(dim=1).mean())
    if not distance > 0:
        return
    with torch.no_grad():
        factor = spread / distance
        student.projection.weight.mul_(factor)
        bias = student.projection.bias
        if bias is not None:
            projected_D = mean_D.to(bias) - bias  # the mean state, through the weights alone
            bias.copy_(student.centre_D - factor * projected_D)


def _copy_projection(config: StudentConfig, projection: nn.Linear) -> bool:
    """Start a pre-trained student as it is, where its token vectors have the teacher's width; False where they have not."""
    if config.init == "scratch":
        return False
    dense = load_dense(config.init, config.revision)
    if not dense:
        if projection.in_features != projection.out_features:
            return False
        nn.init.eye_(projection.weight)
        if projection.bias is not None:
            projection.bias.zero_()
        return True
    if read_layout(find_model(config.init), config.revision).centred:
        raise ModelError(
            f"{config.init}: its vectors have lost their teacher's mean token; start from the checkpoint that it was exported from"
        )
    layer = dense[0]
    if len(dense) > 1 or not layer.is_linear or layer.linear.weight.shape != projection.weight.shape:
        widths = " -> ".join(str(layer.linear.out_features) for layer in dense)
        log.warning(
            "student.init=%s: its dense layers (-> %s) are no linear map to the teacher's %d dimensions; the projection starts anew",
            config.init,
            widths,
            projection.out_features,
        )
        return False
    if layer.linear.bias is not None and projection.bias is None:
        raise ModelError(f"{config.init}: its projection has a bias, student.projection_bias is false; set it to true")
    projection.weight.copy_(layer.linear.weight)
    if projection.bias is not None:
        projection.bias.copy_(torch.zeros(()) if layer.linear.bias is None else layer.linear.bias)
    return True


def scratch_encoder(config: StudentConfig, tokenizer: PreTrainedTokenizerBase, generator: torch.Generator) -> BertModel:
    """A new BERT, its weights a pure function of config and generator.

    Raises:
        ModelError: the heads do not divide the width.
    """
    if config.hidden_size % config.num_heads:
        raise ModelError(f"student.hidden_size: {config.hidden_size} is not a multiple of student.num_heads ({config.num_heads})")
    bert = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.feedforward_size,
        max_position_embeddings=max(config.query_form.max_tokens, config.document_form.max_tokens),
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = BertModel(bert, add_pooling_layer=False)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):  # by name: the order of construction is the library's business
            if name.endswith("bias"):
                parameter.zero_()
            elif "LayerNorm" in name:
                parameter.fill_(1.0)
            elif "word_embeddings" in name:
                nn.init.normal_(parameter, std=config.embedding_std, generator=generator)
            elif "embeddings" in name:
                nn.init.normal_(parameter, std=config.position_std, generator=generator) if config.position_std else parameter.zero_()
            else:
                residual = config.residual_scale if "output.dense" in name else 1.0
                nn.init.normal_(parameter, std=residual / math.sqrt(parameter.shape[1]), generator=generator)
    return model
