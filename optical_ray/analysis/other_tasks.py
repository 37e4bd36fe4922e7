"""The tasks beside the one that a report's figures and comparisons are about: one mean per trial and task, never one over tasks."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from optical_ray.analysis.analyse import Analysis
from optical_ray.analysis.design import shows_test
from optical_ray.analysis.load import Trial
from optical_ray.analysis.outcomes import MEASURES
from optical_ray.analysis.sources import REMOVED, STUDENT
from optical_ray.analysis.summary import ALL, SummaryRow, summary_rows
from optical_ray.retrieval.values import main_measure


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A mean over all languages of a task, by the task's own measure (AP@20 for RR@20: with one relevant candidate they agree)."""

    trial: Trial | None
    """None: a reference, the same for every trial."""
    row: SummaryRow


def other_tasks(analysis: Analysis) -> list[TaskRow]:
    """By task: references first, then the students of the trials that may show their test score, in the order of the parts."""
    trials = [trial for part in analysis.parts for trial in part.trials if shows_test(part, trial)]
    scorers: dict[tuple[str, str], set[str]] = {}
    others = analysis.summary.filter((pc.field("task") != analysis.sources.task) & (pc.field("group") == ALL))
    own = [row for row in summary_rows(others) if row.measure == measure_of(row.task)]
    for row in own:
        scorers.setdefault((row.task, row.system), set()).add(row.scorer)
    primary = analysis.sources.scorer
    own = [row for row in own if row.scorer == primary or primary not in scorers[row.task, row.system]]
    found = []
    for task in sorted({row.task for row in own}):
        references: dict[tuple[str, str], SummaryRow] = {}
        for row in own:
            if row.task == task and row.system != STUDENT and row.system not in REMOVED:
                references.setdefault((row.system, row.scorer), row)
        found += [TaskRow(None, references[key]) for key in sorted(references)]
        for trial in trials:
            students = [row for row in own if (row.task, row.system, row.trial_id) == (task, STUDENT, trial.trial_id)]
            found += [TaskRow(trial, row) for row in students]
    return found


def measure_of(task: str) -> str:
    """The task's measure among those of the summary."""
    measure = main_measure(task)
    return measure if measure in MEASURES else "AP@20"
