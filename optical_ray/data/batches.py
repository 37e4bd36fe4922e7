"""From rows of the plan to tensors: the same functions feed one worker in process and many through Ray Data.

B pairs of one worker, N student tokens, M teacher tokens, K student tokens of the English side, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.data.plan import START, BatchPlan, Position
from optical_ray.data.teacher_cache import TeacherTokens
from optical_ray.data.token_shards import TokenReader, TokenRules, TokenSource
from optical_ray.encoders.teacher import Teacher
from optical_ray.encoders.tokenizer import TokenTable

ARRAY_TYPES: Mapping[str, type[np.generic]] = {
    "language": np.int16,
    "english": np.int32,
    "student_ids": np.int32,
    "student_content": np.bool_,
    "student_offsets": np.int64,
    "teacher_ids": np.int32,
    "teacher_content": np.bool_,
    "teacher_offsets": np.int64,
    "english_ids": np.int32,
    "english_content": np.bool_,
    "english_offsets": np.int64,
    "query_ids": np.int32,
    "query_content": np.bool_,
    "query_offsets": np.int64,
    "document_ids": np.int32,
    "document_content": np.bool_,
    "document_offsets": np.int64,
    "documents": np.int32,
    "scores": np.float32,
    "known": np.int32,
    "known_offsets": np.int64,
}
"""What the `to_arrays` of a ragged batch may hold: bytes do not tell their type."""


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
    english_ids_BK: Tensor | None = None
    """The English sentences as the student's token ids, int64; None but for `objective.english`."""
    english_attention_BK: Tensor | None = None
    english_content_BK: Tensor | None = None

    def to(self, device: str) -> Self:
        """The batch on a device."""
        return self._of_each(lambda side: side.to(device))

    def part(self, pairs: slice) -> Self:
        """Some of the pairs; views, padded as the batch is."""
        return self._of_each(lambda side: side[pairs])

    def _of_each(self, change: Callable[[Tensor], Tensor]) -> Self:
        sides = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(side) for name, side in sides.items() if side is not None})


@dataclass(frozen=True, slots=True)
class TextBatch:
    """The foreign side alone."""

    ids_BN: Tensor
    attention_BN: Tensor
    content_BN: Tensor
    language_B: Tensor


@dataclass(frozen=True, slots=True)
class UntaughtBatch:
    """A batch whose English side is token ids still."""

    ids_BN: Tensor
    attention_BN: Tensor
    content_BN: Tensor
    teacher_ids_BM: Tensor
    """Teacher token ids of the English sentences, int64."""
    teacher_attention_BM: Tensor
    teacher_content_BM: Tensor
    english_B: Tensor
    language_B: Tensor
    english_ids_BK: Tensor | None = None
    english_attention_BK: Tensor | None = None
    english_content_BK: Tensor | None = None

    def teach(self, teacher: Teacher, device: str) -> Batch:
        """The batch on a device, its English side encoded there."""
        taught = (self.teacher_ids_BM, self.teacher_attention_BM, self.teacher_content_BM)
        teacher_BMD, mask_BM = teacher.encode_ids(*(side.to(device) for side in taught))
        english = (self.english_ids_BK, self.english_attention_BK, self.english_content_BK)
        batch = Batch(self.ids_BN, self.attention_BN, self.content_BN, teacher_BMD, mask_BM, self.english_B, self.language_B, *english)
        return batch.to(device)


@dataclass(frozen=True, slots=True)
class RaggedBatch:
    """One worker's part of a global batch before padding; the form that travels between processes."""

    language_B: NDArray[np.int16]
    english_B: NDArray[np.int32]
    student: TokenTable
    teacher: TokenTable | None
    """The English sentences as token ids of a teacher that encodes on the worker; None where its vectors are read, or none is asked for."""
    english: TokenTable | None = None
    """The English sentences as the student's token ids; None where no term asks for them."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Flat arrays by name."""
        arrays: dict[str, NDArray[Any]] = {"language": self.language_B, "english": self.english_B}
        arrays |= _flatten("student", self.student)
        for side, table in (("teacher", self.teacher), ("english", self.english)):
            arrays |= {} if table is None else _flatten(side, table)
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> RaggedBatch:
        """What `to_arrays` gave."""
        teacher, english = (_table(side, arrays) if f"{side}_ids" in arrays else None for side in ("teacher", "english"))
        return cls(arrays["language"], arrays["english"], _table("student", arrays), teacher, english)


