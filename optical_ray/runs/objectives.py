"""What a search trades off: numbers of one trial, and which trials no other one beats in all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from optical_ray.runs import names
from optical_ray.runs.folder import TrialFolder

Direction = Literal["maximize", "minimize"]
COSTS = ("pairs_seen", "cpu_seconds", "gpu_seconds")
MEASURES = (names.VALID_SUCCESS_AT_1, *COSTS)
"""Quality on validation rows, and costs as status.json has them."""


@dataclass(frozen=True, slots=True)
class Objective:
    """One of the numbers that a search trades off: quality over some languages, or a cost."""

    name: str
    """What tables call it: `low-resource`, `CPU seconds`."""
    measure: str = names.VALID_SUCCESS_AT_1
    """`valid/Success@1`, `pairs_seen`, `cpu_seconds` or `gpu_seconds`; of the whole trial, its last validation."""
    languages: tuple[str, ...] = ()
    """Of `valid/Success@1`: the evaluation languages it is the mean over. Empty, as is `besides`: those of the sweep's metric."""
    besides: tuple[str, ...] = ()
    """Of `valid/Success@1`: mean over all evaluation languages but these."""
    direction: Direction | None = None
    """None: quality is maximised, a cost minimised."""

    @property
    def resolved(self) -> Direction:
        """Which way is better."""
        return self.direction or ("minimize" if self.measure in COSTS else "maximize")

    def value(self, facts: Mapping[str, Any]) -> float | None:
        """The number, of a trial's facts (`trial_facts`); None where one of them is missing or not finite."""
        if self.languages:
            found = [facts.get(names.valid_success_at_1(tag)) for tag in self.languages]
        elif self.besides:
            prefix = names.valid_success_at_1("")
            left_out = {names.valid_success_at_1(tag) for tag in self.besides} | {names.VALID_SUCCESS_AT_1_UNSEEN}
            if not left_out - {names.VALID_SUCCESS_AT_1_UNSEEN} <= facts.keys():
                return None
            found = [value for name, value in facts.items() if name.startswith(prefix) and name not in left_out]
        else:
            found = [facts.get(self.measure)]
        numbers = [float(value) for value in found if isinstance(value, int | float) and math.isfinite(value)]
        return sum(numbers) / len(numbers) if numbers and len(numbers) == len(found) else None

    def describe(self) -> dict[str, Any]:
        """Plain data, for sweep.json."""
        return {
            "name": self.name,
            "measure": self.measure,
            "languages": list(self.languages),
            "besides": list(self.besides),
            "direction": self.resolved,
        }

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Self:
        """From what `describe` gave."""
        return cls(row["name"], row["measure"], tuple(row["languages"]), tuple(row["besides"]), row["direction"])


def trial_facts(folder: TrialFolder) -> dict[str, float]:
    """What objectives may ask of a trial: the last validation by metric name, and its costs."""
    facts = {row.name: row.value for row in folder.read_metrics() if row.name.startswith(names.VALID_SUCCESS_AT_1)}
    status = folder.read_status()
    if status is not None:
        facts |= {name: getattr(status, name) for name in COSTS} | {names.VALID_SUCCESS_AT_1: status.objective}
    return {name: value for name, value in facts.items() if value is not None}


def pareto_front(points: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[int]:
    """Indices of the points that no other beats, being at least as good in every number and better in one. Equal points stay together."""
    rows = [[value if way == "maximize" else -value for value, way in zip(point, directions, strict=True)] for point in points]

    def beats(one: list[float], other: list[float]) -> bool:
        return one != other and all(a >= b for a, b in zip(one, other, strict=True))

    return [index for index, row in enumerate(rows) if not any(beats(other, row) for other in rows)]
