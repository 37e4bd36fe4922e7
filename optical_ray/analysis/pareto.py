"""The Pareto front of a search with several objectives, from the run folder alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optical_ray.analysis.design import view_parts
from optical_ray.analysis.load import Run, Trial
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.objectives import Objective, pareto_front, trial_facts


@dataclass(frozen=True, slots=True)
class Scored:
    """A finished trial and what it has of each objective."""

    trial: Trial
    values: tuple[float, ...]
    on_front: bool
    """True where no other trial of the part is at least as good in every objective and better in one."""


def score_trials(run: Run, part: Mapping[str, Any], trials: Iterable[Trial]) -> list[Scored]:
    """The finished ones of a search part's trials that have all of its objectives, the best of the first objective first.

    Args:
        run: Loaded.
        part: A row of `run.record.parts` with `objectives`.
        trials: Of that part (`view_parts`).
    """
    objectives = [Objective.read(row) for row in part["objectives"]]
    found: list[tuple[Trial, tuple[float, ...]]] = []
    for trial in trials:
        if not trial.finished:
            continue
        facts = trial_facts(RunFolder(run.path).trial(trial.trial_id))
        values = [value for objective in objectives if (value := objective.value(facts)) is not None]
        if len(values) == len(objectives):
            found.append((trial, tuple(values)))
    directions = [objective.resolved for objective in objectives]
    front = set(pareto_front([values for _, values in found], directions))
    scored = [Scored(trial, values, index in front) for index, (trial, values) in enumerate(found)]
    return sorted(scored, key=lambda one: one.values[0], reverse=directions[0] == "maximize")


def describe_fronts(run: Run) -> Iterator[str]:
    """Lines of text: of each search part with several objectives, the trials on its front."""
    for part, view in zip(run.record.parts, view_parts(run), strict=False):  # a last view, of unplanned trials, may follow
        if not part.get("objectives"):
            continue
        scored = score_trials(run, part, view.trials)
        names = [row["name"] for row in part["objectives"]]
        front = [one for one in scored if one.on_front]
        yield f"Pareto front of {part['name']!r} ({', '.join(names)}): {len(front)} of {len(scored)} trials"
        for one in front:
            point = ", ".join(f"{name}={_short(one.trial.fields.get(name))}" for name in part["space"])
            yield f"  {one.trial.trial_id}: {', '.join(f'{value:.4g}' for value in one.values)} ({point})"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
