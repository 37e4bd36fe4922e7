"""Our contender of `maxsim`: `Seekers`, in a process of its own.

python -m benchmarks.retrieval.ours_maxsim JOB RANK
"""

from __future__ import annotations

import importlib.metadata

import torch
from torch import Tensor

from benchmarks.retrieval.peers import turns
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.search.scoring import Seekers


def main() -> None:
    job, blocks = turns.read_job()
    blocks.facts = {"versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numba", "torch"))}
    sides = [turns.read_side(job, name) for name in ("queries", "passages")]
    queries, passages = (TokenClouds(vectors, torch.tensor(lengths)) for vectors, lengths in sides)

    def score(first: int, stop: int) -> Tensor:
        own = queries.select(torch.arange(first, stop))
        return torch.from_numpy(Seekers(own).maxsim(passages)) * own.lengths[:, None]  # theirs is the sum, ours the mean

    turns.answer(job, blocks, [vectors for vectors, _ in sides], score)


if __name__ == "__main__":
    main()
