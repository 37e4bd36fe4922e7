"""Build: seconds and memory beside Hugging Face `datasets`. Stream: pairs a second beside plain pyarrow and beside a student's training.

python -m benchmarks.data [--rows N] [--repeats N] [--sections build memory stream] [--out DIR]
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.data.contender import CONTENDERS, OURS
from benchmarks.data.generate import generate
from benchmarks.data.memory import run_measured
from benchmarks.data.stream import measure_stream
from benchmarks.sinkhorn.rows import describe_machine

ROOT = Path(__file__).parents[2]
SECTIONS = ("build", "memory", "stream")
MB = 1e6


def main() -> None:
    """Everything, in turn; contenders of one repeat run one after the other, in rotating order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="pairs of the large corpus; the small one of `memory` has a tenth")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--work", type=Path, default=None, help="where corpora are generated (default: a temporary folder)")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    work = options.work or Path(tempfile.mkdtemp(prefix="bench-data-"))
    try:
        if "build" in options.sections or "memory" in options.sections:
            rows += _builds(options, work)
        if "stream" in options.sections:
            rows += measure_stream(work / "stream", options.repeats)
    finally:
        if options.work is None:
            shutil.rmtree(work, ignore_errors=True)
    _write(options.out, rows)
    _print(rows)


def _builds(options: argparse.Namespace, work: Path) -> list[dict[str, Any]]:
    sizes = [options.rows] if "build" in options.sections else []
    if "memory" in options.sections:
        sizes = sorted({*sizes, options.rows, options.rows // 10})
    rows = []
    for size in sizes:
        source = work / f"source-{size}"
        if not source.is_dir():
            _say(f"generating {size:,} pairs")
            generate(source, size)
        for repeat in range(options.repeats):
            shift = repeat % len(options.contenders)
            for name in [*options.contenders[shift:], *options.contenders[:shift]]:
                out = work / "out"
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir(parents=True)
                _say(f"{size:,} pairs, repeat {repeat + 1}/{options.repeats}: {name}")
                done = run_measured([sys.executable, "-m", "benchmarks.data.contender", name, str(source), str(out)], ROOT)
                told = json.loads(done.output.splitlines()[-1])
                rows.append(
                    {
                        "section": "build",
                        "pairs": size,
                        "contender": name,
                        "repeat": repeat,
                        "start_seconds": round(told["ready"] - done.started, 2),
                        "seconds": round(told["done"] - told["ready"], 2),
                        "kept": told["kept"],
                        "peak_mb": round(done.peak_bytes / MB),
                    }
                )
                shutil.rmtree(out, ignore_errors=True)
    return rows


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with (out / "data.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, names)
        writer.writeheader()
        writer.writerows(rows)
    versions = {name: importlib.metadata.version(name) for name in ("pyarrow", "ray", "numpy", "numba") if name}
    facts = {"machine": describe_machine(), "command": " ".join(["python -m benchmarks.data", *sys.argv[1:]]), "versions": versions}
    (out / "data.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _print(rows: list[dict[str, Any]]) -> None:
    builds = [row for row in rows if row["section"] == "build"]
    if builds:
        print("\n| pairs | contender | start-up s | build s | ratio to ours | kept | peak MB |\n|---|---|---|---|---|---|---|")
    for size in sorted({row["pairs"] for row in builds}):
        of = {name: [row for row in builds if row["pairs"] == size and row["contender"] == name] for name in CONTENDERS}
        for name, found in of.items():
            if found:
                ratio = [a["seconds"] / b["seconds"] for a, b in zip(found, of[OURS], strict=False)]
                values = [f"{statistics.median(row[column] for row in found):g}" for column in ("start_seconds", "seconds")]
                shown = f"{statistics.median(ratio):.2f}" if ratio else ""
                print(
                    f"| {size:,} | {name} | {' | '.join(values)} | {shown} | {found[0]['kept']:,} | "
                    f"{statistics.median(row['peak_mb'] for row in found):,.0f} |"
                )
    _print_steady(builds)
    streams = [row for row in rows if row["section"] == "stream"]
    if streams:
        print("\n| reader | first batch s | pairs/s | ratio |\n|---|---|---|---|")
        for row in streams:
            print(f"| {row['contender']} | {row['start_seconds']} | {row['pairs_per_second']:,} | {row['ratio']} |")


def _print_steady(builds: list[dict[str, Any]]) -> None:
    """What a further million pairs costs, and how much more memory they take: both sizes of one repeat beside each other."""
    sizes = sorted({row["pairs"] for row in builds})
    if len(sizes) != 2:
        return
    millions = (sizes[1] - sizes[0]) / 1e6
    found = {(row["contender"], row["repeat"], row["pairs"]): row for row in builds}
    repeats = sorted({row["repeat"] for row in builds})
    contenders = [name for name in CONTENDERS if any(row["contender"] == name for row in builds)]
    seconds = {
        name: [(found[name, repeat, sizes[1]]["seconds"] - found[name, repeat, sizes[0]]["seconds"]) / millions for repeat in repeats]
        for name in contenders
    }
    print(f"\n| contender | s per further million pairs | ratio to ours | peak memory {sizes[1]:,} / {sizes[0]:,} |\n|---|---|---|---|")
    for name in contenders:
        peaks = [found[name, repeat, sizes[1]]["peak_mb"] / found[name, repeat, sizes[0]]["peak_mb"] for repeat in repeats]
        ratio = [own / ours for own, ours in zip(seconds[name], seconds.get(OURS, []), strict=False)]
        shown = f"{statistics.median(ratio):.2f}" if ratio else ""
        print(f"| {name} | {statistics.median(seconds[name]):.1f} | {shown} | {statistics.median(peaks):.2f} |")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
