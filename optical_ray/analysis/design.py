"""What the trials of a sweep are to each other: parts, arms, k, what varies, and which languages a curve over k is scored on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optical_ray.analysis.load import BITEXT, PRETRAINING, Axis, Run, Trial
from optical_ray.runs.labels import flatten
from optical_ray.runs.names import LOSS_OF_TERM

STEPS_FIELD = "training.max_steps"
ARM_FIELDS = (*(f"objective.{term}" for term in LOSS_OF_TERM), STEPS_FIELD)
"""Shown as the arm and the steps."""
SIZE_FIELD = "languages.size"
SIZE_FIELDS: dict[Axis, str] = {BITEXT: SIZE_FIELD, PRETRAINING: "pretraining.languages.size"}
"""Shown as k, by the run's axis."""
REPLICATE_FIELDS = ("seed", "languages.seed", "pretraining.seed", "pretraining.languages.seed")
"""What differs between repetitions of one cell."""
FEW_SEEDS = 5
"""Below so many trainings of one setting their spread is shown as points, and no interval is made of it."""
MOST_SECTIONS = 60
"""Beyond, the page would grow past what a browser opens at once; the tables and rows.parquet have every trial."""
MOST_CURVES = 120
"""Lines of a figure of training; more are a smear."""
ARM_ORDER = ("OT", "OT + contrastive", "contrastive", "none")


@dataclass(frozen=True)
class PartView:
    """A part of the sweep and the trials of it that have begun."""

    name: str
    kind: str
    """grid | search | unplanned (trials that no part of sweep.json explains)"""
    planned: int
    trials: tuple[Trial, ...]
    """Grid: in the order planned. Search: by time of start."""
    space: Mapping[str, Mapping[str, Any]]
    """Of a search: dimension by dotted field, as `describe_part` writes it; empty for a grid."""

    @property
    def pending(self) -> int:
        """Planned trials of which nothing is there yet."""
        return max(0, self.planned - len(self.trials))

    @cached_property
    def best(self) -> Trial | None:
        """Of a search, the finished trial with the best `valid/Success@1`; the test split has no say (DESIGN.md, decision 6)."""
        scored = [trial for trial in self.trials if trial.finished and trial.objective is not None] if self.kind == "search" else []
        return max(scored, key=lambda trial: trial.objective or 0.0, default=None)


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting of the grid: its trials differ in seeds only."""

    arm: str
    extras: tuple[tuple[str, Any], ...]
    """(field, value) of what else varies within the grid at one arm and k."""
    k: int
    trials: tuple[Trial, ...]

    @property
    def trained(self) -> frozenset[str]:
        """Languages in training in every one of the trials."""
        return frozenset.intersection(*[trial.languages or frozenset() for trial in self.trials])

    @property
    def ever_trained(self) -> frozenset[str]:
        """Languages in training in any of the trials."""
        return frozenset().union(*[trial.languages or frozenset() for trial in self.trials])

    @property
    def axis(self) -> Axis:
        return self.trials[0].axis

    @property
    def series(self) -> str:
        """Name of the curve that the cell is a point of."""
        return name_series(self.arm, self.extras)

    @property
    def fixed(self) -> tuple[tuple[str, Any], ...]:
        """Extras that a cell without pre-training has too."""
        return tuple((name, value) for name, value in self.extras if not name.startswith("pretraining."))


def name_series(arm: str, extras: Iterable[tuple[str, Any]]) -> str:
    """`OT, budget total`"""
    return arm + "".join(f", {short(name)} {show(value)}" for name, value in extras)


def view_parts(run: Run) -> list[PartView]:
    """The sweep's parts with their trials; a trial of two grid parts is listed in the first."""
    taken: set[str] = set()
    base = flatten(run.record.base)
    views = []
    for part in run.record.parts:
        if part.get("kind") == "grid":
            ids = [str(trial_id) for trial_id in part.get("trial_ids") or []]
            trials = [run.by_id[trial_id] for trial_id in ids if trial_id in run.by_id and trial_id not in taken]
            planned = len(set(ids) - taken) if ids else int(part.get("num_trials") or 0)
            taken |= set(ids)
            views.append(PartView(str(part.get("name")), "grid", planned, tuple(trials), {}))
        else:
            views.append(PartView(str(part.get("name")), "search", int(part.get("num_trials") or 0), (), part.get("space") or {}))
    for index, (part, view) in enumerate(zip(run.record.parts, views, strict=True)):
        if view.kind == "search":
            trials = [trial for trial in run.trials if trial.trial_id not in taken and _fits(trial, part, base)]
            taken |= {trial.trial_id for trial in trials}
            trials.sort(key=lambda trial: ((trial.status.started_at if trial.status else None) or "~", trial.trial_id))
            views[index] = PartView(view.name, "search", view.planned, tuple(trials), view.space)
    rest = tuple(trial for trial in run.trials if trial.trial_id not in taken)
    return [*views, PartView("unplanned", "unplanned", len(rest), rest, {})] if rest else views


