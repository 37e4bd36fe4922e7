"""Made-up token clouds that every contender reads from the same files.

Q queries, C passages, T tokens, D dimensions.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from optical_ray.artifacts import write_json


@dataclass(frozen=True, slots=True)
class Shape:
    """How many texts, how long, in how many dimensions."""

    queries: int = 1000
    passages: int = 10_000
    query_tokens: int = 32
    passage_tokens: int = 128
    dimension: int = 128
    ragged: bool = False
    """Lengths from a quarter of the longest up, all equally likely; else all are of the longest."""


def write_clouds(shape: Shape, folder: Path, seed: int = 0) -> None:
    """Random unit vectors: `queries.npy` and `passages.npy`, float32 [T, D], and `lengths.npz`."""
    folder.mkdir(parents=True, exist_ok=True)
    lengths = {}
    for place, (name, count, longest) in enumerate(
        (("queries", shape.queries, shape.query_tokens), ("passages", shape.passages, shape.passage_tokens))
    ):
        draw = np.random.default_rng((seed, place))
        own = draw.integers(max(1, longest // 4), longest + 1, count) if shape.ragged else np.full(count, longest)
        vectors = draw.standard_normal((int(own.sum()), shape.dimension), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        np.save(folder / f"{name}.npy", vectors)
        lengths[name] = own.astype(np.int64)
    np.savez(folder / "lengths.npz", **lengths)  # type: ignore[arg-type]
    write_json(folder / "shape.json", asdict(shape))
