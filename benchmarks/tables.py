"""How benchmarks write down what they measured: quartiles, CSV for machines, Markdown for people. Rows are dataclasses of any kind."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile; all the same for a single value."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def to_csv(rows: Iterable[Any], columns: Sequence[str]) -> str:
    """Four significant digits: more would be noise, and would make every rerun differ."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (getattr(row, name) for name in columns)
        writer.writerow("" if value is None else f"{value:.4g}" if isinstance(value, float) else value for value in values)
    return text.getvalue()


def table(rows: Iterable[Any], columns: Sequence[str]) -> str:
    """A Markdown table of some columns."""
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for row in rows:
        values = (getattr(row, name) for name in columns)
        cells = ("" if value is None else _cell(value) for value in values)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def group_tables(rows: Sequence[Any], columns: Callable[[str], Sequence[str]]) -> str:
    """Markdown tables, one for each section and group of rows, with what every contender does.

    Args:
        rows: With `section`, `group`, `contender` and `does`.
        columns: Of a section.
    """
    parts = []
    for section, group in dict.fromkeys((row.section, row.group) for row in rows):
        here = [row for row in rows if (row.section, row.group) == (section, group)]
        does = "\n".join(f"- {row.contender}: {row.does}" for row in here)
        parts.append(f"{section}, {group}\n\n{table(here, columns(section))}\n\n{does}")
    return "\n\n".join(parts)


def digits(value: float) -> str:
    """Three significant digits, never as a power of ten."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _cell(value: object) -> str:
    return (f"{value:.1e}" if 0 < abs(value) < 1e-3 else digits(value)) if isinstance(value, float) else str(value)
