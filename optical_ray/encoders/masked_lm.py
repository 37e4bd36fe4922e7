"""The masked language model: an encoder, and a head that guesses tokens from its states.

The head is that of BERT (Devlin et al. 2019): dense layer, activation, LayerNorm, then the word embeddings themselves and a bias per token.
RoBERTa, XLM-R, DistilBERT and ModernBERT have the same under other names.

B sentences, N tokens, T tokens to be guessed, V pieces, D dimensions.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import MODEL_FOR_MASKED_LM_MAPPING, AutoConfig, AutoModelForMaskedLM, PreTrainedTokenizerBase
from transformers.activations import ACT2FN

from optical_ray.encoders.config import StudentConfig
from optical_ray.encoders.layout import Layout, read_layout
from optical_ray.encoders.pretrained import check_length, find_model, load_encoder, load_pretrained, silence_transformers
from optical_ray.encoders.student import scratch_encoder
from optical_ray.encoders.trainable import Trainable
from optical_ray.errors import ModelError

log = logging.getLogger(__name__)
_HEAD = "masked_lm_head.safetensors"
_ENCODER = "encoder"


class MaskedLMHead(nn.Module):
    """States -> scores of every piece."""

    def __init__(self, dense: nn.Linear, activation: str, norm: nn.LayerNorm, bias_V: Tensor | None, decoder_VD: Tensor | None = None):
        super().__init__()
        self.dense = dense
        self.activation = activation
        self.norm = norm
        self.bias_V = None if bias_V is None else nn.Parameter(bias_V)
        self.decoder_VD = None if decoder_VD is None else nn.Parameter(decoder_VD)
        """None: the word embeddings."""

    def forward(self, states_TD: Tensor, embedding_VD: Tensor) -> Tensor:
        """Scores [T, V]; a softmax makes them probabilities."""
        hidden_TD = self.norm(ACT2FN[self.activation](self.dense(states_TD)))
        decoder_VD = embedding_VD if self.decoder_VD is None else self.decoder_VD
        return nn.functional.linear(hidden_TD, decoder_VD, self.bias_V)

    def untie(self, encoder: Any) -> None:
        """Guess from now on by a copy of the encoder's word embeddings as they are."""
        if self.decoder_VD is None:
            self.decoder_VD = nn.Parameter(encoder.get_input_embeddings().weight.detach().clone())

    @classmethod
    def scratch(cls, hidden: int, pieces: int, generator: torch.Generator) -> MaskedLMHead:
        """A new head, tied to the word embeddings."""
        dense = nn.Linear(hidden, hidden)
        with torch.no_grad():
            nn.init.normal_(dense.weight, std=1.0 / math.sqrt(hidden), generator=generator)
            dense.bias.zero_()
        return cls(dense, "gelu", nn.LayerNorm(hidden, eps=1e-12), torch.zeros(pieces))


class MaskedLanguageModel(Trainable):
    """Token ids -> states, and from states -> scores of every piece, at the tokens to be guessed alone: most of the cost is there."""

    def __init__(self, encoder: nn.Module, head: MaskedLMHead) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, ids_BN: Tensor, attention_BN: Tensor) -> Tensor:
        """The encoder's states, [B, N, D]."""
        states: Tensor = self.encoder(input_ids=ids_BN, attention_mask=attention_BN).last_hidden_state
        return states

    def guess(self, states_TD: Tensor) -> Tensor:
        """Scores of every piece, [T, V]."""
        encoder: Any = self.encoder
        scores: Tensor = self.head(states_TD, encoder.get_input_embeddings().weight)
        return scores

    def head_parameters(self) -> list[nn.Parameter]:
        """The head, without the word embeddings that it shares."""
        return list(self.head.parameters())


