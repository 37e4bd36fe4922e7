"""A sweep's trials before they run: the recipe, and the words that set it apart."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from optical_ray.recipe import Recipe
from optical_ray.space import Value
from optical_ray.sweep import Choice, GridPart, SearchPart


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """One trial before it runs."""

    part: str
    label: str
    """What sets it apart within its part: `arm=OT, languages.size=4`."""
    recipe: Recipe

    @property
    def trial_id(self) -> str:
        return self.recipe.trial_id


def grid_trials(part: GridPart, base: Recipe) -> list[PlannedTrial]:
    """The part's trials in its order, each recipe once."""
    found: dict[str, PlannedTrial] = {}
    points = itertools.product(*part.axes.values())
    for point, recipe in zip(points, part.recipes(base), strict=True):
        values = (value.name if isinstance(value, Choice) else _short(value) for value in point)
        label = ", ".join(f"{name}={value}" for name, value in zip(part.axes, values, strict=True))
        found.setdefault(recipe.trial_id, PlannedTrial(part.name, label or part.name, recipe))
    return list(found.values())


def searched_trial(part: SearchPart, base: Recipe, parameters: Mapping[str, Value]) -> PlannedTrial:
    """The trial at one point of a search.

    Raises:
        ConfigError: the point gives no recipe, although the space's corners do.
    """
    return PlannedTrial(part.name, point_label(parameters), base.override({**part.changes, **parameters}))


def point_label(parameters: Mapping[str, Value]) -> str:
    """A point of a search in words: `batch.pairs=57, transport.epsilon=0.213`."""
    return ", ".join(f"{name}={_short(value)}" for name, value in sorted(parameters.items()))


def _short(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
