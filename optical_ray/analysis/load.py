"""A run folder, read as far as it has been written. Nothing here raises for a trial's sake: what cannot be read becomes a note."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optical_ray.analysis.outcomes import MEASURES, Languages, OutcomeIndex, System
from optical_ray.errors import OpticalError, RunFolderError
from optical_ray.retrieval.values import values_of
from optical_ray.runs.folder import RunFolder, TrialFolder
from optical_ray.runs.labels import flatten
from optical_ray.runs.names import LOSS_OF_TERM, name_arm
from optical_ray.runs.query_rows import read_query_rows
from optical_ray.runs.schemas import SweepRecord, TrialStatus

Curve = tuple[tuple[int, float], ...]
"""(step, value) by step; NaN where the number was not finite."""


class Curves(Mapping[str, Curve]):
    """Curves by metric name, kept as arrays: a tuple takes ten times the memory, and a run may have thousands of trials."""

    def __init__(self, points: Mapping[str, Mapping[int, float]]) -> None:
        """Take the value at each step, by name."""
        self._arrays = {name: np.array(sorted(own.items()), dtype=np.float64).reshape(-1, 2) for name, own in points.items()}

    def __getitem__(self, name: str) -> Curve:
        return tuple((int(step), value) for step, value in self._arrays[name].tolist())

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays


Axis = Literal["bitext", "pre-training"]
"""Whose languages a sweep counts: k of its figures and sentences."""
BITEXT: Axis = "bitext"
PRETRAINING: Axis = "pre-training"


@dataclass(frozen=True)
class Trial:
    """One trial, as far as it got."""

    trial_id: str
    recipe: Mapping[str, Any]
    """`Recipe.to_dict()`, as plain data: reading it through Recipe would import torch."""
    status: TrialStatus | None
    """None: not started, or unreadable."""
    plan: Mapping[str, Any] | None
    """plan.json; None before the languages were chosen."""
    metrics: Mapping[str, Curve]
    """Reports by metric name."""
    problems: tuple[str, ...] = ()
    """What could not be read, in words."""
    axis: Axis = BITEXT
    """Whose number is k; the same for every trial of a run."""

    @property
    def state(self) -> str:
        return self.status.state if self.status else "pending"

    @property
    def finished(self) -> bool:
        """Only finished trials have test outcomes that count (DESIGN.md, decision 6)."""
        return self.state == "finished"

    @property
    def objective(self) -> float | None:
        """`valid/Success@1` at its last report: what a search goes by."""
        return self.status.objective if self.status else None

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The recipe's leaves by dotted name."""
        return flatten(self.recipe)

    @cached_property
    def arm(self) -> str:
        """As `Recipe.arm`: `OT`, `OT + contrastive`, `greedy`, ..., `none` (the untrained control); `unknown` without a recipe."""
        if not self.fields:
            return "unknown"  # an unreadable recipe must not pass for the untrained control
        if not self.fields.get("training.max_steps", 1):
            return "none"
        return name_arm({term: self.fields.get(f"objective.{term}") for term in LOSS_OF_TERM})

    @cached_property
    def languages(self) -> frozenset[str] | None:
        """Languages in training; empty for the untrained control, None while the plan is not written."""
        if self.arm == "none":
            return frozenset()
        return frozenset(self.plan["languages"]) if self.plan is not None else None

    def saw_in_pretraining(self, language: str) -> bool | None:
        """Whether the student had seen an evaluation language before; None where its plan does not say, or nobody knew."""
        known = (self.plan or {}).get("pretraining_languages")
        seen = known.get("seen") if isinstance(known, Mapping) else None
        found = seen.get(language) if isinstance(seen, Mapping) else None
        return found if isinstance(found, bool) else None

    @property
    def k(self) -> int | None:
        """Languages of the run's axis; None where nothing is distilled or nothing is known yet."""
        return self.bitext_size if self.axis == BITEXT else self.pretraining_size

    @property
    def bitext_size(self) -> int | None:
        """Bitext languages in training; None where nothing is trained or nothing is known yet."""
        if self.arm == "none":
            return None
        if self.languages is not None:
            return len(self.languages)
        return self._planned_size("languages")

    @property
    def pretraining_size(self) -> int | None:
        """Languages of the pre-training that the recipe asks for, 0 without one; None where nothing is distilled after it."""
        if self.arm in ("none", "unknown"):
            return None
        return (self._planned_size("pretraining.languages") or 0) if self.fields.get("pretraining.training.max_steps") else 0

    def _planned_size(self, owner: str) -> int | None:
        size = self.fields.get(f"{owner}.size")
        return int(size) if size is not None else (len(self.fields.get(f"{owner}.pool") or ()) or None)


