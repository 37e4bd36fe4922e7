"""From rows of the plan to tensors: queries of one worker, each with a relevant document and some others.

B queries of one worker, K documents of a query (the relevant one first), N query tokens, M document tokens, P known positives of a query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from optical_ray.config import Config, where_field
from optical_ray.data.batches import pad_tokens
from optical_ray.data.plan import START, BatchPlan, Position, build_plan
from optical_ray.data.plan_config import BatchConfig
from optical_ray.data.relevance.table import RelevanceData
from optical_ray.encoders.config import TextForm
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.tokenizer import TokenTable, tokenize
from optical_ray.languages.mixing import Mixture
from optical_ray.seeding import derive_seed

NO_DOCUMENT = -1
"""In place of a document's number where a query has fewer than K."""


class RelevanceBatchConfig(Config):
    """One global batch, whatever the number of workers."""

    queries: PositiveInt = 32
    """Queries per step, over all workers."""
    group: PositiveInt = 32
    """Consecutive queries whose documents are each other's negatives; a worker holds whole groups, so groups bound their number."""
    negatives: int = Field(default=1, ge=0)
    """Documents that are not relevant, of each query (its hard negatives, or scored candidates), where it has so many; drawn anew in each
    epoch."""
    chunk: PositiveInt | None = where_field(32)
    """Texts that are encoded at once in training; the activations of one chunk alone are held, and computed twice. None: a group at once.
    With dropout its masks change. Not part of the fingerprint."""

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.queries % self.group:
            raise ValueError(f"batch.queries={self.queries} is not a multiple of batch.group={self.group}")
        return self


@dataclass(frozen=True, slots=True)
class RelevanceBatch:
    """One worker's part of a global batch; padding is False in every mask."""

    query_ids_BN: Tensor
    """int64."""
    query_attention_BN: Tensor
    """Tokens that are read, bool."""
    query_content_BN: Tensor
    """Tokens that are scored: no special, marker or prefix tokens, bool."""
    document_ids_BKM: Tensor
    document_attention_BKM: Tensor
    document_content_BKM: Tensor
    document_BK: Tensor
    """Number of each document, int64: equal ones are one document. NO_DOCUMENT where a query has fewer."""
    scores_BK: Tensor
    """Given scores, float32; NaN: none."""
    known_BP: Tensor
    """Numbers of all documents known to be relevant to the query, int64; NO_DOCUMENT at padding."""
    language_B: Tensor
    """0: all is English. int64."""

    def to(self, device: str) -> Self:
        """The batch on a device."""
        return self._of_each(lambda side: side.to(device))

    def part(self, pairs: slice) -> Self:
        """Some of the queries; views, padded as the batch is."""
        return self._of_each(lambda side: side[pairs])

    def _of_each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{side.name: change(getattr(self, side.name)) for side in fields(self)})


