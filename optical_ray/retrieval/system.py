"""What can be asked to rank: encoders of two sides, or anything else that scores a block of documents.

Q queries, C documents of a block, T tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.collection import DocumentBlock, Documents, Queries


class Side(Protocol):
    """Encodes one kind of text, queries or documents, with one model. Picklable: it travels to workers and loads its model there."""

    @property
    def fingerprint(self) -> str:
        """Names model and text form by their contents: encodings may be kept under it."""

    @property
    def dimension(self) -> int:
        """D."""

    def encode(self, texts: Sequence[str]) -> TokenClouds:
        """Content tokens, float32 [T, D] on the CPU, not normalised. The same texts in the same call give the same vectors, bit for bit."""


class BlockScorer(Protocol):
    """Ready for one collection's queries; scores one block of documents at a time, in any order of blocks, alike on every worker."""

    def scores(self, block: DocumentBlock) -> Mapping[str, NDArray[np.float32]]:
        """By scorer (`maxsim`, `pooled`, `bm25`, ...): scores [Q, C], a document's being that of its best passage."""


class System(Protocol):
    """A row of a results table."""

    @property
    def name(self) -> str:
        """`student`, `mean-removed`, `bm25`, ..."""

    @property
    def scorers(self) -> tuple[str, ...]:
        """What `BlockScorer.scores` will name."""

    def prepare(self, queries: Queries, documents: Documents) -> BlockScorer:
        """Encode the queries, read what statistics of the documents are needed (document frequencies, language means)."""
