"""How far would another training seed move a result? Trainings of one setting, apart from the interval over queries.

A bootstrap over three seeds covers 73 % where it says 95, so fewer than FEW_SEEDS are shown as points and nothing is inferred from them.
From there on Student's t interval of their mean is given: with so few numbers a percentile bootstrap stays too short (five normal draws:
about 84 %), while t holds its level for normal ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optical_ray.retrieval.intervals import Interval

FEW_SEEDS = 5
"""From this many on an interval over seeds is given."""


def seed_interval(means: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Student's t interval of a mean over seeds; None under FEW_SEEDS.

    Args:
        means: One for each seed: of a system, or of the difference of two systems trained with the same seed.
        confidence: Of the interval, between 0 and 1.
    """
    if len(means) < FEW_SEEDS:
        return None
    from scipy import stats  # here: it takes half a second to import, and few comparisons have five seeds

    mean, spread = float(np.mean(means)), float(np.std(means, ddof=1)) / np.sqrt(len(means))
    reach = float(stats.t.ppf(0.5 + confidence / 2, len(means) - 1)) * spread
    p_value = float(2 * stats.t.sf(abs(mean) / spread, len(means) - 1)) if spread > 0 else (1.0 if mean == 0 else 0.0)
    return Interval(mean, mean - reach, mean + reach, p_value)
