"""A random order: what nothing at all reaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optical_ray.retrieval.collection import DocumentBlock, Documents, Queries
from optical_ray.seeding import derive_seed

RANDOM = "random"


@dataclass(frozen=True, slots=True)
class RandomSystem:
    """Every pair of query and document has a score of its own, by seed and ids alone: in whatever blocks, the same order."""

    seed: int = 0
    name: str = "random"
    scorers: tuple[str, ...] = (RANDOM,)

    def prepare(self, queries: Queries, documents: Documents) -> RandomScorer:
        """As `System.prepare`."""
        keys = [derive_seed(self.seed, "query", language, name) for language, name in zip(queries.languages, queries.ids, strict=True)]
        return RandomScorer(np.array(keys, np.uint64), self.seed)


@dataclass(frozen=True, slots=True, eq=False)
class RandomScorer:
    """Queries as seeds."""

    keys_Q: NDArray[np.uint64]
    seed: int

    def scores(self, block: DocumentBlock) -> dict[str, NDArray[np.float32]]:
        """As `BlockScorer.scores`: multiples of 2**-20 below 16, which float32 holds and no rounding of scores makes equal."""
        keys_C = np.array([derive_seed(self.seed, "document", name) for name in block.ids], np.uint64)
        return {RANDOM: (_scramble(self.keys_Q[:, None] ^ keys_C) >> np.uint64(40)).astype(np.float32) * np.float32(2**-20)}


def _scramble(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014): 64 well-mixed bits of 64."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
