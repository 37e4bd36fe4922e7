"""Arms beside a baseline: paired differences with intervals over sentences, and how far training seeds move them.

Seeds are few: below FEW_SEEDS they are points, from there on Student's t-interval over their differences stands beside them (a paired
t-test: the same seed gives both arms the same start and the same order of rows). It speaks of other seeds; the bootstrap's of other
sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import ttest_1samp

from optical_ray.analysis.compare import ARMS, Comparison, name_cell, pair_with_baseline
from optical_ray.analysis.curves import largest_cells
from optical_ray.analysis.design import FEW_SEEDS, REPLICATE_FIELDS, Cell
from optical_ray.analysis.load import Trial
from optical_ray.analysis.outcomes import SUCCESS, pair
from optical_ray.analysis.sources import Sources
from optical_ray.retrieval.intervals import Interval


@dataclass(frozen=True, slots=True)
class ArmDifference:
    """An arm minus the baseline, on the languages that both were trained on."""

    comparison: Comparison
    seeds: tuple[float, ...]
    """Of each pair of trainings that share their seeds, in the order of the seeds."""
    over_seeds: Interval | None
    """Of the mean over seeds; None below FEW_SEEDS of them, and where they do not differ at all."""


def arm_differences(
    sources: Sources, cells: Iterable[Cell], comparisons: Sequence[Comparison], baseline: str | None = None
) -> list[ArmDifference]:
    """The differences of `compare` (kind ARMS, Success@1) with what the seeds say, in its order."""
    by_pair = {(name_cell(cell), name_cell(base)): (cell, base) for cell, base in pair_with_baseline(list(largest_cells(cells)), baseline)}
    found = []
    for row in comparisons:
        if row.kind == ARMS and row.measure == "Success@1" and (row.first, row.second) in by_pair:
            cell, base = by_pair[row.first, row.second]
            seeds = tuple(_seed_differences(sources, cell, base, row.languages))
            found.append(ArmDifference(row, seeds, _over_seeds(seeds)))
    return found


def _seed_differences(sources: Sources, cell: Cell, base: Cell, languages: Sequence[str]) -> list[float]:
    others = {_seed(trial): trial for trial in base.trials}
    found = []
    for trial in sorted(cell.trials, key=_seed):
        if _seed(trial) in others:
            paired = pair(sources.student([trial]), sources.student([others[_seed(trial)]]), languages)
            if paired.first:
                means = [paired.first[name][:, SUCCESS].mean() - paired.second[name][:, SUCCESS].mean() for name in paired.first]
                found.append(float(np.mean(means)))
    return found


def _seed(trial: Trial) -> tuple[str, ...]:
    return tuple(str(trial.fields.get(name)) for name in REPLICATE_FIELDS)


def _over_seeds(seeds: Sequence[float]) -> Interval | None:
    if len(seeds) < FEW_SEEDS or np.ptp(seeds) == 0.0:
        return None
    result = ttest_1samp(seeds, 0.0)
    bounds = result.confidence_interval(0.95)
    return Interval(float(np.mean(seeds)), float(bounds.low), float(bounds.high), float(result.pvalue))
