"""optical compare A B [...]"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from optical_ray.analysis.entries import Entry, open_entries
from optical_ray.analysis.phrases import number, plural
from optical_ray.analysis.report import escape_csv
from optical_ray.analysis.seeds import FEW_SEEDS
from optical_ray.analysis.versus import SeedRow, Versus, VersusRow, compare_entries
from optical_ray.cli.progress import make_console
from optical_ray.errors import ConfigError
from optical_ray.retrieval.intervals import Interval, QueryBootstrap
from optical_ray.retrieval.values import main_measure

COLUMNS = (
    "first", "second", "task", "measure", "language", "languages", "queries", "sentences", "dropped",
    "first_mean", "first_low", "first_high", "second_mean", "second_low", "second_high", "difference", "low", "high",
    "p_bootstrap", "p_bootstrap_holm", "p_randomisation", "p_randomisation_holm", "randomisation_exact", "over",
)  # fmt: skip
"""Of the CSV. `over`: queries (the bootstrap over relevant sentences) or seeds (Student's t; null bounds under five)."""


def compare(options: argparse.Namespace) -> None:
    """Tables on the terminal, everything in the CSV."""
    if options.resamples < 100:
        raise ConfigError(f"--resamples {options.resamples}: expected at least 100; p-values are no finer than 2 / resamples")
    entries = open_entries(options.arguments, options.split, options.scorer)
    bootstrap = QueryBootstrap(options.resamples, seed=options.seed)
    versus = compare_entries(entries, options.task or (), options.measure or (), options.common, bootstrap)
    console = make_console(120)
    print_versus(console, entries, versus, bootstrap)
    if options.out is not None:
        write_csv(options.out, versus)
        console.print(f"Written: {options.out}", soft_wrap=True)


def print_versus(console: Console, entries: Iterable[Entry], versus: Versus, bootstrap: QueryBootstrap) -> None:
    """One table for each pair of entries, task and measure shown; then seeds; then what must be known."""
    scorers = {entry.label: entry.scorer for entry in entries}
    tables: dict[tuple[str, str, str, str], list[VersusRow]] = {}
    for row in versus.rows:
        if row.measure in _shown(versus, row.task):
            tables.setdefault((row.first, row.second, row.task, row.measure), []).append(row)
    for (first, second, task, measure), rows in tables.items():
        console.print(f"{task}, {measure}: A = {first} ({scorers[first]}), B = {second} ({scorers[second]})", style="bold", soft_wrap=True)
        console.print(_table(rows))
        console.print()
    for seeds in versus.seeds:
        if seeds.measure in _shown(versus, seeds.task):
            console.print(_seed_line(seeds), soft_wrap=True, highlight=False)
    for note in versus.notes:
        console.print(f"Note: {note}", soft_wrap=True, style="yellow")
    console.print(_explain(versus, bootstrap), style="dim", highlight=False)


def write_csv(path: Path, versus: Versus) -> None:
    """Every row and measure, then the seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for values in [*map(_query_values, versus.rows), *(values for row in versus.seeds for values in _seed_values(row))]:
            writer.writerow([escape_csv(value) for value in values])


def _query_values(row: VersusRow) -> list[Any]:
    test = row.test
    means = [value for interval in (test.first, test.second, test.difference) for value in (interval.estimate, interval.low, interval.high)]
    return [
        row.first, row.second, row.task, row.measure, _language(row), " ".join(row.languages), row.num_queries, row.num_sentences,
        row.dropped, *means, test.difference.p_value, row.p_bootstrap_holm, test.p_randomisation, row.p_randomisation_holm, test.exact,
        "queries",
    ]  # fmt: skip


def _seed_values(row: SeedRow) -> list[list[Any]]:
    """One line for each seed, and one for their mean; a single system stands in the columns of `first`, a difference in its own."""

    def line(over: str, mean: float, low: float | None, high: float | None) -> list[Any]:
        values = [mean, low, high]
        nothing = [None] * 3
        placed = [*values, *nothing, *nothing] if row.second is None else [*nothing, *nothing, *values]
        return [row.first, row.second, row.task, row.measure, "mean", None, None, None, None, *placed, *[None] * 5, over]

    mean = sum(row.means) / len(row.means)
    bounds = (row.interval.low, row.interval.high) if row.interval else (None, None)
    return [*(line(seed, value, None, None) for seed, value in zip(row.seeds, row.means, strict=True)), line("seeds", mean, *bounds)]


def _shown(versus: Versus, task: str) -> tuple[str, ...]:
    return versus.asked or (main_measure(task),)


def _table(rows: Iterable[VersusRow]) -> RenderableType:
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("language", "queries", "A", "B", "A - B", "p boot.", "p rand.", ""):
        table.add_column(name, justify="left" if name == "language" else "right", no_wrap=True)
    for row in rows:
        test = row.test
        shown = max(row.p_bootstrap_holm, row.p_randomisation_holm) <= 0.05
        cells = [_language(row), f"{row.num_queries:,}", _bracket(test.first), _bracket(test.second), _signed(test.difference)]
        cells += [_p(row.p_bootstrap_holm), _p(row.p_randomisation_holm), "*" if shown else ""]
        table.add_row(*map(escape, cells), style="bold" if row.is_mean and shown else None if shown else "dim", end_section=False)
    return table


def _language(row: VersusRow) -> str:
    return f"mean ({len(row.languages)})" if row.is_mean and len(row.languages) > 1 else row.languages[0]


def _seed_line(row: SeedRow) -> str:
    what = row.first if row.second is None else f"{row.first} minus {row.second}"
    points = ", ".join(f"{value:+.3f}" if row.second else number(value) for value in row.means)
    mean = sum(row.means) / len(row.means)
    bounds = f", mean {mean:.3f} [{row.interval.low:.3f}, {row.interval.high:.3f}] over seeds" if row.interval else f", mean {mean:.3f}"
    few = "" if row.interval else f" (under {FEW_SEEDS} seeds: no interval)"
    return f"Seeds, {row.task}, {row.measure}: {what}: {points}{bounds}{few}"


def _explain(versus: Versus, bootstrap: QueryBootstrap) -> str:
    means = len({(row.first, row.second, row.task) for row in versus.rows})
    languages = len({(row.second, row.task, row.languages) for row in versus.rows if not row.is_mean})
    apart = f" and, apart, over {plural(languages, 'language')}" if languages else ""
    return (
        f"{bootstrap.confidence:.0%} percentile bootstrap intervals over what queries ask for ({bootstrap.resamples:,} resamples, seed "
        f"{bootstrap.seed}); ties count against a system. p: paired bootstrap and paired randomisation, two-sided, after Holm's correction "
        f"over {plural(means, 'mean')}{apart}. *: both at most 0.05. Languages count alike in a mean. Another training seed is not "
        "in these intervals."
    )


def _bracket(interval: Interval) -> str:
    return f"{interval.estimate:.3f} [{interval.low:.3f} {interval.high:.3f}]"


def _signed(interval: Interval) -> str:
    return f"{interval.estimate:+.3f} [{interval.low:+.3f} {interval.high:+.3f}]"


def _p(value: float) -> str:
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
