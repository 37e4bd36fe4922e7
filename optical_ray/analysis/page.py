"""What the page shows, as plain text and cells; the template escapes every one of them and adds no words of its own about results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from optical_ray.analysis.analyse import Analysis
from optical_ray.analysis.answer import answer, caveats, count_trials
from optical_ray.analysis.captions import (
    TOGETHER,
    arms_caption,
    effects_caption,
    heat_caption,
    k_caption,
    language_caption,
    level,
    methods,
    provenance,
    relations_caption,
    search_caption,
    training_caption,
)
from optical_ray.analysis.curves import FLOOR, REFERENCES, UNTRAINED, largest_cells
from optical_ray.analysis.design import PartView, best_trials, short, show, shows_test, varying_fields
from optical_ray.analysis.load import Trial
from optical_ray.analysis.other_tasks import other_tasks
from optical_ray.analysis.outcomes import MEASURES
from optical_ray.analysis.phrases import bracket, languages, number, plural, signed
from optical_ray.analysis.sources import LEXICAL, REMOVED, STUDENT
from optical_ray.analysis.style import Panel
from optical_ray.analysis.table import GROUPS, marks_of
from optical_ray.analysis.trial_sections import TrialSection, trial_sections
from optical_ray.retrieval.intervals import Interval

MOST_TRIALS = 500
"""Rows of the page's table of trials; trials.csv has all."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table."""

    text: str
    sort: str = ""
    """What the table sorts by; empty: the text."""
    small: tuple[str, ...] = ()
    """Smaller lines below."""
    kind: str = ""
    """CSS class: num | code | warn | strong | faint"""
    plain: str | None = None
    """What a CSV holds instead of the text."""
    link: str = ""
    """Id of the page's section that the text leads to."""


@dataclass(frozen=True, slots=True)
class TableView:
    """A table of the page, and the same as CSV."""

    name: str
    """Stem of the CSV file."""
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    few: tuple[tuple[Cell, ...], ...] | None = None
    """Of more rows than a page can show: those that it does."""

    @property
    def shown(self) -> tuple[tuple[Cell, ...], ...]:
        return self.rows if self.few is None else self.few


@dataclass(frozen=True, slots=True)
class FigureView:
    """Panels that share a caption."""

    title: str
    caption: str
    panels: tuple[Panel, ...]
    wide: bool = False


@dataclass(frozen=True, slots=True)
class PageView:
    """Everything that the template fills in."""

    name: str
    state: str
    answer: list[str]
    caveats: list[str]
    question: str
    expectation: str
    tables: dict[str, TableView]
    figures: dict[str, FigureView]
    methods: list[str]
    provenance: list[tuple[str, str]]
    sections: list[TrialSection]
    files: list[str] = field(default_factory=list)


def build_page(analysis: Analysis, panels: Mapping[str, Sequence[Panel]]) -> PageView:
    """Put an analysis and its figures (by section) into words and cells."""
    record = analysis.run.record
    finished, planned = count_trials(analysis)
    sections = trial_sections(analysis)
    tables = [
        _trial_table(analysis, {section.trial_id for section in sections}),
        _prediction_table(analysis),
        _comparison_table(analysis),
        _language_table(analysis),
        _scorer_table(analysis),
        _task_table(analysis),
        _effects_table(analysis),
    ]
    captions = {
        "k": ("How many languages?", k_caption(analysis)),
        "arms": ("Which objective?", arms_caption(analysis)),
        "languages": ("Which languages?", language_caption(analysis)),
        "effects": ("What goes along with it?", effects_caption(analysis.regression)),
        "relations": ("What stands beside quality?", relations_caption(analysis)),
        "training": ("Did training work?", training_caption(analysis)),
        "heat": ("Two settings at once", heat_caption()),
        "search": ("What did the search see?", search_caption(analysis)),
    }
    figures = {name: FigureView(*captions[name], tuple(found)) for name, found in panels.items() if found}
    return PageView(
        name=record.name,
        state=f"{finished} of {plural(planned, 'trial')} finished",
        answer=answer(analysis),
        caveats=caveats(analysis),
        question=record.question,
        expectation=record.expectation,
        tables={table.name: table for table in tables if table.rows},
        figures=figures,
        methods=methods(analysis),
        provenance=provenance(analysis),
        sections=sections,
    )


