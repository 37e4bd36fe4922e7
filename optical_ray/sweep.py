"""A sweep: a question, a base recipe, and parts that turn it into trial recipes. Plain Python objects; no Ray."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from optical_ray.artifacts import fingerprint
from optical_ray.errors import ConfigError
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.names import VALID_SUCCESS_AT_1

Value = str | int | float | bool | None
Sampler = Literal["tpe", "random"]


@dataclass(frozen=True, slots=True)
class Choice:
    """Several fields that vary together under one name: an arm of an experiment."""

    name: str
    changes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Uniform:
    """A float in [low, high]."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LogUniform:
    """A float in [low, high], uniform in its logarithm."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number in [low, high]."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of some values."""

    values: tuple[Value, ...]


Dimension = Uniform | LogUniform | Integer | Categorical


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
        return len(list(itertools.product(*self.axes.values())))

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
class SearchPart:
    """A search by Optuna that maximises `valid/Success@1`; it never sees a test row.

    A point that gives no recipe (`batch.pairs=57` with `batch.group=32`) is passed over, its reason kept; it is none of `num_trials`.
    """

    name: str
    space: Mapping[str, Dimension]
    """By dotted recipe field."""
    num_trials: int
    changes: Mapping[str, Value] = field(default_factory=dict)
    """Held fixed in this part."""
    sampler: Sampler = "tpe"
    startup_trials: int = 4
    """Random trials before TPE models anything."""
    seed: int = 0


Part = GridPart | SearchPart


@dataclass(frozen=True, slots=True)
class Sweep:
    """One question in one Python file. Its docstring is the pre-registration."""

    name: str
    question: str
    expectation: str
    base: Recipe
    parts: tuple[Part, ...]
    resources: Resources = field(default_factory=Resources)
    concurrent_trials: int = 1
    """Trials at a time. Above 1, the order of arrival decides which points TPE tries; each recipe reproduces all the same."""
    metric: str = VALID_SUCCESS_AT_1

    def __post_init__(self) -> None:
        self._check_types()
        names = [part.name for part in self.parts]
        if len(set(names)) != len(names) or not names:
            raise ConfigError(f"sweep {self.name!r}: parts need different names, found {names}")
        self.planned()  # every grid recipe is checked before anything runs
        for part in self.parts:
            if isinstance(part, SearchPart):
                if part.num_trials < 1 or not part.space:
                    raise ConfigError(f"sweep {self.name!r}, part {part.name!r}: expected at least one trial and one dimension")
                self._check_search(part)

    def _check_types(self) -> None:
        """A sweep file is written by hand: a wrong type is named here, not in the middle of a run."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", str(self.name)):
            raise ConfigError(f"sweep {self.name!r}: a name is letters, digits, - and _, because it names the run folder")
        where = f"sweep {self.name!r}"
        if not isinstance(self.base, Recipe) or not isinstance(self.resources, Resources):
            raise ConfigError(f"{where}: expected base=Recipe(...) and resources=Resources(...)")
        if not isinstance(self.parts, tuple) or not all(isinstance(part, GridPart | SearchPart) for part in self.parts) or not self.parts:
            raise ConfigError(f"{where}: expected parts=(GridPart(...), SearchPart(...), ...), at least one")
        if not isinstance(self.concurrent_trials, int) or self.concurrent_trials < 1:
            raise ConfigError(f"{where}: concurrent_trials={self.concurrent_trials!r}; expected at least 1")
        if self.metric != VALID_SUCCESS_AT_1:
            raise ConfigError(f"{where}: metric={self.metric!r}; a sweep may select by {VALID_SUCCESS_AT_1} only")
        for part in self.parts:
            if isinstance(part, SearchPart) and part.sampler not in get_args(Sampler):
                raise ConfigError(f"{where}, part {part.name!r}: sampler={part.sampler!r}; expected {' or '.join(get_args(Sampler))}")
            for name, values in part.axes.items() if isinstance(part, GridPart) else ():
                if not isinstance(values, tuple) or not values:
                    raise ConfigError(f"{where}, part {part.name!r}: axis {name!r} is {values!r}; expected a tuple of at least one value")

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

    def _check_search(self, part: SearchPart) -> None:
        """Both corners of the space and every categorical value must give a recipe; what lies between is met when it is drawn."""
        low, high = ({**part.changes, **corner} for corner in corners(part.space))
        recipe = self.base.override(low)
        self.base.override(high)
        for name, dimension in part.space.items():
            for value in dimension.values if isinstance(dimension, Categorical) else ():
                try:
                    self.base.override({**low, name: value})
                except ConfigError:  # the other values at `low` need not suit it; those at `high` may
                    self.base.override({**high, name: value})
        varied = sorted(name for name in part.space if name.startswith("languages."))
        if varied and not recipe.evaluation.objective_languages:
            raise ConfigError(
                f"sweep {self.name!r}, part {part.name!r}: {', '.join(varied)} changes the languages in training, and "
                f"{self.metric} is their mean, so trials would be compared on different languages; "
                "set evaluation.objective_languages, in the base recipe or the part's changes, to the languages that judge every trial"
            )

    def describe(self) -> list[dict[str, Any]]:
        """The parts as plain data, for sweep.json; grid parts name their trials."""
        rows = []
        for part in self.parts:
            ids = [recipe.trial_id for recipe in part.recipes(self.base)] if isinstance(part, GridPart) else None
            rows.append(describe_part(part) | {"trial_ids": ids})
        return rows


def corners(space: Mapping[str, Dimension]) -> list[dict[str, Value]]:
    """The lowest and the highest point of a space; an impossible dimension is a ConfigError."""

    def ends(dimension: Dimension) -> tuple[Value, Value]:
        if isinstance(dimension, Categorical):
            if not dimension.values:
                raise ConfigError(f"{dimension}: expected at least one value")
            return dimension.values[0], dimension.values[-1]
        if not dimension.low <= dimension.high or (isinstance(dimension, LogUniform) and dimension.low <= 0):
            raise ConfigError(f"{dimension}: low must not exceed high, and must be positive on a logarithmic scale")
        return dimension.low, dimension.high

    return [{name: ends(dimension)[side] for name, dimension in space.items()} for side in (0, 1)]


def describe_part(part: Part) -> dict[str, Any]:
    """Plain data: kind, name, space, search, number of trials."""
    if isinstance(part, GridPart):
        axes = {
            name: [{"name": v.name, "changes": dict(v.changes)} if isinstance(v, Choice) else v for v in values]
            for name, values in part.axes.items()
        }
        return {"kind": "grid", "name": part.name, "axes": axes, "changes": dict(part.changes), "num_trials": part.num_trials}
    space = {name: {"kind": type(d).__name__} | {slot: getattr(d, slot) for slot in d.__slots__} for name, d in part.space.items()}
    for row in space.values():
        if "values" in row:
            row["values"] = list(row["values"])
    return {
        "kind": "search",
        "name": part.name,
        "space": space,
        "changes": dict(part.changes),
        "sampler": part.sampler,
        "startup_trials": part.startup_trials,
        "seed": part.seed,
        "num_trials": part.num_trials,
    }
