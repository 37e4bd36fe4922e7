"""The multilingual student: any Hugging Face encoder, from scratch or from a folder, and a projection into the teacher's space."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase

from optical_ray.config import Config
from optical_ray.encoders.teacher import check_length, load_encoder, load_pretrained, silence_transformers
from optical_ray.errors import ModelError

PROJECTION = "projection.safetensors"
DESCRIPTION = "student.json"


class StudentConfig(Config):
    """Architecture and initialisation. `init=scratch` builds a BERT; otherwise the folder or hub id decides the architecture."""

    init: str = "scratch"
    """`scratch`, a Hugging Face folder, or a hub id."""
    revision: str | None = None
    """Of a hub id: the commit to take."""
    hidden_size: PositiveInt = 192
    """Of `scratch`: width."""
    num_layers: int = Field(default=1, ge=0)
    """Of `scratch`: transformer layers; 0 is a bag of embeddings behind a LayerNorm."""
    feedforward_size: PositiveInt = 384
    """Of `scratch`: width of the feed-forward layers."""
    num_heads: PositiveInt = 4
    """Of `scratch`: attention heads."""
    embedding_std: PositiveFloat = 0.02
    """Of `scratch`: standard deviation of the word embeddings at the start."""
    position_std: NonNegativeFloat = 0.0
    """Of `scratch`: standard deviation of the position and segment embeddings at the start; 0: order is learnt only where it helps."""
    residual_scale: PositiveFloat = 0.3
    """Of `scratch`: factor on the initial output weights of attention and feed-forward, so that a layer starts near the identity."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Of `scratch`: hidden and attention dropout."""
    prefix: str = ""
    """Put before every foreign text, such as "query: "; carries no mass."""
    max_tokens: int = Field(default=64, ge=4)
    """Length limit of a foreign text, special tokens included."""


class Student(nn.Module):
    """Token ids -> token vectors in the teacher's space."""

    def __init__(self, encoder: nn.Module, projection: nn.Linear) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = projection

    def forward(self, ids_BN: Tensor, attention_BN: Tensor) -> Tensor:
        """Token vectors, not normalised, [B, N, D]."""
        states: Tensor = self.encoder(input_ids=ids_BN, attention_mask=attention_BN).last_hidden_state
        projected: Tensor = self.projection(states)
        return projected

    def embedding_parameters(self) -> list[nn.Parameter]:
        """The word embeddings: learnt at a rate of their own."""
        encoder: Any = self.encoder
        return list(encoder.get_input_embeddings().parameters())


def build_student(
    config: StudentConfig, tokenizer: PreTrainedTokenizerBase, centre_D: Tensor, spread: float, generator: torch.Generator
) -> Student:
    """A student whose initial weights are a pure function of config and generator.

    Args:
        config: Architecture and initialisation.
        tokenizer: Fixes the vocabulary of a `scratch` student.
        centre_D: The teacher's mean token, [D]: where the projection's bias starts, so that training learns what differs from it.
        spread: Mean distance of the teacher's tokens from it: how long projected tokens are at the start, beyond the bias.
        generator: CPU generator.
    """
    if config.init == "scratch":
        encoder = _scratch(config, tokenizer, generator)
    else:
        encoder = load_pretrained(config.init, config.revision)[0]
        check_length(config.init, encoder, "student.max_tokens", config.max_tokens)
    hidden, dimension = int(encoder.config.hidden_size), len(centre_D)
    projection = nn.Linear(hidden, dimension)
    with torch.no_grad():
        projection.bias.copy_(centre_D)
        if config.init != "scratch" and hidden == dimension:
            nn.init.eye_(projection.weight)  # a pre-trained student of the teacher's width starts as it is
            projection.bias.zero_()
        else:
            nn.init.normal_(projection.weight, std=spread / math.sqrt(hidden * dimension), generator=generator)
    return Student(encoder, projection)


def _scratch(config: StudentConfig, tokenizer: PreTrainedTokenizerBase, generator: torch.Generator) -> BertModel:
    if config.hidden_size % config.num_heads:
        raise ModelError(f"student.hidden_size: {config.hidden_size} is not a multiple of student.num_heads ({config.num_heads})")
    bert = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.feedforward_size,
        max_position_embeddings=config.max_tokens,
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


def save_student(student: Student, tokenizer: PreTrainedTokenizerBase, config: StudentConfig, folder: Path) -> None:
    """Write a folder that `load_student` reads; its encoder part is a plain Hugging Face folder."""
    silence_transformers()
    folder.mkdir(parents=True, exist_ok=True)
    encoder: Any = student.encoder
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file(dict(student.projection.state_dict()), folder / PROJECTION)
    description = {"dimension": student.projection.out_features, "prefix": config.prefix, "max_tokens": config.max_tokens}
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_student(folder: Path) -> Student:
    """The student of a finished or checkpointed trial.

    Raises:
        ModelError: a file is missing or does not fit the others.
    """
    for name in ("config.json", "model.safetensors", PROJECTION, DESCRIPTION):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: no {name}; expected a student's folder (a trial's checkpoint/)")
    silence_transformers()
    encoder = load_encoder(str(folder))
    weights = load_file(folder / PROJECTION)
    dimension, hidden = weights["weight"].shape
    projection = nn.Linear(hidden, dimension)
    projection.load_state_dict(weights)
    return Student(encoder, projection)
