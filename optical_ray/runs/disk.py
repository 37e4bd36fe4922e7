"""How many bytes lie where, and how that is said."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from optical_ray.runs.folder import OPTIMIZER, RunFolder


@dataclass(frozen=True, slots=True)
class RunBytes:
    """Disk that a run takes."""

    students: int
    """Checkpoints of all trials, optimizer state included."""
    optimizers: int
    """Of which optimizer state: what a trial needs to go on."""
    ray: int
    """Tune's own folder."""
    total: int


def tree_bytes(path: Path, name: str | None = None) -> int:
    """Bytes of the files below a folder, or of the file itself; of those with one name, if it is given. What vanishes meanwhile is 0."""
    try:
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size if name in (None, path.name) else 0
        with os.scandir(path) as entries:
            found = list(entries)
    except OSError:
        return 0
    total = 0
    for entry in found:
        try:
            if entry.is_dir(follow_symlinks=False):
                total += tree_bytes(Path(entry.path), name)
            elif name in (None, entry.name):
                total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total


def measure_run(run: RunFolder) -> RunBytes:
    """Disk that the run takes now."""
    folders = [path / "checkpoint" for path in (run.path / "trials").glob("*")]
    students = sum(tree_bytes(folder) for folder in folders if folder.is_dir())
    optimizers = sum(tree_bytes(folder, OPTIMIZER) for folder in folders if folder.is_dir())
    return RunBytes(students, optimizers, tree_bytes(run.ray) if run.ray.is_dir() else 0, tree_bytes(run.path))


def describe_bytes(number: float) -> str:
    """`4.1 MB`, `38 GB`, `360 B`: powers of 1000, as disks are sold."""
    for factor, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= factor:
            return f"{number / factor:.1f} {unit}" if number < 10 * factor else f"{number / factor:,.0f} {unit}"
    return f"{number:.0f} B"
