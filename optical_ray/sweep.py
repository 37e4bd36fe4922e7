"""A sweep: a question, a base recipe, and parts that turn it into trial recipes. Plain Python objects; no Ray."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from optical_ray.artifacts import fingerprint
from optical_ray.errors import ConfigError, LanguageError
from optical_ray.languages.codes import canonical_tag
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.names import VALID_SUCCESS_AT_1
from optical_ray.runs.objectives import MEASURES, Direction, Objective
from optical_ray.runs.predictions import Prediction
from optical_ray.space import (
    Categorical,
    Conditional,
    Dimension,
    Integer,
    LogUniform,
    Uniform,
    Value,
    check_conditions,
    corners,
    describe_dimension,
    edges,
)

__all__ = [
    "Asha",
    "Categorical",
    "Choice",
    "Conditional",
    "GridPart",
    "Integer",
    "LogUniform",
    "Objective",
    "Prediction",
    "SearchPart",
    "StopRules",
    "Sweep",
    "Uniform",
]

Sampler = Literal["tpe", "random", "nsga2"]

MOST_TRIALS = 100_000
"""Of one part. The driver's memory ends before it (benchmarks/README.md)."""
LONGEST_NAME = 100
"""Letters: it is part of the name of a folder."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Several fields that vary together under one name: an arm of an experiment."""

    name: str
    changes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class GridPart:
    """Every combination of some values, in a fixed order: the first axis varies slowest."""

    name: str
    axes: Mapping[str, tuple[Value, ...] | tuple[Choice, ...]] = field(default_factory=dict)
    """By dotted recipe field; an axis of `Choice`s may have any name."""
    changes: Mapping[str, Value] = field(default_factory=dict)
    """Held fixed in this part."""

    @property
    def num_trials(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    def recipes(self, base: Recipe) -> list[Recipe]:
        """The part's recipes, in order; unknown fields and bad values are ConfigErrors before anything runs."""
        found = []
        for point in itertools.product(*self.axes.values()):
            changes = dict(self.changes)
            for name, value in zip(self.axes, point, strict=True):
                changes |= dict(value.changes) if isinstance(value, Choice) else {name: value}
            found.append(base.override(changes))
        return found


@dataclass(frozen=True, slots=True)
class Asha:
    """Asynchronous successive halving by step (Li et al. 2018, arXiv 1810.05934).

    At each rung (`grace_steps`, times `reduction`, times `reduction` again, ... below `training.max_steps`) a trial goes on only if it is
    among the best 1 / `reduction` of the trials that came so far; it is judged at its first validation at or after the rung.
    """

    grace_steps: int
    """No trial is stopped before this step."""
    reduction: int = 3


@dataclass(frozen=True, slots=True)
class SearchPart:
    """A search by Optuna that maximises `valid/Success@1`, or trades several objectives off; it never sees a test row.

    A point that gives no recipe (`batch.pairs=57` with `batch.group=32`) is passed over, its reason kept; it is none of `num_trials`.
    """

    name: str
    space: Mapping[str, Dimension]
    """By dotted recipe field."""
    num_trials: int
    changes: Mapping[str, Value] = field(default_factory=dict)
    """Held fixed in this part."""
    sampler: Sampler = "tpe"
    """`random`, `tpe` (of several objectives: MOTPE), or `nsga2`, which is for several objectives."""
    startup_trials: int = 4
    """Random trials before TPE models anything."""
    seed: int = 0
    objectives: tuple[Objective, ...] = ()
    """None: the sweep's metric alone. Two or more: what none of the trials on the Pareto front can have more of without less of another."""
    scheduler: Asha | None = None
    """None: every trial runs to its end."""
    population: int = 12
    """Trials of a generation of nsga2; the first generation is random."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Of each number that a trial is told to have."""
        return tuple(objective.resolved for objective in self.objectives) or ("maximize",)


Part = GridPart | SearchPart


@dataclass(frozen=True, slots=True)
class StopRules:
    """When a sweep ends before its last trial. No part of the question, so none of the fingerprint."""

    max_failed: int | None = None
    """Failed trials that are borne; with one more, no new trial is started. Those that run go on."""
    max_minutes: float | None = None
    """Wall time of one start. Trials that run then are stopped, to go on from their checkpoints with `--resume`."""
    patience: int | None = None
    """Trials of a search part, in a row, that may bring nothing better before the part ends. Counted anew where a part is extended."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One question in one Python file. Its docstring is the pre-registration."""

    name: str
    question: str
    expectation: str
    base: Recipe
    parts: tuple[Part, ...]
    resources: Resources = field(default_factory=Resources)
    concurrent_trials: int | None = None
    """Trials at a time; None: as many as the cluster has room for. Above 1, the order of arrival decides which points TPE and nsga2 try,
    and which trials ASHA stops; each recipe reproduces all the same."""
    metric: str = VALID_SUCCESS_AT_1
    stop: StopRules = field(default_factory=StopRules)
    restarts: int = 2
    """How often, in one start of the sweep, a trial goes on from its checkpoint when its process, a worker or their node died. Then it has
    failed. A trial that raises is not tried again: it would raise again."""
    predictions: tuple[Prediction, ...] = ()
    """What `expectation` says, as far as the report can check it. Those of the first start stand: an edit after it changes nothing."""
    hang_minutes: float | None = 60.0
    """A training without a report for so long is ended, and counts as one that died: where it hung stands in `trials/<id>/hang.txt`.
    None: never."""

    def __post_init__(self) -> None:
        self._check_types()
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names) or not names:
            raise ConfigError(f"sweep {self.name!r}: parts need different names, found {names}")
        arms = frozenset(recipe.arm for recipe in self.planned().values())  # every grid recipe is checked before anything runs
        for prediction in self.predictions:
            prediction.check_arms(arms - {"none"}, f"sweep {self.name!r}")
        for part in self.parts:
            if isinstance(part, SearchPart):
                where = f"sweep {self.name!r}, part {part.name!r}"
                check_conditions(part.space, where)
                self._check_search(part, where)
                self._check_objectives(part, where)
                if part.scheduler is not None:
                    self._check_scheduler(part, part.scheduler, where)

    def _check_types(self) -> None:
        """A sweep file is written by hand: a wrong type is named here, not in the middle of a run."""
        if not isinstance(self.name, str) or not re.fullmatch(rf"[A-Za-z0-9][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}", self.name):
            raise ConfigError(
                f"sweep {self.name!r}: a name is letters, digits, - and _, at most {LONGEST_NAME}, because it names the run folder"
            )
        where = f"sweep {self.name!r}"
        for name in ("question", "expectation"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{where}: {name}={getattr(self, name)!r}; expected a text")
        if not isinstance(self.base, Recipe) or not isinstance(self.resources, Resources):
            raise ConfigError(f"{where}: expected base=Recipe(...) and resources=Resources(...)")
        if not isinstance(self.parts, tuple) or not all(isinstance(part, GridPart | SearchPart) for part in self.parts) or not self.parts:
            raise ConfigError(f"{where}: expected parts=(GridPart(...), SearchPart(...), ...), at least one")
        if self.concurrent_trials is not None:
            _check_number(f"{where}: concurrent_trials", self.concurrent_trials, 1, or_none="None for what fits")
        if self.metric != VALID_SUCCESS_AT_1:
            raise ConfigError(f"{where}: metric={self.metric!r}; a sweep may select by {VALID_SUCCESS_AT_1} only")
        if not isinstance(self.predictions, tuple) or not all(isinstance(one, Prediction) for one in self.predictions):
            raise ConfigError(f"{where}: expected predictions=(Prediction(...), ...)")
        self._check_stop(where)
        _check_number(f"{where}: restarts", self.restarts, 0)
        if self.hang_minutes is not None and (not _is_number(self.hang_minutes) or self.hang_minutes <= 0):
            raise ConfigError(f"{where}: hang_minutes={self.hang_minutes!r}; expected more than 0, or None")
        for part in self.parts:
            if not isinstance(part.name, str) or not part.name:
                raise ConfigError(f"{where}: a part has the name {part.name!r}; expected a text")
            if not isinstance(part.changes, Mapping):
                raise ConfigError(f"{where}, part {part.name!r}: changes={part.changes!r}; expected {{field: value}}")
            if isinstance(part, GridPart):
                _check_axes(part, f"{where}, part {part.name!r}")
            else:
                _check_search_types(part, f"{where}, part {part.name!r}")

    def _check_stop(self, where: str) -> None:
        if not isinstance(self.stop, StopRules):
            raise ConfigError(f"{where}: expected stop=StopRules(...)")
        for name, least in (("max_failed", 0), ("max_minutes", 0), ("patience", 1)):
            value = getattr(self.stop, name)
            if value is not None:
                _check_number(f"{where}: stop.{name}", value, least, whole=name != "max_minutes", or_none="None")

    @property
    def fingerprint(self) -> str:
        """Of the question asked: base, spaces and search, not the number of trials, not where it runs. An edited sweep is another run."""
        parts = [{k: v for k, v in describe_part(part).items() if k != "num_trials" or isinstance(part, GridPart)} for part in self.parts]
        return fingerprint({"name": self.name, "base": self.base.to_dict(), "parts": parts, "metric": self.metric})

    @property
    def folder_name(self) -> str:
        return f"{self.name}-{self.fingerprint[:12]}"

    @property
    def num_trials(self) -> int:
        """Distinct grid recipes (two parts may share one, which runs once) and what the searches ask for."""
        return len(self.planned()) + sum(part.num_trials for part in self.parts if isinstance(part, SearchPart))

    def planned(self) -> dict[str, Recipe]:
        """The grid parts' recipes by trial id, in order, without repetition."""
        return {recipe.trial_id: recipe for part in self.parts if isinstance(part, GridPart) for recipe in part.recipes(self.base)}

    def _check_search(self, part: SearchPart, where: str) -> None:
        """Both corners of the space and every categorical value must give a recipe; what lies between is met when it is drawn."""
        low, high = ({**part.changes, **corner} for corner in corners(part.space))
        recipe = self.base.override(low)
        self.base.override(high)
        for at_low, at_high in edges(part.space):
            try:
                self.base.override({**part.changes, **at_low})
            except ConfigError:  # the other values at their lowest need not suit it; those at their highest may
                self.base.override({**part.changes, **at_high})
        varied = sorted(name for name in part.space if name.startswith("languages."))
        by_metric = not part.objectives or any(
            objective.measure == VALID_SUCCESS_AT_1 and not objective.languages and not objective.besides for objective in part.objectives
        )
        if varied and by_metric and not recipe.evaluation.objective_languages:
            raise ConfigError(
                f"{where}: {', '.join(varied)} changes the languages in training, and "
                f"{self.metric} is their mean, so trials would be compared on different languages; "
                "set evaluation.objective_languages, in the base recipe or the part's changes, to the languages that judge every trial"
            )

    def _check_objectives(self, part: SearchPart, where: str) -> None:
        """Two or more that a trial has, of languages that it is validated on."""
        if part.sampler == "nsga2" and (not part.objectives or part.population < 2):
            raise ConfigError(f"{where}: sampler nsga2 trades objectives off in generations; expected objectives=(...), population >= 2")
        if not part.objectives:
            return
        names = [objective.name for objective in part.objectives if isinstance(objective, Objective)]
        if len(names) < 2 or len(set(names)) != len(part.objectives):
            raise ConfigError(f"{where}: expected objectives=(Objective(...), Objective(...), ...), two or more of different names")
        evaluation = self.base.override(dict(part.changes)).evaluation
        known = {canonical_tag(code) for code in evaluation.languages or self.base.languages.pool}
        for objective in part.objectives:
            if objective.direction not in (None, "maximize", "minimize"):
                raise ConfigError(
                    f"{where}: objective {objective.name!r} has direction {objective.direction!r}; expected maximize, minimize, or None "
                    "for its measure's own"
                )
            named = (*objective.languages, *objective.besides)
            if objective.measure not in MEASURES:
                raise ConfigError(
                    f"{where}: objective {objective.name!r} has measure {objective.measure!r}; expected {', '.join(MEASURES)}"
                )
            if named and (objective.measure != VALID_SUCCESS_AT_1 or (objective.languages and objective.besides)):
                raise ConfigError(f"{where}: objective {objective.name!r}: languages, or besides, are of {VALID_SUCCESS_AT_1} only")
            try:
                strange = [code for code in named if canonical_tag(code) != code or (known and code not in known)]
            except LanguageError as error:
                raise ConfigError(f"{where}: objective {objective.name!r}: {error}") from None
            if strange:
                raise ConfigError(
                    f"{where}: objective {objective.name!r} names {', '.join(strange)}; trials are validated on "
                    f"{', '.join(sorted(known)) or 'the languages of the corpus, by canonical tag'} (evaluation.languages, else the pool)"
                )
            if objective.besides and known and known <= set(objective.besides):
                raise ConfigError(
                    f"{where}: objective {objective.name!r} is of the languages besides {', '.join(objective.besides)}, and trials are "
                    "validated on no other, so it would never have a value; name fewer, or validate on more (evaluation.languages)"
                )

    def _check_scheduler(self, part: SearchPart, asha: Asha, where: str) -> None:
        """Halving needs one number, and validations to judge by before a trial's last step."""
        if not isinstance(asha, Asha) or part.objectives:
            raise ConfigError(f"{where}: expected scheduler=Asha(...) or None, and None where there are objectives: halving ranks by one")
        training = self.base.override({**part.changes, **corners(part.space)[1]}).training
        whole = all(isinstance(value, int) and not isinstance(value, bool) for value in (asha.reduction, asha.grace_steps))
        if not whole or asha.reduction < 2 or not 1 <= asha.grace_steps < training.max_steps:
            raise ConfigError(
                f"{where}: {asha}; expected reduction >= 2 and grace_steps from 1 to below training.max_steps={training.max_steps}"
            )
        if training.validate_every >= training.max_steps:
            raise ConfigError(
                f"{where}: {asha} judges at validations, and training.validate_every={training.validate_every} gives none before the last "
                f"step {training.max_steps}; set it to a divisor of grace_steps, in the base recipe or the part's changes"
            )

    def describe(self) -> list[dict[str, Any]]:
        """The parts as plain data, for sweep.json; grid parts name their trials."""
        rows = []
        for part in self.parts:
            ids = [recipe.trial_id for recipe in part.recipes(self.base)] if isinstance(part, GridPart) else None
            rows.append(describe_part(part) | {"trial_ids": ids})
        return rows


def _is_number(value: Any, whole: bool = False) -> bool:
    return isinstance(value, int if whole else int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_number(where: str, value: Any, least: int, most: int | None = None, whole: bool = True, or_none: str = "") -> None:
    """Refuse what is no number, not finite, not whole where it has to be, or out of range.

    Raises:
        ConfigError: with what was found and expected.
    """
    if not _is_number(value, whole) or value < least or (most is not None and value > most):
        expected = (f"at least {least}" if most is None else f"{least} to {most:,}") + (" (a whole number)" if whole else "")
        raise ConfigError(f"{where}={value!r}; expected {expected}{f', or {or_none}' if or_none else ''}")


def _check_search_types(part: SearchPart, where: str) -> None:
    """Of a search: what is no number, no dimension or no sampler."""
    if part.sampler not in get_args(Sampler):
        raise ConfigError(f"{where}: sampler={part.sampler!r}; expected {' or '.join(get_args(Sampler))}")
    for name, least, most in (("num_trials", 1, MOST_TRIALS), ("startup_trials", 0, None), ("seed", 0, None), ("population", 1, None)):
        _check_number(f"{where}: {name}", getattr(part, name), least, most)
    if not isinstance(part.space, Mapping) or not part.space:
        raise ConfigError(f"{where}: space={part.space!r}; expected {{field: Uniform(...), ...}}, at least one dimension")
    for name, dimension in part.space.items():
        if not isinstance(dimension, Dimension):
            raise ConfigError(
                f"{where}: {name} is {dimension!r}; expected Uniform, LogUniform, Integer, Categorical or a Conditional of one of them"
            )
    if not isinstance(part.objectives, tuple) or not all(isinstance(one, Objective) for one in part.objectives):
        raise ConfigError(f"{where}: objectives={part.objectives!r}; expected (Objective(...), Objective(...), ...)")


def _check_axes(part: GridPart, where: str) -> None:
    """Of a grid: what is no axis, a value or name that stands twice, a field that two axes set."""
    if not isinstance(part.axes, Mapping):
        raise ConfigError(f"{where}: axes={part.axes!r}; expected {{field: (value, ...)}}")
    set_by: dict[str, str] = {}
    for name, values in part.axes.items():
        if not isinstance(values, tuple) or not values:
            raise ConfigError(f"{where}: axis {name!r} is {values!r}; expected a tuple of at least one value")
        shown = [value.name if isinstance(value, Choice) else repr(value) for value in values]
        if twice := sorted({one for one in shown if shown.count(one) > 1}):
            raise ConfigError(f"{where}: axis {name!r} holds {', '.join(twice)} twice; expected different values, and names of choices")
        fields = {field for value in values for field in (value.changes if isinstance(value, Choice) else (name,))}
        for own in sorted(fields):
            if own in set_by:
                raise ConfigError(
                    f"{where}: axes {set_by[own]!r} and {name!r} both set {own}, so one would undo the other; leave it to one"
                )
            set_by[own] = name
    if part.num_trials > MOST_TRIALS:
        raise ConfigError(f"{where}: a grid of {part.num_trials:,} points; expected at most {MOST_TRIALS:,}")


def describe_part(part: Part) -> dict[str, Any]:
    """Plain data: kind, name, space, search, number of trials. What a part does not use is left out, so that its fingerprint stays."""
    if isinstance(part, GridPart):
        axes = {
            name: [{"name": v.name, "changes": dict(v.changes)} if isinstance(v, Choice) else v for v in values]
            for name, values in part.axes.items()
        }
        return {"kind": "grid", "name": part.name, "axes": axes, "changes": dict(part.changes), "num_trials": part.num_trials}
    row: dict[str, Any] = {
        "kind": "search",
        "name": part.name,
        "space": {name: describe_dimension(dimension) for name, dimension in part.space.items()},
        "changes": dict(part.changes),
        "sampler": part.sampler,
        "startup_trials": part.startup_trials,
        "seed": part.seed,
        "num_trials": part.num_trials,
    }
    if part.objectives:
        row["objectives"] = [objective.describe() for objective in part.objectives]
    if part.scheduler is not None:
        row["scheduler"] = {"kind": "asha", "grace_steps": part.scheduler.grace_steps, "reduction": part.scheduler.reduction}
    if part.sampler == "nsga2":
        row["population"] = part.population
    return row