def _flatten(side: str, table: TokenTable) -> dict[str, NDArray[Any]]:
    return {f"{side}_ids": table.ids, f"{side}_content": table.content, f"{side}_offsets": table.offsets}


def _table(side: str, arrays: Mapping[str, NDArray[Any]]) -> TokenTable:
    return TokenTable(*(arrays[f"{side}_{name}"] for name in ("ids", "content", "offsets")))


class PairSource:
    """Bitext rows as token ids and teacher tokens. Made of plain data, so it can travel; opened where it is used, on first use.

    Args:
        languages: The plan's.
        student: Tokens of the foreign side.
        teacher: The folder of the teacher's tokens; or the English side as token ids, to be encoded on the worker; None: the foreign side
            alone.
        english: The English side as the student's token ids; None: no term asks for it.
    """

    def __init__(
        self, languages: Sequence[str], student: TokenSource, teacher: Path | TokenSource | None, english: TokenSource | None = None
    ) -> None:
        self.languages, self._student, self._teacher, self._english = tuple(languages), student, teacher, english
        self._readers: dict[TokenRules, TokenReader] = {}
        self._vectors: TeacherTokens | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.languages, self._student, self._teacher, self._english)

    def _tokens(self, source: TokenSource) -> TokenReader:
        if source.rules not in self._readers:
            self._readers[source.rules] = TokenReader(source, self.languages)
        return self._readers[source.rules]

    def english_ids(self, language: NDArray[np.int16], row: NDArray[np.int32]) -> NDArray[np.int32]:
        """Which English sentence each pair translates, int32 [pairs]."""
        return self._tokens(self._student).gather(language, row).english_id

    def read_window(self, plan: BatchPlan, window: int, rank: int = 0, workers: int = 1) -> Iterator[tuple[RaggedBatch, Position]]:
        """One worker's part of every global batch of a window, in order, each with the position after it.

        Workers hold consecutive whole groups, so a pair meets the same contrastive negatives whatever their number.
        """
        language, row = plan.draw(window)
        block = self._tokens(self._student).gather(language, row)
        taught = self._tokens(self._teacher).gather(language, row).tokens if isinstance(self._teacher, TokenSource) else None
        english = None if self._english is None else self._tokens(self._english).gather(language, row).tokens
        batches = plan.deal(window, block.tokens.lengths)
        parts = [_part(places, plan.batch.group, rank, workers) for places in batches]
        own = np.concatenate(parts)  # all of the window at once, then views: a gather a batch takes twice the time
        language, english_ids, student = language[own], block.english_id[own], block.tokens.take(own)
        taught, english = (None if side is None else side.take(own) for side in (taught, english))
        pairs, end = window * plan.batch.window_pairs, 0
        for turn, (places, part) in enumerate(zip(batches, parts, strict=True), start=1):
            start, end = end, end + len(part)
            pairs += len(places)
            sides = (None if side is None else side.slice(start, end) for side in (taught, english))
            batch = RaggedBatch(language[start:end], english_ids[start:end], student.slice(start, end), *sides)
            yield batch, Position(window, turn, pairs) if turn < len(batches) else Position(window + 1, 0, pairs)

    def read(self, plan: BatchPlan, start: Position, rank: int = 0, workers: int = 1) -> Iterator[tuple[RaggedBatch, Position]]:
        """One worker's part of every global batch from a position on, in order, each with the position after it."""
        for window in range(start.window, plan.windows):
            skipped = start.batch if window == start.window else 0
            for turn, item in enumerate(self.read_window(plan, window, rank, workers)):
                if turn >= skipped:
                    yield item

    def collate_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Batch | UntaughtBatch | TextBatch:
        """What `RaggedBatch.to_arrays` gave, collated."""
        return self.collate(RaggedBatch.from_arrays(arrays))

    def collate(self, batch: RaggedBatch) -> Batch | UntaughtBatch | TextBatch:
        """Pad every side to its longest sentence; the teacher's vectors are read here, in the process that trains."""
        student = pad_tokens(batch.student)
        if self._teacher is None:
            return TextBatch(*student, torch.from_numpy(batch.language_B.astype(np.int64)))
        places = tuple(torch.from_numpy(ids.astype(np.int64)) for ids in (batch.english_B, batch.language_B))
        english = () if batch.english is None else pad_tokens(batch.english)
        if batch.teacher is not None:
            return UntaughtBatch(*student, *pad_tokens(batch.teacher), *places, *english)
        if self._vectors is None:
            assert isinstance(self._teacher, Path), "token ids come with the batch"
            self._vectors = TeacherTokens.open(self._teacher)
        return Batch(*student, *pad_vectors(*self._vectors.gather(batch.english_B)), *places, *english)


