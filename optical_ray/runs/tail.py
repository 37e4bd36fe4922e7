"""The end of a metrics.jsonl: what a trial said last, read in the same time whatever the file's length."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

TAIL_BYTES = 16384
"""Several reports."""


def last_values(metrics: Path, names: Collection[str]) -> dict[str, float | None]:
    """The last value of some metrics, by name; without those that are not in the file's end. None: the number was not finite.

    A line that is being written, or that is damaged, is passed over.
    """
    try:
        with metrics.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return {}
    found: dict[str, float | None] = {}
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # the cut at the front, or a line that is being written
            continue
        if isinstance(row, dict) and row.get("name") in names and row["name"] not in found:
            value = row.get("value")
            found[row["name"]] = float(value) if isinstance(value, int | float) else None
        if len(found) == len(names):
            break
    return found