def _fits(trial: Trial, part: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """A search's trial is the base with the part's changes, but for the dimensions of the search."""
    free = set(part.get("space") or {})
    expected = {**base, **flatten(part.get("changes") or {})}
    return bool(trial.fields) and all(trial.fields.get(name) == value for name, value in expected.items() if name not in free)


def varying_fields(trials: Iterable[Trial]) -> list[str]:
    """Recipe fields that differ between the trials, without what arm, k and steps show; in the order of the recipe."""
    found = [trial for trial in trials if trial.fields]
    shown = {*ARM_FIELDS, *(SIZE_FIELDS[trial.axis] for trial in found[:1])}
    fields = [trial.fields for trial in found]
    names = dict.fromkeys(name for leaves in fields for name in leaves)
    return [name for name in names if name not in shown and len({_comparable(leaves.get(name)) for leaves in fields}) > 1]


def grid_cells(parts: Iterable[PartView]) -> list[Cell]:
    """The cells of the trained grid trials that have finished, by arm, extras and k."""
    trials = [
        trial
        for part in parts
        if part.kind == "grid"
        for trial in part.trials
        if trial.finished and trial.arm not in ("none", "unknown") and trial.languages and trial.k is not None
    ]
    extras = _extra_fields(trials)
    groups: dict[tuple[str, tuple[tuple[str, Any], ...], int], list[Trial]] = {}
    for trial in trials:
        key = (trial.arm, tuple((name, trial.fields.get(name)) for name in extras), trial.k or 0)
        groups.setdefault(key, []).append(trial)
    cells = [Cell(*key, tuple(members)) for key, members in groups.items()]
    return sorted(cells, key=lambda cell: (_arm_rank(cell.arm), cell.arm, str(cell.extras), cell.k))


def _extra_fields(trials: list[Trial]) -> list[str]:
    """Fields that vary at one arm and one k; what an arm brings along (its learning rate, say) is part of the arm."""
    cells: dict[tuple[str, int | None], list[Trial]] = {}
    for trial in trials:
        cells.setdefault((trial.arm, trial.k), []).append(trial)
    found = dict.fromkeys(name for members in cells.values() for name in varying_fields(members))
    return [name for name in found if name not in REPLICATE_FIELDS]


def untrained_trials(run: Run) -> tuple[Trial, ...]:
    """Finished trials of the untrained control."""
    return tuple(trial for trial in run.trials if trial.arm == "none" and trial.finished)


def section_trials(parts: Iterable[PartView]) -> list[Trial]:
    """The trials that have a section of the page: those that show their test scores, and those that have none."""
    found = [trial for part in parts for trial in part.trials if shows_test(part, trial) or not trial.finished]
    return found if len(found) <= MOST_SECTIONS else best_trials(found, MOST_SECTIONS)


def training_trials(run: Run, parts: Iterable[PartView]) -> list[Trial]:
    """Whose curves are drawn: the grid's trained trials; all trained trials, where there is no grid."""
    grid = [trial for part in parts if part.kind == "grid" for trial in part.trials if trial.arm != "none"]
    return grid or [trial for trial in run.trials if trial.arm != "none"]


def common_languages(parts: Iterable[PartView]) -> frozenset[str]:
    """The languages that every trained grid trial trains on: the smallest set, where sets are nested. Empty where they share none.

    Trials that have not begun are not known yet, so on a running sweep this may still shrink.
    """
    sets = [trial.languages for part in parts if part.kind == "grid" for trial in part.trials if trial.arm != "none" and trial.languages]
    return frozenset.intersection(*sets) if sets else frozenset()


def shows_test(part: PartView, trial: Trial) -> bool:
    """Of a search only the trial chosen on validation shows its test score, so that nobody chooses by test (DESIGN.md, decision 6)."""
    return part.kind != "search" or trial is part.best


def best_trials(trials: Sequence[Trial], most: int) -> list[Trial]:
    """At most so many of them, the best by validation, in the order given."""
    ranked = sorted(trials, key=lambda trial: -math.inf if trial.objective is None else trial.objective, reverse=True)
    kept = {trial.trial_id for trial in ranked[:most]}
    return [trial for trial in trials if trial.trial_id in kept]


def spread_trials(trials: Sequence[Trial], most: int) -> list[Trial]:
    """At most so many of them, evenly spread over their ranks by validation, best and worst among them; in the order given."""
    if len(trials) <= most:
        return list(trials)
    ranked = sorted(trials, key=lambda trial: -math.inf if trial.objective is None else trial.objective)
    kept = {ranked[round(place * (len(ranked) - 1) / (most - 1))].trial_id for place in range(most)}
    return [trial for trial in trials if trial.trial_id in kept]


def describe_trial(trial: Trial) -> str:
    """`0123456789ab (OT, k = 4)`"""
    return trial.trial_id if trial.arm == "unknown" else f"{trial.trial_id} ({title_trial(trial)})"


def title_trial(trial: Trial) -> str:
    """`OT, k = 4`, `OT, no pre-training`, `untrained`"""
    if trial.arm == "none" or trial.k is None:
        return "untrained" if trial.arm == "none" else trial.arm
    return f"{trial.arm}, {name_k(trial.k)}"


def name_k(k: int) -> str:
    """`k = 4`, `no pre-training`"""
    return f"k = {k}" if k else "no pre-training"


def short(name: str) -> str:
    """A recipe field as tables head it: `transport.epsilon` -> epsilon; temperatures keep their owner."""
    owner, _, leaf = name.rpartition(".")
    if leaf == "temperature":
        return {"mixing": "tau", "objective": "temperature"}.get(owner, name)
    return leaf if leaf not in ("seed", "size", "pool", "scorer") or not owner else name


def show(value: Any) -> str:
    """A recipe value as tables print it: three significant digits are enough to tell trials apart."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return "-" if value is None else str(value)


def _comparable(value: Any) -> Any:
    return tuple(_comparable(item) for item in value) if isinstance(value, (list, tuple)) else value


def _arm_rank(arm: str) -> int:
    return ARM_ORDER.index(arm) if arm in ARM_ORDER else len(ARM_ORDER)