@dataclass(frozen=True, slots=True)
class RaggedQueries:
    """The same before padding; the form that travels between processes."""

    queries: TokenTable
    documents: TokenTable
    """Of B x K documents; empty where there is none."""
    document_BK: NDArray[np.int32]
    scores_BK: NDArray[np.float32]
    known: NDArray[np.int32]
    """Known positives, query after query: query i owns known[known_offsets[i]:known_offsets[i + 1]]."""
    known_offsets: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Flat arrays by name."""
        tables = {"query": self.queries, "document": self.documents}
        flat = {f"{side}_{name}": getattr(table, name) for side, table in tables.items() for name in ("ids", "content", "offsets")}
        flat |= {"documents": self.document_BK.reshape(-1), "scores": self.scores_BK.reshape(-1)}
        return flat | {"known": self.known, "known_offsets": self.known_offsets}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> RaggedQueries:
        """What `to_arrays` gave."""
        queries, documents = (
            TokenTable(*(arrays[f"{side}_{name}"] for name in ("ids", "content", "offsets"))) for side in ("query", "document")
        )
        shape = len(queries), -1
        document_BK, scores_BK = (arrays[name].reshape(shape) for name in ("documents", "scores"))
        return cls(queries, documents, document_BK, scores_BK, arrays["known"], arrays["known_offsets"])


class RelevanceReader:
    """Training queries of relevance data as token ids. Made of plain data, so it can travel; opened where it is used, on first use.

    Args:
        folder: Of the relevance data.
        tokenizer: Folder or hub id.
        revision: Of a hub id.
        query: How queries are read.
        document: How documents are read.
        negatives: K - 1.
        seed: Root of the choice among a query's documents.
    """

    def __init__(
        self, folder: Path, tokenizer: str, revision: str | None, query: TextForm, document: TextForm, negatives: int, seed: int
    ) -> None:
        self._arguments = (folder, tokenizer, revision, query, document, negatives, seed)
        self._query, self._document, self._negatives, self._seed = query, document, negatives, seed
        self._data: RelevanceData | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def _open(self) -> tuple[RelevanceData, PreTrainedTokenizerBase]:
        folder, tokenizer, revision, *_ = self._arguments
        if self._data is None or self._tokenizer is None:
            self._data, self._tokenizer = RelevanceData.open(folder), load_tokenizer(tokenizer, revision)
        return self._data, self._tokenizer

    def read_window(self, plan: BatchPlan, window: int, rank: int = 0, workers: int = 1) -> Iterator[tuple[RaggedQueries, Position]]:
        """One worker's part of every global batch of a window, in order, each with the position after it.

        A query's documents are chosen by its place in the plan, so they are the same for any number of workers.
        """
        data, _ = self._open()
        _, row_R = plan.draw(window)
        batches = plan.deal(window, np.zeros(len(row_R), np.int64))
        pairs = window * plan.batch.window_pairs
        for turn, places in enumerate(batches, start=1):
            groups, group = len(places) // plan.batch.group, plan.batch.group
            own = places[groups * rank // workers * group : groups * (rank + 1) // workers * group]
            pairs += len(places)
            rows = data.train.take([int(row) for row in row_R[own]])
            seeds = [derive_seed(self._seed, "relevance-documents", window, int(place)) for place in own]
            yield self._read(rows, seeds), Position(window, turn, pairs) if turn < len(batches) else Position(window + 1, 0, pairs)

    def _read(self, rows: Sequence[dict[str, Any]], seeds: Sequence[int]) -> RaggedQueries:
        data, tokenizer = self._open()
        document_BK = np.full((len(rows), 1 + self._negatives), NO_DOCUMENT, np.int32)
        scores_BK = np.full(document_BK.shape, np.nan, np.float32)
        for line, (row, seed) in enumerate(zip(rows, seeds, strict=True)):
            chosen = choose_documents(len(row["positives"]), len(row["negatives"]), self._negatives, seed)
            numbers = [*row["positives"], *row["negatives"]]
            document_BK[line, : len(chosen)] = [numbers[place] for place in chosen]
            scores_BK[line, : len(chosen)] = [row["scores"][place] for place in chosen]
        present = document_BK != NO_DOCUMENT
        texts = data.documents.texts(document_BK[present].tolist())
        return RaggedQueries(
            tokenize(tokenizer, [row["query"] for row in rows], self._query.max_tokens, self._query.prefix),
            _spread(tokenize(tokenizer, texts, self._document.max_tokens, self._document.prefix), present.reshape(-1)),
            document_BK,
            scores_BK,
            np.asarray([number for row in rows for number in row["positives"]], np.int32),
            np.cumsum([0, *(len(row["positives"]) for row in rows)]).astype(np.int64),
        )

    def collate_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> RelevanceBatch:
        """Pad."""
        return collate(RaggedQueries.from_arrays(arrays))


def choose_documents(positives: int, negatives: int, wanted: int, seed: int) -> list[int]:
    """One of a query's positives, then at most `wanted` of its negatives, each once: places among positives, then negatives."""
    generator = np.random.default_rng(seed)
    positive = int(generator.integers(positives))
    others = generator.permutation(negatives)[:wanted]
    return [positive, *(positives + int(place) for place in others)]


def _spread(table: TokenTable, present: NDArray[np.bool_]) -> TokenTable:
    """Texts at the places where they are present, nothing at the others."""
    lengths = np.zeros(len(present), np.int64)
    lengths[present] = table.lengths
    return TokenTable(table.ids, table.content, np.concatenate([[0], lengths.cumsum()]))


def collate(batch: RaggedQueries) -> RelevanceBatch:
    """Pad every side to its longest text."""
    queries, shape = pad_tokens(batch.queries), batch.document_BK.shape
    ids_BKM, attention_BKM, content_BKM = (side.view(*shape, -1) for side in pad_tokens(batch.documents))
    counts = np.diff(batch.known_offsets)
    known_BP = np.full((len(counts), max(1, int(counts.max(initial=1)))), NO_DOCUMENT, np.int64)
    known_BP[np.arange(known_BP.shape[1]) < counts[:, None]] = batch.known
    document_BK, scores_BK = torch.from_numpy(batch.document_BK.astype(np.int64)), torch.from_numpy(batch.scores_BK.copy())
    language_B = torch.zeros(shape[0], dtype=torch.int64)
    documents = (ids_BKM, attention_BKM, content_BKM, document_BK)
    return RelevanceBatch(*queries, *documents, scores_BK, torch.from_numpy(known_BP), language_B)


def plan_queries(data: RelevanceData, batch: RelevanceBatchConfig, steps: int, seed: int) -> BatchPlan:
    """The order of the training queries: every one once before any twice, in a seeded order of each epoch."""
    shape = BatchConfig(pairs=batch.queries, group=batch.group, length_window=1)
    mixture = Mixture({"en": len(data.train)}, {"en": 1.0})
    return build_plan(mixture, shape, steps, derive_seed(seed, "relevance"), 4, data.folder.name)


def read_queries(
    source: RelevanceReader, plan: BatchPlan, start: Position = START, rank: int = 0, workers: int = 1
) -> Iterator[tuple[RelevanceBatch, Position]]:
    """One worker's part of every global batch from a position on, read in this process."""
    for window in range(start.window, plan.windows):
        skipped = start.batch if window == start.window else 0
        for turn, (batch, after) in enumerate(source.read_window(plan, window, rank, workers)):
            if turn >= skipped:
                yield collate(batch), after
