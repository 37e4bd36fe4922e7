"""A falling loss proves nothing: two verdicts on a trained student, from what is logged at every report."""

from __future__ import annotations

from collections.abc import Mapping

from optical_ray.runs import names
from optical_ray.transport.plan import PLAN_UNIFORM_ABOVE

COLLAPSE_MARGINS = {names.WITHIN_SENTENCE_COSINE: 0.3, names.COMMON_SHARE: 0.2}
"""By how much a student may exceed teacher and start. Measured: healthy students stay below +0.12 and +0.0, collapsed ones are beyond
+0.37 and +0.30 (docs/LABLOG.md, "Which statistic tells a collapse")."""


def verdicts(metrics: Mapping[str, float], baseline: Mapping[str, float]) -> list[str]:
    """What is wrong with a student, or nothing.

    Args:
        metrics: The last report.
        baseline: For each statistic of COLLAPSE_MARGINS, the larger of the teacher's value (same sentences) and the untrained student's.

    Returns:
        `plan_uniform`: epsilon is too large for the cost's spread, the plan aligns nothing. `collapsed`: the tokens of a sentence, or all
        tokens, point the same way: a statistic beyond its baseline by the margin, or past half of what is left to 1 where that is less.
    """
    found = []
    if metrics.get(names.TRANSPORT_ENTROPY, 0.0) > PLAN_UNIFORM_ABOVE:
        found.append(names.PLAN_UNIFORM)
    if any(metrics.get(name, -1.0) > _limit(baseline.get(name, 1.0), margin) for name, margin in COLLAPSE_MARGINS.items()):
        found.append(names.COLLAPSED)
    return found


def _limit(base: float, margin: float) -> float:
    return base + min(margin, (1.0 - base) / 2)
