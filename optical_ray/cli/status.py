"""optical status RUN"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from optical_ray.cli.progress import describe_resources, make_console, minutes
from optical_ray.errors import RunFolderError
from optical_ray.runs.disk import RunBytes, describe_bytes, measure_run
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.standing import RunStanding, TrialStanding, read_standing, to_plain
from optical_ray.runs.study import count_points

WATCH_SECONDS = 2.0
DISK_SECONDS = 30.0
"""Between two walks through a run's files while it is watched."""
BEST = 5
"""Trials that are listed as the best so far."""
NAMED = 8
"""Failures, and unreadable files, that are named one by one."""


@dataclass(frozen=True, slots=True)
class Status:
    """All that `optical status` shows."""

    standing: RunStanding
    points: Mapping[str, Mapping[str, int]]
    """What the searches have drawn, by part and state."""
    disk: RunBytes


class Reader:
    """Reads a run's folder; how large it is, only now and then."""

    def __init__(self, run: RunFolder) -> None:
        self._run, self._disk, self._measured = run, RunBytes(0, 0, 0, 0), -DISK_SECONDS

    def read(self) -> Status:
        """How it stands now.

        Raises:
            RunFolderError: as `read_standing`.
        """
        standing = read_standing(self._run)
        if time.monotonic() - self._measured >= DISK_SECONDS:
            self._disk, self._measured = measure_run(self._run), time.monotonic()
        points: Mapping[str, Mapping[str, int]] = {}
        try:
            points = count_points(self._run.study)
        except RunFolderError as error:
            standing = replace(standing, problems=(*standing.problems, str(error)))
        return Status(standing, points, self._disk)


