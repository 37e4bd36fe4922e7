"""Seconds and memory of a whole report as runs grow, beside what reading the same rows into pandas takes.

python -m benchmarks.report [--repeats N] [--quick] [--out DIR]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.report.contender import CONTENDERS
from benchmarks.report.generate import generate
from benchmarks.sinkhorn.rows import describe_machine

ROOT = Path(__file__).parents[2]
SHAPES = ((24, 64), (100, 64), (1_000, 16), (10_000, 16), (100, 1_600))
"""(trials, queries of a language): a sweep of a day, one where intervals are still resampled, and twice five million rows."""
QUICK = ((24, 4),)
COLUMNS = (
    "trials", "rows", "contender", "repeat", "seconds", "peak_mb", "page_mb", "import_seconds", "load_seconds", "analyse_seconds",
    "write_seconds",
)  # fmt: skip


def main() -> None:
    """One run folder after the other; contenders in rotating order."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="tiny: that it works, not what it costs")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    about = {"measured_at": time.strftime("%Y-%m-%d %H:%M"), "machine": describe_machine(), "load": os.getloadavg()[0]}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="optical-benchmark-report-") as name:
        for trials, queries in QUICK if given.quick else SHAPES:
            run = Path(name) / f"generated-{trials}-{queries}"
            say(f"writing {trials:,} trials of {queries} queries a language")
            generate(run, trials, queries)
            for repeat in range(1 if given.quick else given.repeats):
                contenders = list(CONTENDERS)
                for contender in contenders[repeat % 2 :] + contenders[: repeat % 2]:
                    say(f"{trials:,} trials, repeat {repeat + 1}: {contender}")
                    rows.append({"trials": trials, "contender": contender, "repeat": repeat} | measure(contender, run, Path(name) / "out"))
            for line in describe(rows, trials):
                print(line, flush=True)
    write(given.out, about, rows)


def measure(contender: str, run: Path, out: Path) -> dict[str, Any]:
    """In a process of its own, on two threads."""
    command = [sys.executable, "-m", "benchmarks.report.contender", contender, str(run), str(out)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def describe(rows: list[dict[str, Any]], trials: int) -> list[str]:
    """A line for each contender on the runs of so many trials: medians, and the ratio to pandas."""
    lines = []
    own = [row for row in rows if row["trials"] == trials]
    seconds = {name: statistics.median(row["seconds"] for row in own if row["contender"] == name) for name in CONTENDERS}
    for name, median in seconds.items():
        mine = [row for row in own if row["contender"] == name]
        peak = max(row["peak_mb"] for row in mine)
        page = f", a page of {mine[0]['page_mb']:.1f} MB" if "page_mb" in mine[0] else ""
        lines.append(
            f"{trials:,} trials, {own[0]['rows']:,} rows: {name} {median:.1f} s ({median / seconds['pandas']:.1f} times pandas), "
            f"peak {peak:,.0f} MB{page}"
        )
    return lines


def write(out: Path, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """report.csv, a row per process; report.json, all else."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "report.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows)
    (out / "report.json").write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n", encoding="utf-8")


def say(line: str) -> None:
    print(time.strftime("[%H:%M:%S] ") + line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
