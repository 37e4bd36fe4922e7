"""Encoders, dense layers and tokenizers from folders and hub ids: safetensors, or `weights_only` where a folder has no other."""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from optical_ray.encoders.layout import MODULES, DenseLayer, Layout, find_file, read_layout
from optical_ray.errors import ModelError


class Dense(nn.Module):
    """One dense layer on every token, [..., in] -> [..., out]. Its names are those of a `Dense` of Sentence-Transformers."""

    def __init__(self, linear: nn.Linear, activation: nn.Module, residual: nn.Module | None = None) -> None:
        super().__init__()
        self.linear = linear
        self.activation = activation
        self.residual = residual

    @property
    def is_linear(self) -> bool:
        """Nothing but W h + b."""
        return isinstance(self.activation, nn.Identity) and self.residual is None

    def forward(self, states: Tensor) -> Tensor:
        """The layer's output; what it adds to is its input, mapped to its width where that differs."""
        found: Tensor = self.activation(self.linear(states))
        return found if self.residual is None else found + self.residual(states)


def silence_transformers() -> None:
    """Keep transformers from drawing a bar for every small file, and from its report of unused weights; missing ones are our error."""
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its retries, before our one line


def load_pretrained(path: str, revision: str | None = None) -> tuple[Any, PreTrainedTokenizerBase]:
    """A Hugging Face encoder (float32) and its tokenizer, from a folder of any layout or a hub id; dense layers are `load_dense`'s.

    Raises:
        ModelError: not there, not complete, or no network for a hub id; says what to download and where to put it.
    """
    source = find_model(path)
    layout = read_layout(source, revision)
    try:
        model = load_encoder(source, revision, layout)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _explain(path, error, "an encoder") from None
    tokenizer = load_tokenizer(path, revision)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"{path}: its tokenizer has {len(tokenizer)} pieces, its encoder embeds {rows}; the folder's parts are of different models"
        )
    return model, tokenizer


def load_encoder(source: str, revision: str | None, layout: Layout) -> Any:
    """A Hugging Face encoder without its pooler, which nothing here uses (and whose missing gradient would stop data-parallel training)."""
    config = AutoConfig.from_pretrained(source, revision=revision, subfolder=layout.subfolder, trust_remote_code=False)
    keywords: dict[str, Any] = {}
    if type(config) in MODEL_MAPPING and "add_pooling_layer" in inspect.signature(MODEL_MAPPING[type(config)]).parameters:
        keywords["add_pooling_layer"] = False
    pickled = Path(source) / layout.subfolder / "pytorch_model.bin"
    if pickled.is_file() and not any(pickled.parent.glob("*.safetensors")):
        model = AutoModel.from_config(config, dtype=torch.float32, trust_remote_code=False, **keywords)
        base = f"{model.base_model_prefix}."
        weights = {name.removeprefix(base): tensor.float() for name, tensor in _read_pickled(pickled).items()}
        missing = sorted(model.load_state_dict(weights, strict=False).missing_keys)
    else:
        model, found = AutoModel.from_pretrained(
            source,
            revision=revision,
            subfolder=layout.subfolder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **keywords,
        )
        missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"{source}: its weights lack {len(missing)} tensors of its config.json, first {missing[0]}; the folder is incomplete"
        )
    return model


def load_dense(path: str, revision: str | None = None) -> list[Dense]:
    """The dense layers that a folder puts on every token, in order; none for a plain encoder.

    Raises:
        ModelError: weights are missing, or do not fit.
    """
    source = find_model(path)
    return [_load_layer(source, layer, revision) for layer in read_layout(source, revision).dense]


def load_sentence_dense(path: str, revision: str | None = None) -> list[Dense]:
    """The dense layers that a folder puts on a text's pooled vector, in order.

    Raises:
        ModelError: as `load_dense`.
    """
    source = find_model(path)
    pooling = read_layout(source, revision).pooling
    return [] if pooling is None else [_load_layer(source, layer, revision) for layer in pooling.dense]


def check_chain(path: str, dense: Sequence[Dense], width: int) -> None:
    """Refuse dense layers that do not fit each other, or an encoder of this width.

    Raises:
        ModelError: which one.
    """
    for index, layer in enumerate(dense):
        if layer.linear.in_features != width:
            raise ModelError(
                f"{path}: its dense layer {index + 1} takes {layer.linear.in_features} numbers a token and gets {width}; "
                "the folder's parts are of different models"
            )
        width = layer.linear.out_features