def _trial_table(analysis: Analysis, with_section: Set[str]) -> TableView:
    fields = varying_fields(analysis.run.trials)
    columns = ("trial", "arm", "k", "state", *[short(name) for name in fields], "steps", "valid", *GROUPS)
    rows = {trial.trial_id: _trial_row(analysis, part, trial, fields, with_section) for part in analysis.parts for trial in part.trials}
    smallest = sorted(analysis.smallest & set(analysis.sources.evaluated))
    caption = (
        f"Success@1, mean over languages, scorer {analysis.sources.scorer}; in brackets the {level(analysis)} interval over English "
        "sentences. valid: on the validation split, which is all that a search sees. The last three columns: on the test split, over the "
        f"smallest set{f' ({languages(smallest)})' if smallest else ''}, the languages in training, and the others; "
        f"below each, {analysis.sources.lexical_name} on the same languages."
    )
    if any(part.kind == "search" for part in analysis.parts):
        caption += " Of a search only the trial that validation chose shows its test score (bold); summary.parquet holds the others."
    few = None
    if len(rows) > MOST_TRIALS:
        best = best_trials([trial for part in analysis.parts for trial in part.trials], MOST_TRIALS)
        few = tuple(rows[trial.trial_id] for trial in best)
        caption += f" Shown: the {MOST_TRIALS} best of {len(rows):,} trials by validation; trials.csv has all."
    return TableView("trials", caption, columns, tuple(rows.values()), few)


def _trial_row(analysis: Analysis, part: PartView, trial: Trial, fields: Sequence[str], with_section: Set[str]) -> tuple[Cell, ...]:
    status = trial.status
    chosen = trial is part.best
    link = f"trial-{trial.trial_id}" if trial.trial_id in with_section else ""
    cells = [
        Cell(trial.trial_id, small=(part.name,), kind="code strong" if chosen else "code", plain=trial.trial_id, link=link),
        Cell("untrained" if trial.arm == "none" else trial.arm),
        _count(trial.k),
    ]
    marks = marks_of(trial)
    progress = [f"{status.step} of {status.max_steps} steps"] if status and not trial.finished else []
    bad = marks or trial.state == "failed"
    cells.append(Cell(trial.state, small=(*marks, *progress), kind="warn" if bad else "", plain=" ".join([trial.state, *marks])))
    cells += [_value(trial.fields.get(name)) for name in fields]
    cells.append(_count(trial.fields.get("training.max_steps")))
    objective = status.objective if status else None
    cells.append(Cell(number(objective), sort="" if objective is None else repr(objective), kind="num strong" if chosen else "num"))
    for group in GROUPS:
        if not shows_test(part, trial):
            cells.append(Cell("", kind="num"))
            continue
        cells.append(_interval(analysis.success(trial, group), _floor_of(analysis, trial, group)))
    return tuple(cells)


def _floor_of(analysis: Analysis, trial: Trial, group: str) -> str:
    scorers = [system.scorer for system in analysis.sources.systems if system.name == LEXICAL]
    floor = analysis.success(trial, group, LEXICAL, scorers[0]) if scorers else None
    return f"{analysis.sources.lexical_name} {number(floor.estimate)}" if floor else ""