def _part(places: NDArray[np.int64], group: int, rank: int, workers: int) -> NDArray[np.int64]:
    groups = len(places) // group
    return places[groups * rank // workers * group : groups * (rank + 1) // workers * group]


def pad_tokens(table: TokenTable) -> tuple[Tensor, Tensor, Tensor]:
    """(ids_BN int64, attention_BN, content_BN) of ragged sentences: 0 and False at padding."""
    attention_BN = _mask(table.lengths)
    padded = [_pad(table.ids.astype(np.int64), attention_BN), attention_BN, _pad(table.content, attention_BN)]
    ids_BN, attention, content_BN = (torch.from_numpy(array) for array in padded)
    return ids_BN, attention, content_BN


def pad_vectors(vectors_TD: NDArray[np.float16], lengths_B: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """(float32 [B, M, D], mask [B, M]) of ragged vectors: 0 and False at padding."""
    mask_BM = _mask(lengths_B)
    return torch.from_numpy(_pad(vectors_TD, mask_BM)).float(), torch.from_numpy(mask_BM)


def _mask(lengths_B: NDArray[np.int64]) -> NDArray[np.bool_]:
    longest = max(1, int(lengths_B.max()))
    mask_BN: NDArray[np.bool_] = np.arange(longest) < lengths_B[:, None]
    return mask_BN


def _pad(flat: NDArray[Any], mask_BN: NDArray[np.bool_]) -> NDArray[Any]:
    padded = np.zeros((*mask_BN.shape, *flat.shape[1:]), flat.dtype)
    padded[mask_BN] = flat  # in numpy: half the time of the same in torch, at batches of this size
    return padded


class FlatBatch(Protocol):
    """A batch in the form that travels between processes."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Flat arrays by name; their types are in ARRAY_TYPES."""


class WindowSource(Protocol):
    """Where the rows of a plan are read from: bitext, or the relevance data of a teacher. Made of plain data, so it can travel."""

    def read_window(self, plan: BatchPlan, window: int, rank: int = 0, workers: int = 1) -> Iterator[tuple[FlatBatch, Position]]:
        """One worker's part of every global batch of a window, in order, each with the position after it."""

    def collate_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> Any:
        """The tensors of a flat batch, in the process that trains."""


ReadBatches = Callable[[Any, BatchPlan, Position, int, int], Iterator[tuple[Any, Position]]]
"""(a WindowSource, plan, start, rank, workers) -> one worker's part of every global batch, collated, each with the position after it."""


def read_batches(
    source: PairSource, plan: BatchPlan, start: Position = START, rank: int = 0, workers: int = 1
) -> Iterator[tuple[Batch | UntaughtBatch | TextBatch, Position]]:
    """One worker's part of every global batch from a position on, read in this process."""
    for batch, after in source.read(plan, start, rank, workers):
        yield source.collate(batch), after
