"""PyLate: `scores.colbert_scores`, which scores padded tensors at once; chunks are the caller's. JOB

`masks`: its own rule, similarities times the mask (padding scores 0 and beats what is below); else no mask, where nothing is padded.
"""

from __future__ import annotations

import importlib.metadata

import torch
import turns
from pylate.scores import colbert_scores
from torch.nn.utils.rnn import pad_sequence


def main() -> None:
    job, blocks = turns.read_job()
    sides = [turns.read_side(job, name) for name in ("queries", "passages")]
    if len(set(sides[0][1])) == len(set(sides[1][1])) == 1:
        queries, passages = (vectors.view(len(lengths), lengths[0], -1) for vectors, lengths in sides)
    else:
        queries, passages = (pad_sequence(turns.split(side), batch_first=True) for side in sides)
    masks = [None, None]
    if job["masks"]:
        masks = [pad_sequence([torch.ones(length) for length in lengths], batch_first=True) for _, lengths in sides]

    def score(first: int, stop: int, chunk: tuple[int, int], most: int | None = None) -> torch.Tensor:
        rows = []
        for q in range(first, stop, chunk[0]):
            own = slice(q, min(q + chunk[0], stop))
            parts = []
            for c in range(0, len(passages) if most is None else most, chunk[1]):
                others = slice(c, c + chunk[1])
                given = [None if mask is None else mask[part] for mask, part in zip(masks, (own, others), strict=True)]
                parts.append(colbert_scores(queries[own], passages[others], *given))
            rows.append(torch.cat(parts, dim=1))
        return torch.cat(rows)

    similarities = queries.shape[1] * passages.shape[1]
    chunks = []  # of so many similarities at once: from one that stays in the cache to the 100 million of Sentence-Transformers
    for elements in (250_000, 1_000_000, 4_000_000, 16_000_000, 100_000_000):
        pairs = max(1, elements // similarities)
        for few in (1, 4, 16, 64):
            chunk = (min(few, job["queries"]), max(1, pairs // min(few, job["queries"])))
            if chunk not in chunks and pairs >= few:
                chunks.append(chunk)
    most = min(turns.TUNING_PASSAGES, len(passages))
    best = turns.fastest(chunks, lambda chunk: score(0, job["queries"], chunk, most))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("pylate", "torch"))
    blocks.facts = {"versions": versions, "chunk": f"{best[0]} queries x {best[1]} passages"}
    turns.answer(job, blocks, [queries, passages], lambda first, stop: score(first, stop, best))


if __name__ == "__main__":
    main()
