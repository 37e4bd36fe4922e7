"""Sentence-Transformers: `util.maxsim`, which pads and chunks by itself and masks padding with the lowest number. JOB

`chunk`: "shipped", its own budget of 100 million elements; "fastest", the budget and the layout (lists or padded tensors) that it is
fastest with here.
"""

from __future__ import annotations

import importlib.metadata

import torch
import turns
from sentence_transformers.util import maxsim


def main() -> None:
    job, blocks = turns.read_job()
    sides = [turns.read_side(job, name) for name in ("queries", "passages")]
    layouts = {"lists": [turns.split(side) for side in sides]}
    if all(len(set(lengths)) == 1 for _, lengths in sides):
        layouts["tensors"] = [vectors.view(len(lengths), lengths[0], -1) for vectors, lengths in sides]

    def score(first: int, stop: int, way: tuple[str, int | None], most: int | None = None) -> torch.Tensor:
        queries, passages = layouts[way[0]]
        return maxsim(queries[first:stop], passages[:most], chunk_elements=way[1])

    best: tuple[str, int | None] = ("lists", None)
    if job["chunk"] == "fastest":
        sizes = (250_000, 1_000_000, 4_000_000, 16_000_000, 100_000_000)
        ways = [(layout, size) for layout in layouts for size in sizes]
        best = turns.fastest(ways, lambda way: score(0, job["queries"], way, turns.TUNING_PASSAGES))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("sentence-transformers", "torch"))
    blocks.facts = {"versions": versions, "chunk": f"{best[0]}, {best[1] or 100_000_000:,} elements"}
    turns.answer(job, blocks, [vectors for vectors, _ in sides], lambda first, stop: score(first, stop, best))


if __name__ == "__main__":
    main()
