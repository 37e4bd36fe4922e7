"""The encoder that a teacher is made of: with a projection to be trained, and as it was before.

B texts, N tokens, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from optical_ray.encoders.config import StudentConfig, TextForm
from optical_ray.encoders.layout import read_layout
from optical_ray.encoders.pretrained import Dense, check_chain, check_length, find_model, load_dense, load_pretrained
from optical_ray.encoders.student import Student, build_student
from optical_ray.encoders.student_folder import load_student, save_student
from optical_ray.seeding import derive_seed
from optical_ray.teaching.recipe import TeacherModelConfig


class Untrained(Student):
    """An encoder as it is, with the dense layers that its folder puts on tokens."""

    def __init__(self, encoder: nn.Module, dense: Sequence[Dense], width: int) -> None:
        super().__init__(encoder, _identity(width), torch.zeros(width))
        self.dense = nn.Sequential(*dense)

    def forward(self, ids_BN: Tensor, attention_BN: Tensor) -> Tensor:
        """Token vectors, not normalised, [B, N, D]."""
        states: Tensor = self.encoder(input_ids=ids_BN, attention_mask=attention_BN).last_hidden_state
        projected: Tensor = self.dense(states)
        return projected


def _identity(width: int) -> nn.Linear:
    linear = nn.Linear(width, width, bias=False)
    nn.init.eye_(linear.weight)
    return linear.requires_grad_(False)


def read_forms(config: TeacherModelConfig, folder: str) -> tuple[TextForm, TextForm]:
    """How queries and documents are read: the config's word, else the folder's own prefix.

    Raises:
        ModelError: no such model.
    """
    layout = read_layout(find_model(folder), config.revision)
    query, document = (
        own.prefix or "" if said is None else said
        for said, own in ((config.query_prefix, layout.query), (config.document_prefix, layout.document))
    )
    return TextForm(query, config.query_tokens), TextForm(document, config.document_tokens)


def load_untrained(config: TeacherModelConfig, folder: str) -> Untrained:
    """The encoder before training, in evaluation mode: what `teacher.path=<init>` would teach with.

    Raises:
        ModelError: it cannot be loaded, or does not read texts of these lengths.
    """
    encoder, _ = load_pretrained(folder, config.revision)
    check_length(folder, encoder, "model.document_tokens", max(config.query_tokens, config.document_tokens))
    dense = load_dense(folder, config.revision)
    width = int(encoder.config.hidden_size)
    check_chain(folder, dense, width)
    model = Untrained(encoder, dense, dense[-1].linear.out_features if dense else width)
    model.eval()
    return model


def build_teacher(config: TeacherModelConfig, folder: str, tokenizer: PreTrainedTokenizerBase, seed: int) -> Student:
    """The model at the start of its training: its weights are a pure function of the arguments.

    A new projection is a random map, N(0, 1 / encoder's width): it keeps angles to about 1 / sqrt(D) (Johnson & Lindenstrauss 1984).

    Raises:
        ModelError: as `load_untrained`.
    """
    if config.projection == "none":
        encoder = load_untrained(config, folder).encoder
        width = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        return Student(encoder, _identity(width), torch.zeros(width))
    generator = torch.Generator().manual_seed(derive_seed(seed, "teacher"))
    student = describe_texts(config, folder)
    return build_student(student, tokenizer, torch.zeros(config.projection), math.sqrt(config.projection), generator)


def describe_texts(config: TeacherModelConfig, folder: str) -> StudentConfig:
    """The same model in the words of a student's folder, which is the format that it is saved in."""
    query, document = read_forms(config, folder)
    return StudentConfig(
        init=folder,
        revision=config.revision,
        projection_bias=False,
        prefix=query.prefix,
        max_tokens=query.max_tokens,
        document_prefix=document.prefix,
        document_max_tokens=document.max_tokens,
    )


def save_teacher(model: Student, tokenizer: PreTrainedTokenizerBase, texts: StudentConfig, folder: Path) -> None:
    """Write a folder that `load_teacher`, Sentence-Transformers and PyLate read."""
    save_student(model, tokenizer, texts, folder)


def restore_teacher(config: TeacherModelConfig, folder: Path) -> Student:
    """What `save_teacher` wrote, to be trained on."""
    model = load_student(folder)
    model.projection.requires_grad_(config.projection != "none")
    return model
