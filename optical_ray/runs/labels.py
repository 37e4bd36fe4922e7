"""Which part of a sweep a trial belongs to, and the words that set it apart there: worked out from sweep.json and recipe.json alone."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHOWN_FIELDS = 4
"""Recipe fields that a label names, at most, where no grid named them."""
UNPLANNED = "unplanned"
"""The part of a trial that no part of sweep.json explains."""


@dataclass(frozen=True, slots=True)
class Named:
    """A trial in words."""

    part: str
    label: str
    """`arm=OT, languages.size=4`"""


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of nested plain data by dotted name; lists become tuples, so that values can be compared and counted."""
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            leaves |= flatten(value, f"{prefix}{name}.")
        else:
            leaves[sys.intern(prefix + name)] = tuple(value) if isinstance(value, list) else value
    return leaves


def short_value(value: Any) -> str:
    """A recipe value in a label: three significant digits tell trials apart."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class TrialNames:
    """Names the trials of one sweep. Tolerates parts of a shape that it does not know: their trials are named by what they change."""

    def __init__(self, base: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> None:
        """Take `base` and `parts` as sweep.json has them."""
        self._base = flatten(base)
        self._grid: dict[str, Named] = {}
        self._searches = [part for part in parts if part.get("kind") != "grid"]
        for part in parts:
            if part.get("kind") == "grid":
                name, ids = str(part.get("name")), part.get("trial_ids") or []
                labels = _grid_labels(part.get("axes") or {})
                labels = labels if len(labels) == len(ids) else [""] * len(ids)
                for trial_id, label in zip(ids, labels, strict=True):
                    self._grid.setdefault(str(trial_id), Named(name, label or name))

    def name(self, trial_id: str, recipe: Mapping[str, Any] | None) -> Named:
        """Part and label of a trial; without a recipe, of a search, nothing is known of it."""
        if trial_id in self._grid:
            return self._grid[trial_id]
        if recipe is None:
            return Named(UNPLANNED, "")
        fields = flatten(recipe)
        changed = {name: value for name, value in fields.items() if name not in self._base or self._base[name] != value}
        for part in self._searches:
            space, changes = part.get("space") or {}, flatten(part.get("changes") or {})
            if all(name in space or (name in changes and changes[name] == value) for name, value in changed.items()) and all(
                fields.get(name) == value for name, value in changes.items() if name not in space
            ):
                return Named(str(part.get("name")), _label({name: fields[name] for name in space if name in fields}))
        return Named(UNPLANNED, _label(changed))


def _grid_labels(axes: Mapping[str, Any]) -> list[str]:
    """A label for each point, in the order of the points: the first axis varies slowest."""
    try:
        values = [[value["name"] if isinstance(value, Mapping) else short_value(value) for value in axis] for axis in axes.values()]
    except (TypeError, KeyError):
        return []
    return [", ".join(f"{name}={value}" for name, value in zip(axes, point, strict=True)) for point in itertools.product(*values)]


def _label(fields: Mapping[str, Any]) -> str:
    shown = [f"{name}={short_value(value)}" for name, value in sorted(fields.items())]
    return ", ".join(shown[:SHOWN_FIELDS]) + (", ..." if len(shown) > SHOWN_FIELDS else "")
