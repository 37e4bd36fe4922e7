"""The student's folder: what Sentence-Transformers and PyLate read too, and student.json, which is ours. Checkpoints and exports alike.

    config.json, model.safetensors, tokenizer files       the encoder: a plain Hugging Face folder
    modules.json, sentence_bert_config.json, 1_Dense/     encoder, then projection
    config_sentence_transformers.json                     PyLate's keys, every one of them (defaults differ between its versions and theirs)
    student.json, centre.safetensors                      how texts are read; the teacher's mean token, [D]

What neither format can say: that special and prefix tokens of a *query* carry no mass. Both read documents by `skiplist_words`, which names
CLS and SEP; in queries both keep them (docs/models.md).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from optical_ray.encoders.config import StudentConfig, TextForm
from optical_ray.encoders.layout import MODULES, STUDENT, TEXTS, read_layout
from optical_ray.encoders.pretrained import load_dense, load_encoder, silence_transformers
from optical_ray.encoders.student import Student
from optical_ray.encoders.tokenizer import split_marker
from optical_ray.errors import ModelError

FORMAT_VERSION = 2
"""1 kept the projection in projection.safetensors, which nothing else could read."""
CENTRE = "centre.safetensors"
_DENSE = "1_Dense"


@dataclass(frozen=True, slots=True)
class StudentDescription:
    """student.json."""

    dimension: int
    query: TextForm
    document: TextForm
    centred: bool
    """The vectors have lost the teacher's mean token already (`Student.centred`); the documents of the teacher must lose it too."""


def save_student(student: Student, tokenizer: PreTrainedTokenizerBase, config: StudentConfig, folder: Path, centred: bool = False) -> None:
    """Write a folder that `load_student`, Sentence-Transformers 6 and PyLate 1 read.

    Args:
        student: On any device.
        tokenizer: Without it a student is useless.
        config: Says how texts are read.
        folder: Made where it is not there.
        centred: The student is what `Student.centred` gave.
    """
    silence_transformers()
    (folder / _DENSE).mkdir(parents=True, exist_ok=True)
    encoder: Any = student.encoder
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    linear = student.projection
    save_file(
        {f"linear.{name}": tensor.contiguous() for name, tensor in linear.state_dict().items()}, folder / _DENSE / "model.safetensors"
    )
    save_file({"centre": student.centre_D.contiguous()}, folder / CENTRE)
    dense = {
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "bias": linear.bias is not None,
        "activation_function": "torch.nn.modules.linear.Identity",
        "use_residual": False,
    }
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": _DENSE, "type": "pylate.models.Dense.Dense"},
    ]
    description = StudentDescription(linear.out_features, config.query_form, config.document_form, centred)
    longest = max(description.query.max_tokens, description.document.max_tokens)
    _write(folder / _DENSE / "config.json", dense)
    _write(folder / MODULES, modules)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    _write(folder / TEXTS, _describe_texts(description, tokenizer))
    _write(folder / STUDENT, {"format_version": FORMAT_VERSION, **asdict(description)})


def _describe_texts(description: StudentDescription, tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """PyLate inserts a `*_prefix` as one token; what is text is a prompt, which PyLate has to be asked for."""
    markers, prompts = {}, {}
    for kind, form in (("query", description.query), ("document", description.document)):
        markers[kind], prompts[kind] = split_marker(tokenizer, form.prefix)
    specials = tokenizer.convert_ids_to_tokens(tokenizer("")["input_ids"])  # what the tokenizer puts around every text
    return {
        "model_type": "ColBERT",  # what PyLate calls its models; Sentence-Transformers 6 knows it
        "__version__": {"transformers": transformers.__version__},
        "prompts": prompts,
        "default_prompt_name": None,
        "similarity_fn_name": "MaxSim",
        "query_prefix": markers["query"],
        "document_prefix": markers["document"],
        "query_length": description.query.max_tokens,
        "document_length": description.document.max_tokens,
        "attend_to_expansion_tokens": False,
        "do_query_expansion": False,
        "skiplist_words": list(dict.fromkeys([*specials, *filter(None, markers.values())])),
    }


def _write(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_description(folder: Path) -> StudentDescription:
    """How a student reads texts.

    Raises:
        ModelError: student.json is missing, damaged, or of another format version.
    """
    path = folder / STUDENT
    if not path.is_file():
        raise ModelError(
            f"{folder}: no {STUDENT}; expected a student's folder (a trial's checkpoint/step-*, or what `optical export` wrote)"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values.get("format_version", 1)
        if found != FORMAT_VERSION:
            raise ModelError(f"{path}: student of format version {found}, this optical_ray reads {FORMAT_VERSION}; train it again")
        forms = {kind: TextForm(str(values[kind]["prefix"]), int(values[kind]["max_tokens"])) for kind in ("query", "document")}
        return StudentDescription(int(values["dimension"]), forms["query"], forms["document"], bool(values["centred"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: damaged ({type(error).__name__}: {error}); copy the folder again") from None


def load_student(folder: Path) -> Student:
    """The student of a finished or checkpointed trial, or an exported one, on the CPU.

    Raises:
        ModelError: a file is missing or does not fit the others.
    """
    description = read_description(folder)
    for name in ("config.json", "model.safetensors", MODULES, CENTRE):
        if not (folder / name).is_file():
            raise ModelError(f"{folder}: no {name}, which every student's folder has; copy the folder again")
    silence_transformers()
    layout = read_layout(str(folder))
    try:
        encoder = load_encoder(str(folder), None, layout)
        centre_D = load_file(folder / CENTRE)["centre"]
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder}: cannot be loaded ({str(error).strip().splitlines()[0]}); copy the folder again") from None
    layers = load_dense(str(folder))
    widths = (encoder.config.hidden_size, description.dimension)
    if len(layers) != 1 or not layers[0].is_linear or (layers[0].linear.in_features, layers[0].linear.out_features) != widths:
        raise ModelError(
            f"{folder}: expected one linear layer from {widths[0]} to {widths[1]} dimensions in {_DENSE}/; copy the folder again"
        )
    projection: nn.Linear = layers[0].linear
    return Student(encoder, projection, centre_D)
