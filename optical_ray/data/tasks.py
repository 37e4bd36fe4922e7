"""Work in pure tasks on plain data: what maps them, and how one that was done before a crash is not done again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from optical_ray.artifacts import explain_full_disk, write_json

MapTasks = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
"""Applies a function to every task, anywhere and in any order; `map` itself is one, `orchestration.data_job.map_tasks` another."""


def do_once(summary: Path, task: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a task found out; read back where an earlier build has done it already."""
    try:
        done: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
        return done
    except (FileNotFoundError, ValueError):  # not JSON: the machine went down while it was written
        result = task()
        summary.parent.mkdir(parents=True, exist_ok=True)
        with explain_full_disk(summary.parent):
            write_json(summary, result)
        return result
