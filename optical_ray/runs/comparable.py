"""Which trials of a run were judged on the same validation questions, so that one may be called better than another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from optical_ray.artifacts import fingerprint

T = TypeVar("T")


def judged_on(recipe: Mapping[str, Any] | None) -> str:
    """A name of what a trial's `valid/Success@1` is a mean over: trials that share it can be ranked.

    Without `evaluation.objective_languages` a trial is judged on the languages that it trains on: one on an easy language would beat one
    on sixteen.

    Args:
        recipe: As plain data; None where it cannot be read.
    """
    recipe = recipe or {}
    evaluation = dict(recipe.get("evaluation") or {})
    evaluation.pop("tasks", None)  # asked of the finished student
    languages = None if evaluation.get("objective_languages") else recipe.get("languages")
    return fingerprint({"corpus": recipe.get("corpus"), "evaluation": evaluation, "languages": languages})[:12]


def group_by_question(trials: Iterable[T], question: Callable[[T], str]) -> list[list[T]]:
    """Trials by what they were judged on, each in the order given: the first trial's group first."""
    groups: dict[str, list[T]] = {}
    for trial in trials:
        groups.setdefault(question(trial), []).append(trial)
    return list(groups.values())
