"""What was measured, as rows: CSV for machines, Markdown for people."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.tables import group_tables, quartiles
from benchmarks.training.parts import PARTS

if TYPE_CHECKING:
    from benchmarks.training.sections import Group


@dataclass(frozen=True, slots=True)
class Row:
    """One contender of one group. None: not measured. Milliseconds are of a step: the median over blocks of the block's mean."""

    section: str
    group: str
    contender: str
    does: str
    threads: int
    workers: int
    pairs: int = 0
    """In all timed blocks."""
    padded_tokens_per_pair: float | None = None
    """What the student's encoder reads of both sides, padding included."""
    tokens_per_pair: float | None = None
    pairs_per_second: float | None = None
    tokens_per_second: float | None = None
    """Without padding."""
    step_ms: float | None = None
    step_q1_ms: float | None = None
    step_q3_ms: float | None = None
    optimiser_ms: float | None = None
    """Clipping, AdamW, dropping the gradients; a part of the step."""
    time_over_first: float | None = None
    """Its time for a pair over that of the group's first, which is ours but in `cache, theirs`: above 1, the first is faster."""
    rest_over_first: float | None = None
    """The same without the optimiser: reading, forward, loss, backward, and our bookkeeping."""
    data_ms: float | None = None
    encoder_ms: float | None = None
    """Forward and backward."""
    loss_ms: float | None = None
    bookkeeping_ms: float | None = None
    share_percent: float | None = None
    """Data, loss and bookkeeping over the encoder's forward and backward; median over blocks."""
    start_seconds: float | None = None
    """From the start of the process to its first step."""
    note: str = ""


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))
Blocks = Sequence[Mapping[str, float]]


def summarise(group: Group, facts: Mapping[str, Mapping[str, Any]], notes: Mapping[str, str], blocks: Mapping[str, Blocks]) -> list[Row]:
    """A row for each contender of a group.

    Args:
        facts: What each said at its start.
        notes: Why there is nothing (more) of some.
        blocks: What each said of its blocks.
    """
    first = blocks[group.contenders[0].name]
    rows = []
    for contender in group.contenders:
        row = Row(group.section, group.name, contender.name, contender.does, contender.threads, contender.workers)
        told, own = facts.get(contender.name, {}), blocks[contender.name]
        note = notes.get(contender.name, told.get("versions", ""))
        if contender.name in notes or not own:
            rows.append(dataclasses.replace(row, note=note))
            continue
        of_step = [1000 * block["seconds"] / group.steps for block in own]
        low, middle, high = quartiles(of_step)
        measured: dict[str, float] = {
            "pairs": int(_sum(own, "pairs")),
            "padded_tokens_per_pair": _sum(own, "padded_tokens") / _sum(own, "pairs"),
            "tokens_per_pair": _sum(own, "tokens") / _sum(own, "pairs"),
            "pairs_per_second": _sum(own, "pairs") / _sum(own, "seconds"),
            "tokens_per_second": _sum(own, "tokens") / _sum(own, "seconds"),
            "step_ms": middle,
            "step_q1_ms": low,
            "step_q3_ms": high,
            "start_seconds": told["start_seconds"],
        }
        if len(first) == len(own):
            measured["time_over_first"] = _ratio(own, first, group.paired, lambda block: block["seconds"])
        if all("optimiser_seconds" in block for block in own):
            measured["optimiser_ms"] = statistics.median(1000 * block["optimiser_seconds"] / group.steps for block in own)
            if group.section == "equal" and all("optimiser_seconds" in block for block in first):
                measured["rest_over_first"] = _ratio(own, first, group.paired, lambda block: block["seconds"] - block["optimiser_seconds"])
        if group.section == "share":
            measured |= _parts(own, group.steps)
        rows.append(dataclasses.replace(row, note=note, **measured))  # type: ignore[arg-type]
    return rows


def _parts(blocks: Blocks, steps: int) -> dict[str, float]:
    parts = {f"{part}_ms": statistics.median(1000 * block[f"{part}_seconds"] / steps for block in blocks) for part in PARTS}
    bookkeeping = [block["seconds"] - sum(block[f"{part}_seconds"] for part in PARTS) for block in blocks]
    besides = [block["data_seconds"] + block["loss_seconds"] + rest for block, rest in zip(blocks, bookkeeping, strict=True)]
    share = statistics.median(100 * rest / block["encoder_seconds"] for block, rest in zip(blocks, besides, strict=True))
    return parts | {"bookkeeping_ms": statistics.median(1000 * rest / steps for rest in bookkeeping), "share_percent": share}


def _sum(blocks: Blocks, name: str) -> float:
    return sum(block[name] for block in blocks)


def _ratio(own: Blocks, first: Blocks, paired: bool, seconds: Any) -> float:
    if paired:
        return statistics.median(
            (seconds(one) / one["pairs"]) / (seconds(other) / other["pairs"]) for one, other in zip(own, first, strict=True)
        )
    of_pair = [sum(map(seconds, blocks)) / _sum(blocks, "pairs") for blocks in (own, first)]
    return of_pair[0] / of_pair[1]


SHOWN = ("contender", "threads", "pairs_per_second", "tokens_per_second", "padded_tokens_per_pair", "tokens_per_pair", "step_ms")
SHOWN_BY_SECTION = {
    "equal": (*SHOWN, "optimiser_ms", "time_over_first", "rest_over_first", "note"),
    "share": ("contender", "threads", "step_ms", "encoder_ms", "data_ms", "loss_ms", "bookkeeping_ms", "share_percent", "optimiser_ms"),
}


def show(rows: Sequence[Row]) -> str:
    """Markdown tables, one for each group."""
    return group_tables(rows, lambda section: SHOWN_BY_SECTION.get(section, (*SHOWN, "time_over_first", "start_seconds", "note")))