def build_masked_lm(config: StudentConfig, tokenizer: PreTrainedTokenizerBase, generator: torch.Generator) -> MaskedLanguageModel:
    """A model to pre-train: a student's encoder as distillation would start it, and a head.

    Args:
        config: `init=scratch`: the architecture, and initial weights from the generator; else the folder or hub id to go on from, with its
            own head where it has one of a known kind.
        tokenizer: Fixes the vocabulary of a new encoder.
        generator: CPU generator.

    Raises:
        ModelError: the folder cannot be loaded, or reads fewer tokens than `max_tokens`.
    """
    if config.init == "scratch":
        encoder: Any = scratch_encoder(config, tokenizer, generator)
        return MaskedLanguageModel(encoder, MaskedLMHead.scratch(config.hidden_size, len(tokenizer), generator))
    found = _load_with_head(config.init, config.revision)
    if found is None:
        log.warning("student.init=%s: has no masked-LM head of a known kind; a new one is trained", config.init)
        encoder = load_pretrained(config.init, config.revision)[0]
        pieces, hidden = encoder.get_input_embeddings().weight.shape
        found = MaskedLanguageModel(encoder, MaskedLMHead.scratch(hidden, pieces, generator))
    check_length(config.init, found.encoder, "student.max_tokens", max(config.query_form.max_tokens, config.document_form.max_tokens))
    return found


def _load_with_head(path: str, revision: str | None) -> MaskedLanguageModel | None:
    """Encoder and head of a folder that `AutoModelForMaskedLM` reads whole; None where it has no head, or one of another make."""
    source = find_model(path)
    layout = read_layout(source, revision)
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, subfolder=layout.subfolder, trust_remote_code=False)
        if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
            return None
        model, found = AutoModelForMaskedLM.from_pretrained(
            source,
            revision=revision,
            subfolder=layout.subfolder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError):
        return None  # `load_pretrained` says what is wrong, or reads what this cannot
    head = None if found["missing_keys"] else read_head(model)
    return None if head is None else MaskedLanguageModel(model.base_model, head)


def read_head(model: Any) -> MaskedLMHead | None:
    """The head of a masked language model of transformers; None where it is of an unknown make."""
    activation = str(getattr(model.config, "hidden_act", "gelu"))
    if hasattr(model, "cls") and hasattr(model.cls, "predictions"):  # BERT
        transform, decoder = model.cls.predictions.transform, model.cls.predictions.decoder
        dense, norm = transform.dense, transform.LayerNorm
    elif hasattr(model, "lm_head") and hasattr(model.lm_head, "layer_norm"):  # RoBERTa, XLM-R
        dense, norm, decoder, activation = model.lm_head.dense, model.lm_head.layer_norm, model.lm_head.decoder, "gelu"
    elif hasattr(model, "vocab_transform"):  # DistilBERT
        dense, norm, decoder, activation = model.vocab_transform, model.vocab_layer_norm, model.vocab_projector, model.config.activation
    elif hasattr(model, "decoder") and hasattr(getattr(model, "head", None), "norm"):  # ModernBERT
        dense, norm, decoder, activation = model.head.dense, model.head.norm, model.decoder, model.config.classifier_activation
    else:
        return None
    if not isinstance(norm, nn.LayerNorm) or activation not in ACT2FN:
        return None
    tied = decoder.weight is model.get_input_embeddings().weight
    bias_V = None if decoder.bias is None else decoder.bias.detach().clone()
    return MaskedLMHead(dense, activation, norm, bias_V, None if tied else decoder.weight.detach().clone())


def save_masked_lm(model: MaskedLanguageModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model in training, for `load_masked_lm`."""
    silence_transformers()
    encoder: Any = model.encoder
    encoder.save_pretrained(folder / _ENCODER)
    tokenizer.save_pretrained(folder / _ENCODER)
    head = model.head
    metadata = {"activation": head.activation, "norm_eps": repr(head.norm.eps)}
    save_file({name: tensor.contiguous() for name, tensor in head.state_dict().items()}, folder / _HEAD, metadata)


def load_masked_lm(folder: Path) -> MaskedLanguageModel:
    """The model of a checkpoint, on the CPU.

    Raises:
        ModelError: a file is missing, or does not fit the others.
    """
    silence_transformers()
    try:
        encoder = load_encoder(str(folder / _ENCODER), None, Layout())
        weights = load_file(folder / _HEAD)
        with safe_open(folder / _HEAD, framework="pt") as stream:
            metadata = stream.metadata()
        width, hidden = weights["dense.weight"].shape
        dense = nn.Linear(hidden, width, bias="dense.bias" in weights)
        norm = nn.LayerNorm(width, eps=float(metadata["norm_eps"]), bias="norm.bias" in weights)
        head = MaskedLMHead(dense, metadata["activation"], norm, weights.get("bias_V"), weights.get("decoder_VD"))
        head.load_state_dict(weights)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be loaded ({str(error).strip().splitlines()[0]}); delete it to begin anew") from None
    return MaskedLanguageModel(encoder, head)
