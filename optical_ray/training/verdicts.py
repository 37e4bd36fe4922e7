"""A falling loss proves nothing: two verdicts on a trained student, from what is logged at every report."""

from __future__ import annotations

import math
from collections.abc import Mapping

from optical_ray.runs import names
from optical_ray.transport.plan import PLAN_UNIFORM_ABOVE

COLLAPSE_MARGIN = 0.1
"""Cosine by which a student's tokens of one sentence may lie closer together than the teacher's and their own at the start."""


def verdicts(metrics: Mapping[str, float], start_cosine: float, teacher_cosine: float) -> list[str]:
    """What is wrong with a student, or nothing.

    Args:
        metrics: The last report.
        start_cosine: Mean within-sentence cosine of the untrained student.
        teacher_cosine: The teacher's, on the same sentences.

    Returns:
        `plan_uniform`: epsilon is too large for the cost's spread, the plan aligns nothing. `collapsed`: within-sentence cosine beyond that
        of teacher and start by COLLAPSE_MARGIN, or past half of the way that is left to 1 where the margin would not fit.
    """
    found = []
    if metrics.get(names.TRANSPORT_ENTROPY, 0.0) > PLAN_UNIFORM_ABOVE:
        found.append(names.PLAN_UNIFORM)
    base = max(start_cosine, teacher_cosine)
    limit = base + min(COLLAPSE_MARGIN, (1.0 - base) / 2)
    if math.isfinite(limit) and metrics.get(names.WITHIN_SENTENCE_COSINE, -1.0) > limit:
        found.append(names.COLLAPSED)
    return found
