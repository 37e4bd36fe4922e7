"""What a side has encoded lately: systems, collections and scorers that ask for the same texts share one forward pass."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.system import Side

MEMORY_BYTES = 2**29
"""Of vectors that a process keeps; one answer larger than that is kept alone."""


class EncodingMemory:
    """Encodings by side and texts, the least lately used dropped first. Each process has its own: nothing of it is pickled.

    Args:
        limit: In bytes of vectors.
    """

    def __init__(self, limit: int = MEMORY_BYTES) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, tuple[str, ...]], TokenClouds] = OrderedDict()
        self._bytes = 0

    def encode(self, side: Side, texts: Sequence[str]) -> TokenClouds:
        """As `Side.encode`; not to be written to."""
        key = (side.fingerprint, tuple(texts))
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = self._kept[key] = side.encode(texts)
        self._bytes += found.vectors_TD.nbytes
        while self._bytes > self._limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].vectors_TD.nbytes
        return found

    def __reduce__(self) -> tuple[type[EncodingMemory], tuple[int]]:
        return EncodingMemory, (self._limit,)


@dataclass(frozen=True, slots=True, eq=False)
class RememberedSide:
    """A `Side` that looks into a memory first."""

    side: Side
    memory: EncodingMemory

    @property
    def fingerprint(self) -> str:
        return self.side.fingerprint

    @property
    def dimension(self) -> int:
        return self.side.dimension

    def encode(self, texts: Sequence[str]) -> TokenClouds:
        """As `Side.encode`; not to be written to."""
        return self.memory.encode(self.side, texts)
