"""Was what had been predicted met? Judged on test rows, by the paired intervals and Holm's correction over all predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optical_ray.analysis.compare import Comparison, compare_predicted
from optical_ray.analysis.design import Cell, PartView
from optical_ray.analysis.load import Run
from optical_ray.analysis.sources import Sources
from optical_ray.errors import ConfigError
from optical_ray.retrieval.intervals import QueryBootstrap
from optical_ray.runs.predictions import Prediction

Verdict = Literal["met", "contradicted", "undecided", "not measured", "open"]
ENDED = ("finished", "failed")
"""States of a grid's trial that nothing changes any more, unless somebody asks for it."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """A prediction and what came of it."""

    text: str
    rows: tuple[Comparison, ...]
    """One for each setting of the arm at the largest k."""
    verdict: Verdict
    """met: shown for every row. contradicted: the contrary was shown for one. undecided: neither. not measured: no row to judge by.
    open: the grid is not whole yet; the rows are those so far."""


def judge_predictions(
    run: Run,
    sources: Sources,
    parts: Sequence[PartView],
    cells: Sequence[Cell],
    smallest: frozenset[str],
    bootstrap: QueryBootstrap,
) -> list[Predicted]:
    """In the order written. A prediction that cannot be read, of a later version perhaps, is told as not measured."""
    readable = [(row, _read(row)) for row in run.record.predictions]
    known = [prediction for _, prediction in readable if prediction is not None]
    grid = [trial for part in parts if part.kind == "grid" for trial in part.trials]
    sizes = {trial.k for trial in grid if trial.k is not None and trial.arm != "unknown"}
    rows = iter(compare_predicted(sources, list(cells), smallest, bootstrap, known, sizes))
    whole = not any(part.pending for part in parts if part.kind == "grid") and all(trial.state in ENDED for trial in grid)
    found = []
    for written, prediction in readable:
        if prediction is None:
            found.append(Predicted(" ".join(map(str, written.values())), (), "not measured"))
        else:
            own = tuple(next(rows))
            found.append(Predicted(str(prediction), own, judge(prediction, own) if whole else "open"))
    return found


def judge(prediction: Prediction, rows: Sequence[Comparison]) -> Verdict:
    """From the comparisons that it is about."""
    if not rows:
        return "not measured"
    if prediction.direction == "alike":
        if all(-prediction.within < row.difference.low and row.difference.high < prediction.within for row in rows):
            return "met"
        beyond = [row for row in rows if row.difference.low > prediction.within or row.difference.high < -prediction.within]
        return "contradicted" if any(row.direction != "not shown" for row in beyond) else "undecided"
    if all(row.direction == prediction.direction for row in rows):
        return "met"
    return "contradicted" if any(row.direction not in (prediction.direction, "not shown") for row in rows) else "undecided"


def _read(row: dict[str, Any]) -> Prediction | None:
    try:
        return Prediction(**row)
    except (ConfigError, TypeError, ValueError):
        return None
