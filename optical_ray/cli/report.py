"""optical report RUN"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.console import Console

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.answer import answer, count_trials
from optical_ray.analysis.load import load_run
from optical_ray.analysis.pareto import describe_fronts
from optical_ray.analysis.report import write_report
from optical_ray.analysis.table import render_table
from optical_ray.cli.progress import make_console
from optical_ray.errors import ConfigError
from optical_ray.runs.folder import RunFolder


def report(options: argparse.Namespace) -> None:
    """Table on the terminal, page and figures in the folder; of several runs, each in a folder of its name."""
    if options.watch is not None and not options.watch > 0:
        raise ConfigError(f"--watch {options.watch:g}: expected seconds, more than 0")
    if len(options.folders) > 1 and (options.out is None or options.watch is not None or options.compare is not None):
        raise ConfigError("several runs: expected --out DIR, and neither --watch nor --compare")
    names = [folder.resolve().name for folder in options.folders]
    if again := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{', '.join(again)}: named twice, or two runs of one name, whose reports would take each other's place")
    if options.watch is not None:
        _watch(options)
        return
    for folder in options.folders:
        out = options.out / folder.resolve().name if len(options.folders) > 1 else options.out
        print_report(folder, out, options.baseline, options.compare)


def print_report(run: Path, out: Path | None = None, baseline: str | None = None, other: Path | None = None) -> Path:
    """Print the run's table, write its report, return the page."""
    console = make_console()
    loaded = load_run(run)
    analysis = analyse(loaded, baseline=baseline, other=None if other is None else load_run(other))
    console.print(render_table(analysis))
    for line in describe_fronts(loaded):
        console.print(line, soft_wrap=True, highlight=False)
    page = write_report(analysis, out)
    console.print(f"Report: {page}", soft_wrap=True)
    return page


def _watch(options: argparse.Namespace) -> None:
    """Write the report anew whenever the run has changed, until every trial has an end; an open page loads itself again."""
    console, run, seen = make_console(), options.folders[0], None
    while True:
        found = _last_change(run)
        if found != seen:
            seen = found
            if _write_watched(console, run, options):
                return
        time.sleep(options.watch)


def _write_watched(console: Console, run: Path, options: argparse.Namespace) -> bool:
    """Write it once; True when nothing more will come."""
    loaded = load_run(run)
    ended = bool(loaded.trials) and all(trial.state in ("finished", "failed", "pruned") for trial in loaded.trials)
    analysis = analyse(loaded, baseline=options.baseline, other=None if options.compare is None else load_run(options.compare))
    finished, planned = count_trials(analysis)
    over = ended and len(loaded.trials) >= planned
    page = write_report(analysis, options.out, None if over else options.watch)
    console.print(f"{time.strftime('%H:%M:%S')} {finished} of {planned} trials finished; {answer(analysis)[0]} {page}", soft_wrap=True)
    return over


def _last_change(run: Path) -> float:
    """Of what the report is made of."""
    names = ("status.json", "metrics.jsonl", "queries.parquet", "plan.json")
    files = [trial.path / name for trial in RunFolder(run).trials() for name in names]
    return max((file.stat().st_mtime for file in [run / "sweep.json", *files] if file.is_file()), default=0.0)