def _prediction_table(analysis: Analysis) -> TableView:
    rows = []
    for one in analysis.predictions:
        kind = {"met": "strong", "contradicted": "warn"}.get(one.verdict, "faint")
        lines = tuple(f"{row.first} minus {row.second}: {signed(row.difference)}" for row in one.rows)
        rows.append((Cell(one.text), Cell(one.verdict, kind=kind), Cell("" if lines else "-", small=lines, plain="; ".join(lines))))
    caption = (
        "Written before the first trial, of mean test Success@1 at the largest k. Met: shown for every setting of the arm that has its "
        "counterpart, after Holm's correction over all predictions; contradicted: the contrary was, for one; undecided: neither; open: the "
        "grid is not whole yet. `alike` is met where the whole interval lies within the margin named beforehand."
    )
    return TableView("predictions", caption, ("prediction", "verdict", "difference"), tuple(rows))


def _comparison_table(analysis: Analysis) -> TableView:
    rows = []
    for row in analysis.comparisons:
        if row.measure == MEASURES[0]:
            scope = f"{row.group} ({languages(row.languages)})"
            kind = "num faint" if row.direction == "not shown" else "num strong"
            estimate, _, bounds = signed(row.difference).partition(" ")
            difference = Cell(estimate, sort=repr(row.difference.estimate), small=(bounds,), kind=kind, plain=f"{estimate} {bounds}")
            p_holm = Cell(_p(row.p_holm), sort=repr(row.p_holm), kind="num")
            sentences = f"on {plural(row.num_sentences, 'sentence')}"
            count = Cell(str(row.num_queries), small=(sentences,), kind="num", plain=str(row.num_queries))
            means = [Cell(number(mean), kind="num") for mean in (row.first_mean, row.second_mean)]
            lines = (f"minus {row.second}, on {scope}",)
            pair = Cell(row.first, small=lines, plain=f"{row.first} minus {row.second} on {scope}")
            rows.append((pair, difference, Cell(row.direction), p_holm, *means, count, Cell(row.kind)))
    columns = ("comparison", "difference", "direction", "p (Holm)", "first alone", "second alone", "queries", "question")
    caption = (
        f"Success@1, first minus second, paired on the same queries, mean over languages, with the {level(analysis)} bootstrap interval "
        f"over English sentences: {TOGETHER}. A direction is named where it also stands after Holm's correction. "
        "comparisons.csv has the other measures too."
    )
    return TableView("comparisons", caption, columns, tuple(rows))


def _language_table(analysis: Analysis) -> TableView:
    names = list(dict.fromkeys(point.series for point in analysis.languages))
    order = [name for name in REFERENCES if name in names] + [name for name in names if name not in REFERENCES]
    by = {(point.series, point.language): point for point in analysis.languages}
    seen = _seen_in_pretraining(analysis)
    rows = []
    for language in sorted({point.language or "" for point in analysis.languages}):
        present = [by[name, language] for name in order if (name, language) in by]
        count = Cell(str(max(point.num_queries for point in present)), kind="num")
        intervals = [by[name, language].interval if (name, language) in by else None for name in order]
        known = [Cell(seen.get(language, "-"))] if seen else []
        rows.append((Cell(language, kind="code"), count, *known, *[_interval(interval) for interval in intervals]))
    k = max((point.k for point in analysis.languages), default=0)
    caption = f"Success@1 on each query language at k = {k}, with the {level(analysis)} bootstrap interval over its queries."
    labels = [*(["seen in pre-training"] if seen else []), *[_label(analysis, name) for name in order]]
    return TableView("languages", caption, ("language", "queries", *labels), tuple(rows))


def _effects_table(analysis: Analysis) -> TableView:
    rows = []
    for effect in analysis.regression.effects:
        kind = "num strong" if effect.interval.excludes_zero else "num faint"
        estimate, _, bounds = signed(effect.interval).partition(" ")
        change = Cell(estimate, sort=repr(effect.interval.estimate), small=(bounds,), kind=kind, plain=f"{estimate} {bounds}")
        rows.append(
            (
                Cell(effect.name),
                change,
                Cell(_p(effect.interval.p_value), sort=repr(effect.interval.p_value), kind="num"),
                Cell(effect.unit),
            )
        )
    caption = "Change of Success@1 per unit, with the 95 % interval, everything else held fixed; p is not corrected for the number of rows."
    return TableView("effects", caption, ("covariate", "change", "p", "one unit"), tuple(rows))