def status(options: argparse.Namespace) -> None:
    """Print how the run stands; with `--watch`, until it is interrupted."""
    console, reader = make_console(), Reader(RunFolder(options.folder))
    if options.json:
        print(json.dumps(to_json(reader.read()), indent=2, ensure_ascii=False))
    elif not options.watch:
        for part in render(reader.read()):
            console.print(part, soft_wrap=isinstance(part, Text))  # a command that is broken over lines cannot be copied
    elif console.is_terminal:
        with Live(Group(*render(reader.read())), console=console, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                live.update(Group(*render(reader.read())), refresh=True)
    else:
        _follow(console, reader)


def _follow(console: Console, reader: Reader) -> None:
    """A log file gets a line whenever the counts change."""
    before = ""
    while True:
        line = _counts(reader.read().standing)
        if line != before:
            console.print(line, soft_wrap=True, highlight=False)
        before = line
        time.sleep(WATCH_SECONDS)


def to_json(status: Status) -> dict[str, Any]:
    """Everything, as plain data."""
    return to_plain(status.standing) | {
        "points": {part: dict(states) for part, states in status.points.items()},
        "disk_bytes": asdict(status.disk),
    }


def render(status: Status) -> list[RenderableType]:
    """The tables and lines of a run, from the most urgent to the least."""
    standing = status.standing
    lines: list[RenderableType] = [Text(standing.question or standing.path, style="bold"), _head(standing)]
    running = [trial for trial in standing.trials if trial.state == "running" and not trial.dead]
    dead = [trial for trial in standing.trials if trial.dead]
    if running:
        lines.append(_running(running))
    if dead:
        lines += [Text(_obituary(trial), style="red") for trial in dead]
    if standing.resume and not standing.driver and not running and (dead or standing.waiting or standing.count("stopped")):
        lines.append(Text(f"Nobody is at work on it. To go on, where it was started: {standing.resume}"))
    lines += _failures(standing.trials)
    if best := standing.best(BEST):
        lines.append(_best(best, standing.metric))
    lines.append(_parts(status))
    disk = status.disk
    lines.append(
        Text(
            f"Disk: {describe_bytes(disk.total)}, of which checkpoints {describe_bytes(disk.students)} (optimizer state "
            f"{describe_bytes(disk.optimizers)}), Tune's folder {describe_bytes(disk.ray)}"
        )
    )
    for problem in standing.problems[:NAMED]:
        lines.append(Text(f"Unreadable: {problem}", style="yellow"))
    if len(standing.problems) > NAMED:
        lines.append(Text(f"Unreadable: {len(standing.problems) - NAMED} more", style="yellow"))
    return lines


def _counts(standing: RunStanding) -> str:
    states = ("finished", "running", "stopped", "failed", "pruned", "pending", "unreadable")
    dead = sum(trial.dead for trial in standing.trials)
    counts = {state: standing.count(state) for state in states}
    counts |= {"running": counts["running"] - dead, "dead": dead}
    shown = [f"{count} {state}" for state, count in counts.items() if count or state == "finished"]
    waiting = [f"{standing.waiting} waiting"] if standing.waiting > 0 else []
    return f"{standing.total} trials: {', '.join([*shown, *waiting])}"


def _head(standing: RunStanding) -> Text:
    left = f"; about {minutes(standing.seconds_left)} left" if standing.seconds_left is not None else ""
    driver = {True: "a driver is at work", False: "no driver", None: "whether a driver is at work, this file system cannot tell"}
    cost = [sum(getattr(trial, name) for trial in standing.trials) for name in ("cpu_seconds", "gpu_seconds")]
    spent = f"; {cost[0] / 3600:.2f} CPU hours" + (f", {cost[1] / 3600:.2f} GPU hours" if cost[1] else "")
    return Text(f"{standing.path}\n{_counts(standing)}; {driver[standing.driver]}{left}{spent}")


def _running(trials: Sequence[TrialStanding]) -> Table:
    table = Table("trial", "what", "step", "loss", "metric", "left", "resources", "heard of", title="Running", title_justify="left")
    for trial in trials:
        table.add_row(
            trial.trial_id,
            f"{trial.part}: {trial.label}",
            f"{trial.step}/{trial.max_steps}",
            _number(trial.loss),
            _number(trial.objective),
            minutes(trial.seconds_left),
            describe_resources(trial.resources),
            f"{minutes(trial.silent_seconds)} ago",
        )
    return table


def _obituary(trial: TrialStanding) -> str:
    return (
        f"Dead: {trial.trial_id} ({trial.part}: {trial.label}) says running at step {trial.step}/{trial.max_steps}, was last heard of "
        f"{minutes(trial.silent_seconds)} ago, and no process holds its lock"
    )


def _failures(trials: Sequence[TrialStanding]) -> list[RenderableType]:
    failed = [trial for trial in trials if trial.state == "failed"]
    lines: list[RenderableType] = [
        Text(f"Failed: {trial.trial_id} ({trial.part}: {trial.label}): {trial.error or 'no reason given'}", style="red")
        for trial in failed[:NAMED]
    ]
    return [*lines, Text(f"Failed: {len(failed) - NAMED} more", style="red")] if len(failed) > NAMED else lines


def _best(groups: Sequence[Sequence[TrialStanding]], metric: str | None) -> Table:
    title = "Best by validation so far"
    if len(groups) > 1:
        title += "; a rule parts trials that were judged on different languages, which do not compare"
    table = Table("trial", "what", metric or "metric", "time", "verdicts", title=title, title_justify="left")
    for trials in groups:
        for trial in trials:
            table.add_row(
                trial.trial_id, f"{trial.part}: {trial.label}", _number(trial.objective), minutes(trial.seconds), ", ".join(trial.verdicts)
            )
        table.add_section()
    return table


def _parts(status: Status) -> Table:
    table = Table("part", "kind", "planned", "trials", "points drawn", title="Parts", title_justify="left")
    for part in status.standing.parts:
        trials = ", ".join(f"{count} {state}" for state, count in sorted(part.states.items()))
        points = ", ".join(f"{count} {state}" for state, count in sorted(status.points.get(part.name, {}).items()))
        table.add_row(part.name, part.kind, str(part.planned), trials, points)
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
