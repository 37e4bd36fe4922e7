"""Asynchronous successive halving by step: which trial is stopped at which validation. Numbers in, a decision out.

Not Ray's ASHAScheduler: it forgets its rungs when the driver dies, ends trials at their last step too (so before their test rows), and
judges every part of a sweep alike. This one reads the curves that the study keeps, so a resumed sweep goes on judging by all that was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optical_ray.sweep import Asha


def rungs(asha: Asha, max_steps: int) -> list[int]:
    """Steps at which trials are judged; none at the last step, whose trial has finished."""
    found = []
    step = asha.grace_steps
    while step < max_steps:
        found.append(step)
        step *= asha.reduction
    return found


def must_stop(asha: Asha, max_steps: int, own: Mapping[int, float], step: int, others: Sequence[Mapping[int, float]]) -> bool:
    """Whether a trial that maximises a value stops at a validation.

    A trial is judged once at a rung, at its first validation at or after it, and only at the highest of several that one validation
    passes. It goes on if fewer than n / `reduction` (rounded down, at least 1) of the n trials there, itself among them, have more.

    Args:
        asha: The rule.
        max_steps: Of the trial.
        own: Its validations by step, this one and those of its earlier attempts too.
        step: Of this validation.
        others: Validations of every other trial of the search.
    """
    passed = [rung for rung in rungs(asha, max_steps) if rung <= step < max_steps]
    before = max((earlier for earlier in own if earlier < step), default=-1)
    if not passed or before >= passed[-1]:
        return False
    there = [value for other in others if (value := _value_at(other, passed[-1])) is not None]
    kept = max(1, (len(there) + 1) // asha.reduction)
    return sum(value > own[step] for value in there) >= kept


def _value_at(curve: Mapping[int, float], rung: int) -> float | None:
    reached = [step for step in curve if step >= rung]
    return curve[min(reached)] if reached else None