def _seen_in_pretraining(analysis: Analysis) -> dict[str, str]:
    """`yes` or `no` by language, where the students of the table agree; empty where none of them is known to have seen any."""
    trials = [trial for cell in largest_cells(analysis.cells) for trial in cell.trials]
    found = {name: {trial.saw_in_pretraining(name) for trial in trials} for name in {point.language or "" for point in analysis.languages}}
    if not any(True in answers for answers in found.values()):
        return {}
    return {name: "yes" if answers == {True} else "no" for name, answers in found.items() if answers in ({True}, {False})}


def _scorer_table(analysis: Analysis) -> TableView:
    columns = [
        (system, scorer)
        for system in (STUDENT, *REMOVED)
        for scorer in dict.fromkeys(r.scorer for r in analysis.scorers if r.system == system)
    ]
    rows = []
    for series in dict.fromkeys(row.series for row in analysis.scorers):
        by = {(row.system, row.scorer): row.interval for row in analysis.scorers if row.series == series}
        rows.append((Cell(series), *[_interval(by.get(column)) for column in columns]))
    headers = ("arm", *[scorer + (f", {REMOVED[system]}" if system in REMOVED else "") for system, scorer in columns])
    k = max((row.k for row in analysis.scorers), default=0)
    caption = (
        f"Success@1 at k = {k} on the languages in training under every stored scorer. "
        "Means removed: each language's mean vector is subtracted first, that of the very queries or of training rows; components removed: "
        "its first principal components, of training rows, are projected out (LIR, arXiv 2109.04727). All are training-less. "
        f"Every comparison above uses {analysis.sources.scorer}, which the recipe named beforehand."
    )
    return TableView("scorers", caption, headers, tuple(rows))


def _task_table(analysis: Analysis) -> TableView:
    rows = []
    for item in other_tasks(analysis):
        row, trial = item.row, item.trial
        arm = "" if trial is None else "untrained" if trial.arm == "none" else trial.arm
        who = Cell(
            row.system if trial is None else trial.trial_id, small=(row.scorer,), kind="" if trial is None else "code", plain=row.system
        )
        counts = [Cell(str(count), kind="num") for count in (row.num_languages, row.num_queries)]
        rows.append(
            (
                Cell(row.task),
                who,
                Cell(arm),
                _count(None if trial is None else trial.k),
                Cell(row.measure),
                _interval(row.interval),
                *counts,
            )
        )
    caption = (
        f"Every task by its own measure, mean over its languages, with the {level(analysis)} bootstrap interval; references first, then "
        f"the students. Nothing else on this page speaks of these tasks: figures and comparisons are about {analysis.sources.task} alone."
    )
    return TableView("tasks", caption, ("task", "system", "arm", "k", "measure", "mean", "languages", "queries"), tuple(rows))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _label(analysis: Analysis, series: str) -> str:
    return analysis.sources.lexical_name if series == FLOOR else "untrained" if series == UNTRAINED else series


def _interval(interval: Interval | None, small: str = "") -> Cell:
    if interval is None:
        return Cell("-", kind="num faint", plain="")
    bounds = f"[{interval.low:.3f}, {interval.high:.3f}]"
    lines = (bounds, small) if small else (bounds,)
    return Cell(number(interval.estimate), sort=repr(interval.estimate), small=lines, kind="num", plain=bracket(interval))


def _count(value: Any) -> Cell:
    return Cell(show(value), sort=str(value) if isinstance(value, int) else "", kind="num")


def _value(value: Any) -> Cell:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Cell(show(value), sort=repr(value) if is_number else "", kind="num" if is_number else "")
