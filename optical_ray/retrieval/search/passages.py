"""The passages of a block as they are encoded: each text once, a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.collection import DocumentBlock
from optical_ray.retrieval.system import Side

PASSAGES_AT_ONCE = 512
"""Passages whose token vectors are in memory at once, as float32: of 180 tokens and 384 dimensions 142 MB, and as much again normalised."""


@dataclass(frozen=True, slots=True)
class DistinctPassages:
    """Passages of one block without repetition: equal texts get equal vectors, and so tie. P passages, in the order of their first use."""

    texts: tuple[str, ...]
    """Different, but where languages differ."""
    languages: tuple[str, ...]
    """Of each text, that of its document."""
    of_passage: NDArray[np.int64]
    """Which text each passage of the block is, [P]."""

    @classmethod
    def of(cls, block: DocumentBlock) -> DistinctPassages:
        """Those of a block."""
        seen: dict[tuple[str, str], int] = {}
        of_passage = np.empty(len(block.passages), np.int64)
        for index, (text, owner) in enumerate(zip(block.passages, block.owner.tolist(), strict=True)):
            of_passage[index] = seen.setdefault((block.languages[owner], text), len(seen))
        return cls(tuple(text for _, text in seen), tuple(language for language, _ in seen), of_passage)

    def encode(self, side: Side) -> Iterator[TokenClouds]:
        """Raw clouds, PASSAGES_AT_ONCE texts at a time."""
        for first in range(0, len(self.texts), PASSAGES_AT_ONCE):
            yield side.encode(self.texts[first : first + PASSAGES_AT_ONCE])
