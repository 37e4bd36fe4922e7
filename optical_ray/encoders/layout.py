"""How a model's folder is laid out: a plain Hugging Face encoder, Sentence-Transformers and PyLate modules, or Stanford ColBERT.

Read from the small JSON files alone, before any weight is. Conventions as in Sentence-Transformers 6 and PyLate 1.6 (both read the folders
of the other two) and ColBERT 0.2: https://github.com/stanford-futuredata/ColBERT, `artifact.metadata`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from optical_ray.errors import ModelError

log = logging.getLogger(__name__)
MODULES = "modules.json"
TEXTS = "config_sentence_transformers.json"
LIMIT = "sentence_bert_config.json"
METADATA = "artifact.metadata"
STUDENT = "student.json"
ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")
"""Of a dense layer, by the last part of the name that the folder gives; every one a class of `torch.nn`."""
_IGNORED = ("Normalize", "MultiVectorMask")  # a scoring matter: a vector's direction is not changed
_FLAG = "pooling_mode_"
_COLBERT_MARKERS = ("[unused0]", "[unused1]")  # what ColBERT puts where its metadata names none


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A linear layer on every token: activation(W h + b), plus h itself (or R h) where it is residual."""

    weights: str
    """Its file inside the model's folder; of ColBERT the file of the whole model."""
    activation: str = "Identity"
    """One of ACTIVATIONS."""
    residual: bool = False


@dataclass(frozen=True, slots=True)
class TextHabit:
    """How a model was taught to read one kind of text; None where its folder does not say."""

    prefix: str | None = None
    """Text, or a marker that is one token of the vocabulary (see `tokenizer.marker_id`)."""
    max_tokens: int | None = None
    """Length limit, special tokens and marker included."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """How a folder makes one vector of a text's tokens: what Sentence-Transformers calls a dense, or bi-encoder, model."""

    mode: str
    """`mean`, `cls`, ...: as the folder names it."""
    include_prompt: bool = True
    """Whether the tokens of a prompt are pooled too."""
    dense: tuple[DenseLayer, ...] = ()
    """Applied to the pooled vector, in this order."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a folder holds, and where."""

    subfolder: str = ""
    """Of encoder and tokenizer; empty: the folder itself."""
    dense: tuple[DenseLayer, ...] = ()
    """Applied to every token, in this order."""
    query: TextHabit = field(default_factory=TextHabit)
    document: TextHabit = field(default_factory=TextHabit)
    centred: bool = False
    """Of a student of ours: its vectors have lost the teacher's mean token."""
    pooling: Pooling | None = None
    """None: it keeps a vector for every token."""
    max_tokens: int | None = None
    """Sentence-Transformers' `max_seq_length`: where any text is cut, special tokens and prompt included; None: the folder does not say."""


def read_layout(source: str, revision: str | None = None) -> Layout:
    """Look at a folder, or at the files of a hub id.

    A dense layer behind a pooling acts on the pooled vector, not on tokens, and is left out.

    Raises:
        ModelError: a file that announces a layout is damaged, or announces a module that cannot be read here.
    """
    modules = find_file(source, MODULES, revision)
    if modules is not None:
        return _read_modules(source, revision, modules)
    config = find_file(source, "config.json", revision)
    architectures = tuple(_read_object(config).get("architectures") or ()) if config is not None else ()
    metadata = find_file(source, METADATA, revision)
    if metadata is not None or "HF_ColBERT" in architectures:
        return _read_colbert(source, revision, metadata)
    if not Path(source).expanduser().is_dir() and try_to_load_from_cache(source, MODULES, revision=revision) is None:
        log.warning("%s: no hub could be asked for its %s; taken as a plain encoder, without dense layers", source, MODULES)
    return Layout()


