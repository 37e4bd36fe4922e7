"""Ids and languages of documents by their place: what a ranking holds are places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optical_ray.retrieval.collection import BLOCK_DOCUMENTS, Documents

Names = NDArray[np.object_]


class DocumentNames:
    """Reads the blocks that are asked for, each once; a million ids take about 100 MB.

    Args:
        documents: Of a collection.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._blocks: dict[int, tuple[Names, Names]] = {}

    def ids(self, places: NDArray[np.int64]) -> Names:
        """Id at each place, of the same shape; empty where a place is negative (nothing stands there)."""
        return self._look_up(places, 0)

    def languages(self, places: NDArray[np.int64]) -> Names:
        """Language tag at each place, as `ids`."""
        return self._look_up(places, 1)

    def all_languages(self) -> Names:
        """Of every document, [number of documents]."""
        return self.languages(np.arange(len(self._documents)))

    def _look_up(self, places: NDArray[np.int64], column: int) -> Names:
        found = np.full(places.shape, "", dtype=np.object_)
        block_of = places // BLOCK_DOCUMENTS
        blocks = np.unique(block_of[places >= 0])
        self._read([int(block) for block in blocks if int(block) not in self._blocks])
        for block in blocks:
            inside = (block_of == block) & (places >= 0)
            found[inside] = self._blocks[int(block)][column][places[inside] % BLOCK_DOCUMENTS]
        return found

    def _read(self, blocks: list[int]) -> None:
        """Read some blocks, ascending; neighbours in one go."""
        first = 0
        for end in range(1, len(blocks) + 1):
            if end < len(blocks) and blocks[end] == blocks[end - 1] + 1:
                continue
            for number, block in enumerate(self._documents.blocks(blocks[first], blocks[end - 1] + 1), blocks[first]):
                self._blocks[number] = (np.array(block.ids, dtype=np.object_), np.array(block.languages, dtype=np.object_))
            first = end
