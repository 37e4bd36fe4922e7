"""What is measured, as rows: CSV for machines, a Markdown table for people, and the machine it was measured on."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.tables import digits

PACKAGES = ("optical-ray", "torch", "numba", "numpy", "POT", "geomloss", "transformers", "triton")


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. None is "not measured here"; times of a contender that fails are not reported."""

    section: str
    problem: str
    cost: str
    epsilon: float | None
    contender: str
    threads: int
    median_ms: float | None = None
    q1_ms: float | None = None
    q3_ms: float | None = None
    repeats: int = 0
    ratio_to_ours: float | None = None
    """Median over repeats of its time over ours (`cpu` backend) in the same repeat, at the same number of threads."""
    worst_violation: float | None = None
    """L1 probability mass, rows plus columns, worst pair, by float64 sums of the returned plan."""
    peak_matrices: float | None = None
    """Peak memory beyond inputs and outputs over the size of one float32 cost matrix of the whole batch."""
    share_percent: float | None = None
    """Time over that of the encoder's forward and backward in the same repeat, median over repeats."""
    note: str = ""

    @property
    def failed(self) -> bool:
        return self.note.startswith("fails")


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


def speed_tables(rows: Sequence[Row]) -> str:
    """One Markdown table per problem, cost and number of threads: median time and ratio by epsilon."""
    parts = []
    for problem, cost, threads in dict.fromkeys((row.problem, row.cost, row.threads) for row in rows):
        here = [row for row in rows if (row.problem, row.cost, row.threads) == (problem, cost, threads)]
        epsilons = list(dict.fromkeys(row.epsilon for row in here))
        lines = [f"| {problem}, {cost}, {threads} thread{'s' * (threads > 1)} | " + " | ".join(f"eps {eps:g}" for eps in epsilons) + " |"]
        lines.append("|---" * (len(epsilons) + 1) + "|")
        for contender in dict.fromkeys(row.contender for row in here):
            cells = {row.epsilon: _speed_cell(row) for row in here if row.contender == contender}
            lines.append(f"| {contender} | " + " | ".join(cells.get(epsilon, "") for epsilon in epsilons) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def describe_machine() -> dict[str, object]:
    """CPU, cores, load, versions; nothing that names the host."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_model(),
        "cores": usable,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "load_average": round(os.getloadavg()[0], 2),
        "versions": versions,
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _speed_cell(row: Row) -> str:
    if row.failed:
        return "fails" if row.worst_violation is None else f"fails ({row.worst_violation:.0e})"
    if row.median_ms is None:
        return row.note
    return f"{digits(row.median_ms)} ms" + ("" if row.ratio_to_ours is None else f" ({digits(row.ratio_to_ours)}x)")
