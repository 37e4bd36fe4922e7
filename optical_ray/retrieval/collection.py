"""What is asked, among what, and what is right: the one form that every released data set is read into.

formats/  reads a folder or files as released      ->  Collection
search/   ranks a collection's documents           ->  Ranked
judge.py  compares with the relevance judgements   ->  rows per query (schema QUERIES)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_DOCUMENTS = 4096
"""Documents of one block. Blocks are cut by this rule alone, whoever reads them: what is computed block by block is then the same to the
bit for any number of workers."""

Qrels = Mapping[str, Mapping[str, int]]
"""Query id -> document id -> grade; above 0: relevant. What is not named is not relevant."""


@dataclass(frozen=True, slots=True)
class Queries:
    """What is asked, in one order that never changes."""

    ids: tuple[str, ...]
    """Each once."""
    texts: tuple[str, ...]
    """None is empty."""
    languages: tuple[str, ...]
    """Of each query, canonical tag."""
    clusters: tuple[str, ...]
    """What each query asks for: queries with an equal one are no independent draws, and are resampled together (retrieval/intervals.py).
    Translations of one question share it; where nothing is known, the query's own id."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class DocumentBlock:
    """Some consecutive documents, as the passages that are encoded. A short document is one passage."""

    ids: tuple[str, ...]
    """Of the documents."""
    languages: tuple[str, ...]
    """Of each document, canonical tag."""
    passages: tuple[str, ...]
    """Texts, document by document; a document's score is that of its best passage (MaxP, Dai & Callan 2019)."""
    owner: NDArray[np.int64]
    """Place of each passage's document in `ids`, ascending; every document owns at least one."""

    def __len__(self) -> int:
        return len(self.ids)


class Documents(Protocol):
    """Candidates in stored order, read block by block; opening them reads no text. Picklable: it travels to workers."""

    @property
    def fingerprint(self) -> str:
        """Names texts, languages and order: what is computed of the documents may be kept under it."""

    def __len__(self) -> int:
        """How many documents."""

    @property
    def languages(self) -> tuple[str, ...]:
        """All that occur, sorted."""

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[DocumentBlock]:
        """Blocks number `start` up to `stop` (default: the last) of BLOCK_DOCUMENTS documents each, the last one shorter."""

    def places(self, ids: frozenset[str]) -> dict[str, int]:
        """Place (0-based, in stored order) of each of these documents; those that are not there are left out."""


@dataclass(frozen=True, slots=True)
class Collection:
    """One search: every query is looked for among all documents (or among its own candidates alone)."""

    task: str
    """`tatoeba`, `lareqa`, ..."""
    name: str
    """Of this search among those of the task: `en-sw`, `all`."""
    split: Literal["valid", "test"]
    queries: Queries
    documents: Documents
    qrels: Qrels
    """Of every query, at least one relevant document that is there."""
    candidates: Mapping[str, tuple[str, ...]] | None = None
    """Query id -> documents to re-rank, in the order of the run that named them; None: full ranking."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Why -> how many queries, documents or judgements were left out, where the user allowed it, or where the protocol says so."""

    @property
    def num_blocks(self) -> int:
        return -(-len(self.documents) // BLOCK_DOCUMENTS)


@dataclass(frozen=True, slots=True)
class Ranked:
    """What one system found for the queries of a collection, in their order. Q queries, K = depth, R relevant documents in all.

    Order of equal scores: relevant documents stand behind all others of the same score (ties count against us); otherwise stored order.
    """

    top_QK: NDArray[np.int64]
    """Places of the best documents; -1 where a query has fewer candidates than K."""
    scores_QK: NDArray[np.float32]
    """Descending; -inf where `top_QK` is -1."""
    relevant_R: NDArray[np.int64]
    """Places of the relevant documents, query by query, ascending."""
    offsets_Q: NDArray[np.int64]
    """int64 [Q + 1]: query i owns relevant_R[offsets[i]:offsets[i + 1]]."""
    rank_R: NDArray[np.int64]
    """1-based rank of each relevant document; 0: not among a query's candidates, or beyond K of a search that looked no further."""
    num_candidates_Q: NDArray[np.int64]
    exact: bool
    """Whether `rank_R` is known beyond K."""

    @property
    def num_unscored(self) -> int:
        """Queries with candidates of which none has a score that is a number."""
        if self.scores_QK.shape[1] == 0:
            return 0
        return int(((self.num_candidates_Q > 0) & ~np.isfinite(self.scores_QK[:, 0])).sum())
