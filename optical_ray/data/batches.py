"""From rows of the plan to tensors: the same two functions feed one worker in process and many through Ray Data.

B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.data.corpus import Corpus
from optical_ray.data.plan import BatchPlan
from optical_ray.data.teacher_cache import TeacherTokens
from optical_ray.encoders.teacher import load_tokenizer
from optical_ray.encoders.tokenizer import TokenTable, tokenize

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """One worker's part of a global batch; padding is False in every mask."""

    ids_BN: Tensor
    """Student token ids, int64."""
    attention_BN: Tensor
    """Tokens the student reads, bool."""
    content_BN: Tensor
    """Tokens that carry mass, bool."""
    teacher_BMD: Tensor
    """Teacher content tokens, float32."""
    teacher_mask_BM: Tensor
    """bool."""
    english_B: Tensor
    """Which English sentence, int64: equal ones are not each other's negatives."""
    language_B: Tensor
    """Index into the plan's languages, int64."""

    def to(self, device: str) -> Batch:
        """The batch on a device."""
        return Batch(*(getattr(self, name).to(device) for name in Batch.__slots__))


class PairSource:
    """Bitext rows as token ids and teacher tokens. Made of plain data, so it can travel; opened where it is used, on first use.

    `tokenizer` is (folder or hub id, revision).
    """

    def __init__(
        self,
        corpus: Path,
        tokenizer: tuple[str, str | None],
        teacher_tokens: Path,
        languages: tuple[str, ...],
        max_tokens: int,
        prefix: str,
    ) -> None:
        self.corpus, self.tokenizer, self.teacher_tokens = corpus, tokenizer, teacher_tokens
        self.languages, self.max_tokens, self.prefix = languages, max_tokens, prefix
        self._teacher: TeacherTokens | None = None
        self._tables: dict[int, TokenTable] = {}
        self._rows: dict[int, pa.Table] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.corpus, self.tokenizer, self.teacher_tokens, self.languages, self.max_tokens, self.prefix)

    @property
    def teacher(self) -> TeacherTokens:
        if self._teacher is None:
            self._teacher = TeacherTokens.open(self.teacher_tokens)
        return self._teacher

    def _language_rows(self, language: int) -> pa.Table:
        if language not in self._rows:
            self._rows[language] = Corpus.open(self.corpus).rows(self.languages[language], "train")
        return self._rows[language]

    def _table(self, language: int) -> TokenTable:
        if language not in self._tables:
            tokenizer = load_tokenizer(*self.tokenizer)
            texts = self._language_rows(language)["text"].to_pylist()
            self._tables[language] = tokenize(tokenizer, texts, self.max_tokens, self.prefix)
        return self._tables[language]

    def english_ids(self, language: NDArray[np.int16], row: NDArray[np.int32]) -> NDArray[np.int32]:
        """Which English sentence each pair translates, int32 [pairs]."""
        ids = np.empty(len(row), np.int32)
        for index in np.unique(language):
            chosen = language == index
            ids[chosen] = self._language_rows(int(index))["english_id"].to_numpy()[row[chosen]]
        return ids

    def gather(self, language: NDArray[np.int16], row: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        """One entry per pair: ragged parts as raw bytes (`student_ids` int32, `student_content` bool, `teacher` float16 [m, D])."""
        teacher = self.teacher
        count = len(row)
        columns: dict[str, NDArray[Any]] = {name: np.empty(count, object) for name in ("student_ids", "student_content", "teacher")}
        columns |= {"english_id": self.english_ids(language, row), "language": np.asarray(language, np.int16)}
        for place in range(count):
            table = self._table(int(language[place]))
            span = slice(table.offsets[row[place]], table.offsets[row[place] + 1])
            columns["student_ids"][place] = table.ids[span].tobytes()
            columns["student_content"][place] = table.content[span].tobytes()
            columns["teacher"][place] = teacher.sentence(int(columns["english_id"][place])).tobytes()
        return columns


def collate(columns: Columns, dimension: int) -> Batch:
    """Pad the entries of `PairSource.gather` to the longest of each side.

    Args:
        columns: Entries of B pairs.
        dimension: D of the teacher's tokens.
    """
    ids = [np.frombuffer(raw, np.int32) for raw in columns["student_ids"]]
    content = [np.frombuffer(raw, np.bool_) for raw in columns["student_content"]]
    teacher = [np.frombuffer(raw, np.float16).reshape(-1, dimension) for raw in columns["teacher"]]
    count, longest, teacher_longest = len(ids), max(map(len, ids)), max(1, *map(len, teacher))
    ids_BN = np.zeros((count, longest), np.int64)
    attention_BN = np.zeros((count, longest), np.bool_)
    content_BN = np.zeros((count, longest), np.bool_)
    teacher_BMD = np.zeros((count, teacher_longest, dimension), np.float32)
    teacher_mask_BM = np.zeros((count, teacher_longest), np.bool_)
    for pair in range(count):
        width, teacher_width = len(ids[pair]), len(teacher[pair])
        ids_BN[pair, :width] = ids[pair]
        attention_BN[pair, :width] = True
        content_BN[pair, :width] = content[pair]
        teacher_BMD[pair, :teacher_width] = teacher[pair]
        teacher_mask_BM[pair, :teacher_width] = True
    english_B, language_B = np.asarray(columns["english_id"], np.int64), np.asarray(columns["language"], np.int64)
    return Batch(*map(torch.from_numpy, (ids_BN, attention_BN, content_BN, teacher_BMD, teacher_mask_BM, english_B, language_B)))


def read_batches(source: PairSource, plan: BatchPlan, start_step: int = 0, rank: int = 0, workers: int = 1) -> Iterator[Batch]:
    """One worker's part of every global batch from `start_step` on, read in this process."""
    share = plan.batch.pairs // workers
    _, language, row = plan.rows(start_step, rank, workers)
    for first in range(0, len(row), share):
        part = slice(first, first + share)
        yield collate(source.gather(language[part], row[part]), source.teacher.dimension)
