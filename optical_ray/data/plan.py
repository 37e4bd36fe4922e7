"""The plan is the dataset: which row of which language stands where in which global batch, from the first step to the last.

A pure function of languages, mixture, batch shape, number of steps and seed. Workers take their part of every global batch; resuming is a
slice. B pairs a step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optical_ray.data.plan_config import BatchConfig
from optical_ray.languages.mixing import Mixture, apportion
from optical_ray.seeding import derive_seed


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The rows of a whole training, in order."""

    languages: tuple[str, ...]
    mixture: Mixture
    batch: BatchConfig
    language: NDArray[np.int16]
    """Index into `languages`, [steps, B]."""
    row: NDArray[np.int32]
    """Row of that language's training split, in stored order, [steps, B]."""

    @property
    def steps(self) -> int:
        return len(self.row)

    def rows(self, start_step: int = 0, rank: int = 0, workers: int = 1) -> tuple[NDArray[np.int32], NDArray[np.int16], NDArray[np.int32]]:
        """(step, language, row) of one worker's part of every global batch from `start_step` on, flat, in order.

        Workers hold consecutive whole groups, so a pair meets the same contrastive negatives whatever their number.
        """
        share = self.batch.pairs // workers
        part = slice(rank * share, (rank + 1) * share)
        step = np.repeat(np.arange(start_step, self.steps, dtype=np.int32), share)
        return step, self.language[start_step:, part].reshape(-1), self.row[start_step:, part].reshape(-1)

    def draws(self) -> dict[str, int]:
        """Positions of each language, repetitions counted."""
        counts = np.bincount(self.language.reshape(-1), minlength=len(self.languages))
        return {tag: int(count) for tag, count in zip(self.languages, counts, strict=True)}

    def describe(self) -> dict[str, Any]:
        """Plain data for plan.json; the digest tells whether two trainings saw the same rows in the same order."""
        digest = hashlib.sha256(self.language.tobytes() + self.row.tobytes()).hexdigest()[:40]
        sizes = {"languages": list(self.languages), "steps": self.steps, "pairs_per_step": self.batch.pairs, "group": self.batch.group}
        return sizes | self.mixture.describe() | {"draws": self.draws(), "digest": digest}


def build_plan(
    mixture: Mixture, batch: BatchConfig, steps: int, seed: int, lengths: Mapping[str, NDArray[np.int64]] | None = None
) -> BatchPlan:
    """Deal the mixture's rows out to `steps` global batches.

    Each language's draws are spread evenly over the training (one seeded random place in each of as many equal stretches), so every window
    of batches is close to the sampling shares. A language goes through all of its rows before it repeats one; every pass has an order of
    its own. Within a window, pairs are sorted by length and the batches shuffled.

    Args:
        mixture: Rows and shares of each language.
        batch: Shape and window.
        steps: Global batches.
        seed: Root of every order.
        lengths: Length of each row (any unit that grows with tokens), by language; None: nothing is sorted.
    """
    languages = tuple(mixture.rows)
    total = steps * batch.pairs
    what = "training.max_steps x batch.pairs"
    draws = apportion(total, mixture.shares, dict.fromkeys(languages, total), what) if steps else dict.fromkeys(languages, 0)
    times, owners, rows = [], [], []
    for index, tag in enumerate(languages):
        count, distinct = draws[tag], mixture.rows[tag]
        jitter = np.random.default_rng(derive_seed(seed, "plan-times", tag)).random(count)
        times.append((np.arange(count) + jitter) / max(count, 1))
        owners.append(np.full(count, index, np.int16))
        passes = [
            np.random.default_rng(derive_seed(seed, "plan-rows", tag, epoch)).permutation(distinct).astype(np.int32)
            for epoch in range(-(-count // distinct))
        ]
        rows.append(np.concatenate([*passes, np.zeros(0, np.int32)])[:count])
    order = np.argsort(np.concatenate(times), kind="stable")
    language, row = np.concatenate(owners)[order], np.concatenate(rows)[order]
    if lengths is not None and batch.length_window > 1 and steps:
        order = _sort_windows(_look_up(lengths, languages, language, row), batch, steps, seed)
        language, row = language[order], row[order]
    return BatchPlan(languages, mixture, batch, language.reshape(steps, batch.pairs), row.reshape(steps, batch.pairs))


def _look_up(
    lengths: Mapping[str, NDArray[np.int64]], languages: tuple[str, ...], language: NDArray[np.int16], row: NDArray[np.int32]
) -> NDArray[np.int64]:
    found = np.empty(len(row), np.int64)
    for index, tag in enumerate(languages):
        chosen = language == index
        found[chosen] = lengths[tag][row[chosen]]
    return found


def _sort_windows(length: NDArray[np.int64], batch: BatchConfig, steps: int, seed: int) -> NDArray[np.int64]:
    """The order of positions: by length inside each window, then whole batches of the window in a seeded order."""
    order = np.arange(len(length))
    for first in range(0, steps, batch.length_window):
        window = slice(first * batch.pairs, min(first + batch.length_window, steps) * batch.pairs)
        batches = order[window][np.argsort(length[window], kind="stable")].reshape(-1, batch.pairs)
        order[window] = np.random.default_rng(derive_seed(seed, "plan-window", first)).permutation(batches).reshape(-1)
    return order
