"""report.md: the report as a paper's appendix would have it. Figures by file, tables as text."""

from __future__ import annotations

import re
from collections.abc import Iterable

from optical_ray.analysis.page import Cell, PageView, TableView

MOST_ROWS = 60
"""Of a table; the CSV beside it has all."""
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~$&])")


def to_markdown(page: PageView) -> str:
    """The page in Markdown (GitHub's, which pandoc reads). What is the user's is escaped."""
    blocks = [f"# {escape(page.question)}", f"optical_ray sweep {escape(page.name)}, {escape(page.state)}."]
    blocks += [escape(sentence) for sentence in page.answer]
    blocks += ["## What was expected", escape(page.expectation)]
    if "predictions" in page.tables:
        blocks += _table(page.tables["predictions"])
    if page.caveats:
        blocks += ["## What is missing or doubtful", _list(page.caveats)]
    shown = {"predictions"}
    for name, figure in page.figures.items():
        blocks.append(f"## {escape(figure.title)}")
        blocks += [f"![{escape(panel.alt)}]({panel.name}.png)" for panel in figure.panels]
        blocks.append(escape(figure.caption))
        if name in page.tables:
            blocks += _table(page.tables[name])
            shown.add(name)
    for name, table in page.tables.items():
        if name not in shown:
            blocks += [f"## {escape(name.capitalize())}", *_table(table)]
    blocks += ["## Methods", _list(page.methods)]
    blocks += ["## Provenance", _list(f"{name}: {value}" for name, value in page.provenance)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def escape(text: str) -> str:
    """Characters that mean something to Markdown or HTML stand for themselves; a line stays one."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def _table(table: TableView) -> list[str]:
    rows = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.shown[:MOST_ROWS]]
    head = f"| {' | '.join(escape(column) for column in table.columns)} |"
    left = len(table.rows) - len(rows)
    more = [f"{left} further rows are in [{table.name}.csv]({table.name}.csv)."] if left > 0 else []
    return ["\n".join([head, "|---" * len(table.columns) + "|", *rows]), *more, escape(table.caption)]


def _cell(cell: Cell) -> str:
    return escape(" ".join([cell.text, *cell.small]))
