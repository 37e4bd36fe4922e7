"""Proportional set size of a process and everything it started, sampled while it runs: shared pages (Ray's object store too) count once."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Finished:
    """What a child printed, when it was started, and the most memory its tree held."""

    output: str
    started: float
    peak_bytes: int


def run_measured(command: Sequence[str], cwd: Path) -> Finished:
    """Run a command to its end.

    Raises:
        RuntimeError: it failed; the message is the end of what it said.
    """
    started = time.time()
    child = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            peak[0] = max(peak[0], sum(map(_proportional_bytes, _tree(child.pid))))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    output, errors = child.communicate()
    stop.set()
    watcher.join()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit {child.returncode}: {errors[-2000:]}")
    return Finished(output, started, peak[0])


def _tree(root: int) -> list[int]:
    """A process and its descendants, by /proc."""
    parent_of: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        parent_of[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = {root}
    while more := {process for process, parent in parent_of.items() if parent in found} - found:
        found |= more
    return sorted(found)


def _proportional_bytes(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