def find_file(source: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a folder or hub id; None where it has none. A hub is only asked when there is no such folder."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    from transformers.utils import cached_file  # here: seconds to import

    found = cached_file(
        source, name, revision=revision, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return None if found is None else Path(found)


def _read_object(path: Path, kind: type = dict) -> Any:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); fetch the model again") from None
    if not isinstance(values, kind):
        raise ModelError(f"{path}: holds a JSON {type(values).__name__}, expected {'a list' if kind is list else 'an object'}")
    return values


def _read_modules(source: str, revision: str | None, path: Path) -> Layout:
    subfolder: str | None = None
    dense: list[DenseLayer] = []
    behind: list[DenseLayer] = []
    pooling: Pooling | None = None
    for module in _read_object(path, list):
        if not isinstance(module, dict) or not isinstance(module.get("type"), str) or not isinstance(module.get("path"), str):
            raise ModelError(f"{path}: {module!r} is no module; expected an object with `type` and `path`")
        kind, place = module["type"].rpartition(".")[2], module["path"]
        if ".." in Path(place).parts or Path(place).is_absolute():
            raise ModelError(f"{path}: module path {place!r} points outside the folder")
        if kind == "Transformer" and subfolder is None:
            subfolder = place
        elif kind == "Dense" and subfolder is not None:
            (dense if pooling is None else behind).append(_read_dense(source, revision, place))
        elif kind == "Pooling":
            pooling = pooling or _read_pooling(source, revision, place)
        elif kind in _IGNORED:
            pass
        else:
            raise ModelError(
                f"{path}: module {module['type']} cannot be read here; expected one Transformer, then Dense, Pooling, {', '.join(_IGNORED)}"
            )
    if subfolder is None:
        raise ModelError(f"{path}: no Transformer among its modules; expected a folder that Sentence-Transformers or PyLate saved")
    texts = find_file(source, TEXTS, revision)
    values = _read_object(texts) if texts is not None else {}
    ours = find_file(source, STUDENT, revision)
    centred = ours is not None and bool(_read_object(ours).get("centred"))
    if pooling is not None:
        pooling = replace(pooling, dense=tuple(behind))
    query, document = (_read_habit(texts, values, kind) for kind in ("query", "document"))
    return Layout(subfolder, tuple(dense), query, document, centred, pooling, _read_limit(source, revision, subfolder))


def _read_limit(source: str, revision: str | None, subfolder: str) -> int | None:
    """Sentence-Transformers' `max_seq_length`, of every text; None: the folder does not say."""
    path = find_file(source, f"{subfolder}/{LIMIT}" if subfolder else LIMIT, revision)
    limit = None if path is None else _read_object(path).get("max_seq_length")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ModelError(f"{path}: max_seq_length is {limit!r}; expected a number of tokens, or null")
    return limit


def _read_habit(path: Path | None, values: dict[str, Any], kind: str) -> TextHabit:
    """PyLate's marker, then Sentence-Transformers' prompt, which is text: as version 6 of the latter puts them together."""
    marker, prompts, length = values.get(f"{kind}_prefix"), values.get("prompts") or {}, values.get(f"{kind}_length")
    prompt = prompts.get(kind) if isinstance(prompts, dict) else prompts
    if not all(isinstance(text, str | None) for text in (marker, prompt)) or not isinstance(length, int | None):
        raise ModelError(
            f"{path}: {kind}_prefix, {kind}_length and prompts.{kind} are {marker!r}, {length!r} and {prompt!r}; expected texts, a number"
        )
    if marker is None and prompt is None:
        return TextHabit(None, length)
    return TextHabit((marker or "") + (prompt or "").removeprefix(marker or ""), length)


def _read_pooling(source: str, revision: str | None, place: str) -> Pooling:
    """Sentence-Transformers' `pooling_mode`, or the flags (`pooling_mode_mean_tokens`) that stood for it before."""
    config = find_file(source, f"{place}/config.json", revision)
    values = _read_object(config) if config is not None else {}
    flags = [
        name.removeprefix(_FLAG).removesuffix("_tokens").removesuffix("_token")
        for name, on in values.items()
        if name.startswith(_FLAG) and on is True
    ]
    mode = values.get("pooling_mode") or "+".join(flags) or "mean"
    return Pooling(str(mode), bool(values.get("include_prompt", True)))


def _read_dense(source: str, revision: str | None, place: str) -> DenseLayer:
    config = find_file(source, f"{place}/config.json", revision)
    if config is None:
        raise ModelError(f"{source}: no {place}/config.json, which {MODULES} announces; the folder is incomplete")
    values = _read_object(config)
    name = str(values.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = name.rpartition(".")[2]
    if not name.startswith("torch.nn.") or activation not in ACTIVATIONS:
        raise ModelError(f"{config}: activation_function {name!r}; expected one of torch.nn: {', '.join(ACTIVATIONS)}")
    for file in ("model.safetensors", "pytorch_model.bin"):
        if find_file(source, f"{place}/{file}", revision) is not None:
            return DenseLayer(f"{place}/{file}", activation, bool(values.get("use_residual", False)))
    raise ModelError(f"{source}: no {place}/model.safetensors, which {MODULES} announces; the folder is incomplete")


def _read_colbert(source: str, revision: str | None, path: Path | None) -> Layout:
    values = _read_object(path) if path is not None else {}
    habits = {}
    for kind, short, marker in zip(("query", "document"), ("query", "doc"), _COLBERT_MARKERS, strict=True):
        length, token = values.get(f"{short}_maxlen"), values.get(f"{short}_token_id") or marker
        if not isinstance(length, int | None) or not isinstance(token, str):
            raise ModelError(f"{path}: {short}_maxlen is {length!r}, {short}_token_id {token!r}; expected a number and a marker's text")
        habits[kind] = TextHabit(token, length)
    for file in ("model.safetensors", "pytorch_model.bin"):
        if find_file(source, file, revision) is not None:
            return Layout("", (DenseLayer(file),), habits["query"], habits["document"])
    raise ModelError(f"{source}: no model.safetensors and no pytorch_model.bin; expected both encoder and linear.weight of a ColBERT there")