@dataclass(frozen=True)
class Run:
    """A sweep's results, as far as they are there."""

    path: Path
    record: SweepRecord
    trials: tuple[Trial, ...]
    """Every trial that has a recipe, by trial id."""
    outcomes: Mapping[str, Mapping[System, Languages]]
    """By trial id, of the finished trials: what each system made of the queries of split test."""
    num_rows: int
    """Per-query rows behind the outcomes."""

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        return {trial.trial_id: trial for trial in self.trials}


def load_run(path: Path | str) -> Run:
    """Read a run folder, whatever state it is in.

    Raises:
        RunFolderError: no such folder, not a run, or of another format version. A trial that cannot be read raises nothing:
            `Trial.problems` says what is wrong with it.
    """
    folder = RunFolder(Path(path))
    try:
        record = folder.read_sweep()
    except RunFolderError:
        raise
    except OpticalError as error:  # a field of another version of this format
        raise RunFolderError(str(error)) from None
    trials, index, num_rows = [], OutcomeIndex(dtype=np.float32), 0
    for trial_folder in folder.trials():
        trial, rows = read_trial(trial_folder, record.base)
        trials.append(trial)
        if rows is not None:
            index.add(trial.trial_id, rows)
            num_rows += rows.num_rows
    axis = choose_axis(trials)
    return Run(folder.path, record, tuple(replace(trial, axis=axis) for trial in trials), index.outcomes(), num_rows)


def choose_axis(trials: Iterable[Trial]) -> Axis:
    """Bitext, unless its number of languages is one and the same while that of pre-training is not."""
    sizes = {(trial.bitext_size, trial.pretraining_size) for trial in trials if trial.arm not in ("none", "unknown")}
    bitext, pretraining = ({pair[place] for pair in sizes} for place in (0, 1))
    return PRETRAINING if len(bitext) == 1 and len(pretraining) > 1 else BITEXT


def read_trial(folder: TrialFolder, base: Mapping[str, Any] | None = None) -> tuple[Trial, pa.Table | None]:
    """A trial as far as it got, and its per-query rows of split test where it has finished: the columns of ROWS.

    Args:
        folder: Of the trial.
        base: The sweep's base recipe: what is the same there is not kept again.
    """
    problems: list[str] = []
    recipe = _read_object(folder.recipe, problems) or {}
    if base is not None:
        recipe = {name: base[name] if name in base and base[name] == section else section for name, section in recipe.items()}
    plan = _read_object(folder.plan, problems) if folder.plan.is_file() else None
    if plan is not None and not isinstance(plan.get("languages"), list):
        problems.append("plan.json: no list of languages")
        plan = None
    status = None
    try:
        status = folder.read_status()
    except OpticalError as error:
        problems.append(_inside(error, folder))
    metrics = _read_metrics(folder, problems)
    rows, finished = None, status is not None and status.state == "finished"
    if folder.queries.is_file():
        if finished:
            rows = _read_queries(folder, problems)
        else:
            problems.append(f"queries.parquet: left out, since the trial is {status.state if status else 'pending'}, not finished")
    elif finished:
        problems.append("queries.parquet: missing, although the trial is finished")
    return Trial(folder.trial_id, recipe, status, plan, metrics, tuple(problems)), rows


def _read_object(path: Path, problems: list[str]) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        problems.append(f"{path.name}: cannot be read ({error})")
        return None
    if not isinstance(values, dict):
        problems.append(f"{path.name}: expected a JSON object, found {type(values).__name__}")
        return None
    return values


def _read_metrics(folder: TrialFolder, problems: list[str]) -> Curves:
    curves: dict[str, dict[int, float]] = {}
    try:
        for row in folder.read_metrics():
            # By step, the last row wins: an attempt that began again from the start repeats step 0.
            curves.setdefault(str(row.name), {})[int(row.step)] = math.nan if row.value is None else float(row.value)
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        problems.append(f"metrics.jsonl: cannot be read ({type(error).__name__}: {error})")
    return Curves(curves)


def _read_queries(folder: TrialFolder, problems: list[str]) -> pa.Table | None:
    try:
        table = read_query_rows(folder.queries).filter(pc.equal(pc.field("split"), "test"))
    except RunFolderError as error:
        problems.append(_inside(error, folder))
        return None
    if table.num_rows == 0:
        problems.append("queries.parquet: no row of split test")
    for measure in MEASURES:
        bad = int(np.count_nonzero(~np.isfinite(values_of(table, measure))))
        if bad:
            problems.append(f"queries.parquet: left out, since {measure} of {bad} rows is not a number: the file is damaged")
            return None
    return table


def _inside(error: Exception, folder: TrialFolder) -> str:
    """The message without the path to the trial, which the table names already."""
    return str(error).replace(f"{folder.path}/", "")
