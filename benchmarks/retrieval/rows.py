"""What was measured, as rows: CSV for machines, Markdown for people."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tables import group_tables, quartiles, to_csv


@dataclass(frozen=True, slots=True)
class Row:
    """One contender of one group. None: not measured. Seconds are of a block: median and quartiles over interleaved blocks."""

    section: str
    group: str
    contender: str
    does: str
    threads: int
    seconds: float | None = None
    seconds_q1: float | None = None
    seconds_q3: float | None = None
    per_second: float | None = None
    """Pairs of a query and a passage; texts that are encoded; of a median block."""
    time_over_first: float | None = None
    """Its time over that of the group's first, which is ours, block by block; above 1, ours is faster."""
    memory_mb: float | None = None
    """Peak beyond what the process held when its inputs were read (`maxsim`), of all of the process (`stream`)."""
    padded_tokens: float | None = None
    """Over tokens without padding."""
    disk_mb: float | None = None
    difference: float | None = None
    """Largest difference of a score from ours."""
    load: float | None = None
    """Load average before the group."""
    note: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))
Blocks = Sequence[Mapping[str, float]]


def summarise(row: Row, own: Blocks, first: Blocks, told: Mapping[str, Any], note: str | None) -> Row:
    """The row with what blocks say.

    Args:
        row: What was to be measured.
        own: Its blocks.
        first: Those of the group's first contender.
        told: What the contender said at its start.
        note: Why there is nothing (more) of it.
    """
    said = ", ".join(str(told[name]) for name in ("chunk", "versions") if name in told)
    if note is not None or not own:
        return dataclasses.replace(row, note=note or said)
    low, middle, high = quartiles([block["seconds"] for block in own])
    ratio = None
    if len(first) == len(own):
        ratio = statistics.median(block["seconds"] / other["seconds"] for block, other in zip(own, first, strict=True))
    return dataclasses.replace(
        row,
        seconds=middle,
        seconds_q1=low,
        seconds_q3=high,
        per_second=own[0]["pairs"] / middle,
        time_over_first=ratio,
        memory_mb=max((block["over_inputs_mb"] for block in own if "over_inputs_mb" in block), default=None),
        padded_tokens=own[0]["padded_tokens"] / own[0]["tokens"] if own[0].get("tokens") else None,
        note=said,
    )


SHOWN = {
    "maxsim": ("contender", "threads", "seconds", "per_second", "time_over_first", "memory_mb", "difference", "note"),
    "encode": ("contender", "threads", "seconds", "per_second", "time_over_first", "padded_tokens", "note"),
    "stream": ("contender", "threads", "seconds", "per_second", "memory_mb", "disk_mb", "note"),
    "real": ("contender", "threads", "seconds", "per_second", "disk_mb", "note"),
}


def show(rows: Sequence[Row]) -> str:
    """Markdown tables, one for each group."""
    return group_tables(rows, lambda section: SHOWN.get(section, ("contender", "threads", "seconds", "note")))


@dataclass(slots=True)
class Results:
    """All sections that were measured, in one run or several."""

    lines: dict[str, list[str]]
    """Of the CSV file, by section."""
    about: dict[str, Any]
    """By section: when, on what, with what settings, and every block. No path of the machine."""

    @classmethod
    def read(cls, folder: Path) -> Results:
        """What earlier runs left there."""
        table, facts = folder / "retrieval.csv", folder / "retrieval.json"
        found = cls({}, {})
        if table.is_file() and facts.is_file():
            found.about = json.loads(facts.read_text(encoding="utf-8"))
            for line in table.read_text(encoding="utf-8").splitlines()[1:]:
                found.lines.setdefault(line.partition(",")[0], []).append(line)
        return found

    def put(self, section: str, rows: Sequence[Row], about: dict[str, Any]) -> None:
        """A section, in the place of what it held before."""
        self.lines[section] = to_csv(rows, COLUMNS).splitlines()[1:]
        self.about[section] = about

    def write(self, folder: Path) -> None:
        """`retrieval.csv`, a row per contender; `retrieval.json`, all else."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = [",".join(COLUMNS), *(line for section in self.lines.values() for line in section)]
        (folder / "retrieval.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "retrieval.json").write_text(json.dumps(self.about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