def _load_layer(source: str, layer: DenseLayer, revision: str | None) -> Dense:
    file = find_file(source, layer.weights, revision)
    assert file is not None, "read_layout has seen it"
    weights = _read_linear(file)
    weight = weights.get("linear.weight")
    if weight is None or weight.dim() != 2:
        raise ModelError(f"{file}: no matrix linear.weight; expected the projection of a ColBERT or a Dense layer")
    width, states = weight.shape
    linear = nn.Linear(states, width, bias="linear.bias" in weights)
    linear.weight.data.copy_(weight)
    if "linear.bias" in weights:
        linear.bias.data.copy_(weights["linear.bias"])
    residual: nn.Module | None = None
    if layer.residual and width == states:
        residual = nn.Identity()
    elif layer.residual:
        if weights.get("residual.weight") is None:
            raise ModelError(f"{file}: no residual.weight, which its config.json announces (use_residual); the folder is incomplete")
        residual = nn.Linear(states, width, bias=False)
        residual.weight.data.copy_(weights["residual.weight"])
    return Dense(linear, getattr(nn, layer.activation)(), residual)


def _read_linear(file: Path) -> dict[str, Tensor]:
    """Only what a dense layer has: a ColBERT keeps it among the tensors of its encoder."""
    wanted = ("linear.weight", "linear.bias", "residual.weight")
    if file.suffix != ".safetensors":
        found = _read_pickled(file)
        return {name: found[name].float() for name in wanted if name in found}
    try:
        with safe_open(file, framework="pt", device="cpu") as stream:
            names = set(stream.keys())
            return {name: stream.get_tensor(name).float() for name in wanted if name in names}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: cannot be read ({str(error).splitlines()[0]}); fetch the model again") from None


def _read_pickled(file: Path) -> OrderedDict[str, Tensor]:
    """Tensors alone: `weights_only` runs no code of the file."""
    try:
        found: OrderedDict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # UnpicklingError, RuntimeError of a broken archive, EOFError: all mean the same to a user
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{file}: cannot be read as tensors alone ({reason}); save the model as safetensors") from None
    return found


def load_tokenizer(path: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub id.

    Raises:
        ModelError: as `load_pretrained`.
    """
    source = find_model(path)
    subfolder = read_layout(source, revision).subfolder if find_file(source, MODULES, revision) else ""
    if subfolder and find_file(source, "tokenizer.json", revision):
        subfolder = ""  # Sentence-Transformers up to 2 kept the encoder apart, and some then put the tokenizer beside modules.json
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, revision=revision, subfolder=subfolder, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise _explain(path, error, "a tokenizer") from None
    if len(tokenizer) - len(set(tokenizer.all_special_ids)) < 2:  # transformers makes an empty one where the files are missing
        raise ModelError(
            f"{path}: its tokenizer knows no pieces but special ones; expected tokenizer.json, or the vocabulary, in the folder"
        )
    return tokenizer


def read_config(path: str, revision: str | None = None) -> Any:
    """The encoder's configuration, without its weights.

    Raises:
        ModelError: as `load_pretrained`.
    """
    source = find_model(path)
    try:
        return AutoConfig.from_pretrained(
            source, revision=revision, subfolder=read_layout(source, revision).subfolder, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise _explain(path, error, "an encoder") from None


def check_length(path: str, model: Any, field: str, max_tokens: int) -> None:
    """Refuse texts longer than an encoder's position table.

    RoBERTa's kin (XLM-R, MPNet) number positions from behind that of padding, so their table of 514 reads 512 tokens.

    Raises:
        ModelError: with both numbers and the recipe's field.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if positions is not None and getattr(table, "padding_idx", None) is not None:
        positions -= table.padding_idx + 1  # type: ignore[union-attr]
    if positions is not None and max_tokens > positions:
        raise ModelError(f"{path}: reads at most {positions} tokens, {field} is {max_tokens}; lower it")


def find_model(path: str) -> str:
    """A folder's path, or a hub id as it is.

    Raises:
        ModelError: neither.
    """
    silence_transformers()
    local = Path(path).expanduser()
    if local.exists() and not any((local / name).is_file() for name in ("config.json", "tokenizer.json", MODULES)):
        raise ModelError(f"{path}: no config.json; expected a Hugging Face model folder (config.json, model.safetensors, tokenizer.json)")
    if not local.exists() and (path.startswith((".", "/", "~")) or path.count("/") != 1):
        raise ModelError(f"{path}: no such folder, and not a hub id (OWNER/NAME); give the path of a Hugging Face model folder")
    return str(local) if local.exists() else path


def _explain(path: str, error: Exception, what: str) -> ModelError:
    reason = str(error).strip().splitlines()[0]
    advice = "" if Path(path).expanduser().exists() else f"; download {path} where there is a network and give the folder's path instead"
    return ModelError(f"{path}: cannot be loaded as {what} ({reason}){advice}")
