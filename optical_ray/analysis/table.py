"""The table in the terminal: one block per part, then the floors, the comparisons and what is missing."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from optical_ray.analysis.analyse import Analysis, analyse
from optical_ray.analysis.answer import answer, caveats, count_trials
from optical_ray.analysis.compare import AGAINST_FLOOR
from optical_ray.analysis.design import STEPS_FIELD, PartView, best_trials, short, show, shows_test, varying_fields
from optical_ray.analysis.load import Run, Trial
from optical_ray.analysis.other_tasks import other_tasks
from optical_ray.analysis.outcomes import SUCCESS, relevant_ids
from optical_ray.analysis.phrases import describe_size, languages, plural, signed
from optical_ray.analysis.summary import ALL, IN_TRAINING, SMALLEST, UNSEEN
from optical_ray.retrieval.intervals import Interval

GROUPS = (SMALLEST, IN_TRAINING, UNSEEN)
MOST_TRIALS = 100  # rows of a part
SHORT_ID = 8  # hex digits: enough to find the folder, and a line of three intervals stays below 100 columns


def render_table(run: Run | Analysis) -> RenderableType:
    """What the run says, for a terminal of 100 columns or more; print it with `rich.console.Console().print`."""
    analysis = analyse(run) if isinstance(run, Run) else run
    record = analysis.run.record
    finished, planned = count_trials(analysis)
    blocks: list[RenderableType] = [
        Text.assemble((record.name, "bold"), f"  {finished} of {plural(planned, 'trial')} finished", f"  {record.question}"),
        Text(_explain(analysis), style="dim"),
    ]
    blocks += [_part_table(analysis, part) for part in analysis.parts if part.trials]
    blocks += [table for table in (_floor_table(analysis), _comparison_table(analysis), _task_table(analysis)) if table.row_count]
    blocks.append(Text(" ".join(answer(analysis)), style="bold"))
    blocks.append(Text("\n".join(f"- {note}" for note in caveats(analysis))))
    return Group(*[part for block in blocks for part in (block, Text())][:-1])


def marks_of(trial: Trial) -> list[str]:
    """What is wrong with a trial, in one word each."""
    marks = list(trial.status.verdicts) if trial.status else []
    return marks + (["unreadable files"] if trial.problems else [])


def _explain(analysis: Analysis) -> str:
    smallest = sorted(analysis.smallest & set(analysis.sources.evaluated))
    text = f"Test Success@1 with {analysis.bootstrap.confidence:.0%} intervals, scorer {analysis.sources.scorer}, mean over languages"
    text += f"; smallest set: {languages(smallest)}." if smallest else "."
    size = analysis.sources.size()
    if size is None:
        return text
    return f"{text} {describe_size(*size)}; queries that ask for the same one are resampled together."


def _part_table(analysis: Analysis, part: PartView) -> Table:
    fields = [name for name in varying_fields(part.trials) if part.kind != "search" or name in part.space]
    groups = [group for group in GROUPS if any(analysis.success(trial, group) for trial in part.trials)]
    if part.kind == "search":
        groups = [group for group in groups if group != SMALLEST]
    if not groups and any(analysis.success(trial, ALL) for trial in part.trials):
        groups = [ALL]
    steps = {trial.fields.get("training.max_steps") for trial in part.trials}
    title = f"{part.name}: {plural(len(part.trials), 'trial')}" + (f" of {part.planned}" if part.pending else "")
    if len(steps) == 1:
        title += f", {show(next(iter(steps)))} steps"
    table = _table(escape(title))
    shown = best_trials(part.trials, MOST_TRIALS)
    notes = {trial.trial_id: " ".join([*([] if trial.finished else [_state(trial)]), *marks_of(trial)]) for trial in shown}
    columns = ["trial", "arm", "k", *[short(name) for name in fields], *(["steps"] if len(steps) > 1 else [])]
    columns += ["valid", *groups, *(["note"] if any(notes.values()) else [])]
    for name in columns:
        table.add_column(escape(name), justify="left" if name in ("trial", "arm", "note") else "right", no_wrap=name != "note")
    best = part.best
    for trial in shown:
        cells = [trial.trial_id[:SHORT_ID], "untrained" if trial.arm == "none" else trial.arm, show(trial.k)]
        cells += [show(trial.fields.get(name)) for name in fields]
        cells += [show(trial.fields.get(STEPS_FIELD))] if len(steps) > 1 else []
        cells.append(_share(trial.status.objective if trial.status else None))
        cells += [_interval(analysis.success(trial, group)) if shows_test(part, trial) else "" for group in groups]
        cells += [notes[trial.trial_id]] if any(notes.values()) else []
        table.add_row(*[escape(cell) for cell in cells], style="bold" if best is not None and trial.trial_id == best.trial_id else None)
    told = ["bold: chosen on validation; the others' test scores are left out on purpose"] if best is not None else []
    if len(shown) < len(part.trials):
        told.append(f"the {MOST_TRIALS} best of {len(part.trials):,} by validation; trials.csv of the report has all")
    table.caption = "; ".join(told) or None
    return table


def _floor_table(analysis: Analysis) -> Table:
    table = _table("floors")
    table.add_column("system", no_wrap=True)
    smallest = sorted(analysis.smallest & set(analysis.sources.evaluated))
    groups = [(name, group) for name, group in ((SMALLEST, smallest), (ALL, analysis.sources.evaluated)) if group]
    for name, group in groups:
        table.add_column(f"{name} ({len(group)})", justify="right", no_wrap=True)
    rows = (
        (analysis.sources.lexical_name, analysis.sources.lexical()),
        ("translation memory", analysis.sources.memory()),
        ("untrained", analysis.sources.untrained()),
    )
    for label, outcomes in rows:
        if outcomes:
            cells = []
            for _, group in groups:
                values = {name: outcomes[name].at(SUCCESS) for name in group if name in outcomes}
                whole = len(values) == len(group)
                cells.append(_interval(analysis.bootstrap.mean_over_languages(values, relevant_ids(outcomes, values))) if whole else "-")
            table.add_row(escape(label), *cells)
    chances = [analysis.sources.chance(group) for _, group in groups]
    if any(chance is not None for chance in chances):
        table.add_row("random (closed form)", *[_share(chance) for chance in chances])
    return table


def _comparison_table(analysis: Analysis) -> Table:
    table = _table("paired differences, Success@1")
    for name in ("first", "minus second", "on", "difference"):
        table.add_column(name, no_wrap=name == "difference")
    kind = AGAINST_FLOOR
    for row in analysis.comparisons:
        if row.measure == "Success@1":
            if row.kind != kind:
                table.add_row()
                kind = row.kind
            scope = f"{row.group} ({len(row.languages)})"
            table.add_row(
                escape(row.first), escape(row.second), scope, signed(row.difference), style="dim" if row.direction == "not shown" else None
            )
    return table


def _task_table(analysis: Analysis) -> Table:
    table = _table("other tasks, mean over their languages")
    for name in ("task", "system", "arm", "k", "measure", "mean"):
        table.add_column(name, justify="right" if name in ("k", "mean") else "left", no_wrap=True)
    for item in other_tasks(analysis):
        row, trial = item.row, item.trial
        who = (
            [row.system, "", ""]
            if trial is None
            else [trial.trial_id[:SHORT_ID], "untrained" if trial.arm == "none" else trial.arm, show(trial.k)]
        )
        table.add_row(*map(escape, [row.task, *who, row.measure, _interval(row.interval)]))
    return table


def _table(title: str) -> Table:
    return Table(
        title=title, box=None, title_justify="left", title_style="bold", header_style="dim", caption_justify="left", padding=(0, 2, 0, 0)
    )


def _state(trial: Trial) -> str:
    if trial.finished or trial.status is None:
        return trial.state
    return f"{trial.state} {trial.status.step}/{trial.status.max_steps}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".removeprefix("0")


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    low, high = (f"{bound:.2f}".removeprefix("0") if bound < 0.995 else "1.0" for bound in (interval.low, interval.high))
    return f"{_share(interval.estimate)} [{low} {high}]"  # two decimals: a line fits 100 columns; the report has three
