"""In which order one language's rows are drawn: block after block, every row once before any twice. A pure function of the seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from optical_ray.data.layout import BLOCK_ROWS
from optical_ray.seeding import derive_seed

Rows = NDArray[np.int32]


class RowOrder:
    """The endless sequence of one language's draws.

    An epoch goes through the blocks of BLOCK_ROWS rows in an order of its own, and through each block's rows in an order of its own, so a
    reader holds one block at a time however many rows there are. A language of less than a block is permuted whole.
    """

    def __init__(self, tag: str, rows: int, seed: int) -> None:
        self._tag, self._rows, self._seed = tag, rows, seed
        self._epochs = max(1, BLOCK_ROWS // rows)  # of a small language, drawn up together: one generator for each would take the time
        self._held: tuple[int, int, Rows] | None = None
        self._blocks: tuple[int, Rows, NDArray[np.int64]] | None = None

    def draw(self, first: int, count: int) -> Rows:
        """The rows of draws [first, first + count), int32."""
        parts = []
        while count > 0:
            start, rows = self._stretch(first)
            parts.append(rows[first - start : first - start + count])
            first, count = first + len(parts[-1]), count - len(parts[-1])
        return np.concatenate([*parts, np.zeros(0, np.int32)])

    def _stretch(self, draw: int) -> tuple[int, Rows]:
        """(its first draw, its rows) of the stretch that a draw lies in: one block, or some epochs of a small language."""
        if self._held is None or not self._held[0] <= draw < self._held[1]:
            start, rows = self._epochs_of(draw) if self._rows <= BLOCK_ROWS else self._block_of(draw)
            self._held = start, start + len(rows), rows
        return self._held[0], self._held[2]

    def _epochs_of(self, draw: int) -> tuple[int, Rows]:
        index, _ = divmod(draw, self._epochs * self._rows)
        order = np.tile(np.arange(self._rows, dtype=np.int32), (self._epochs, 1))
        self._generator("epochs", index).permuted(order, axis=1, out=order)
        return index * order.size, order.reshape(-1)

    def _block_of(self, draw: int) -> tuple[int, Rows]:
        epoch, place = divmod(draw, self._rows)
        if self._blocks is None or self._blocks[0] != epoch:
            order = self._generator("blocks", epoch).permutation(-(-self._rows // BLOCK_ROWS)).astype(np.int32)
            ends = np.minimum(BLOCK_ROWS, self._rows - order.astype(np.int64) * BLOCK_ROWS).cumsum()
            self._blocks = epoch, order, ends
        _, order, ends = self._blocks
        turn = int(np.searchsorted(ends, place, side="right"))
        start = int(ends[turn - 1]) if turn else 0
        block = int(order[turn])
        rows = self._generator("rows", epoch, block).permutation(int(ends[turn]) - start).astype(np.int32)
        return epoch * self._rows + start, rows + np.int32(block * BLOCK_ROWS)

    def _generator(self, *path: str | int) -> np.random.Generator:
        return np.random.default_rng(derive_seed(self._seed, "plan-rows", self._tag, *path))
