"""What a sweep costs beside its trials, by us, Ray Tune and Optuna; starts of two workers; logical nodes; what halving saves.

python -m benchmarks.sweep [--sections overhead startup cluster halving] [--trials N] [--repeats N] [--quick] [--work DIR] [--out DIR]
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.data.generate import LANGUAGES, generate
from benchmarks.sinkhorn.rows import describe_machine
from benchmarks.sweep.contender import CONTENDERS
from benchmarks.sweep.halving import measure_halving
from benchmarks.sweep.startup import STEPS, measure_startup
from optical_ray.artifacts import Store
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.stages import prepare

ROOT = Path(__file__).parents[2]
SECTIONS = ("overhead", "startup", "cluster", "halving")
SENTENCES = 24_000
CLUSTER = {"nodes": 6, "cpus_per_node": 6, "trials": 40, "sleep_seconds": 10.0}


def main() -> None:
    """Sections in turn; contenders of one repeat one after the other, in rotating order."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=["overhead", "startup", "cluster"])
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--steps", type=int, default=300, help="of every trial")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=Path, help="kept: where the sweeps of `halving` are, to go on with (default: a temporary folder)")
    parser.add_argument("--quick", action="store_true", help="tiny: that it works, not what it costs")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args()
    if given.quick:
        given.trials, given.steps, given.repeats = 2, 4, 1
    settings = {name: getattr(given, name) for name in ("trials", "steps", "repeats", "quick")}
    kept = read_sections(given.out)
    with tempfile.TemporaryDirectory(prefix="optical-benchmark-sweep-") as name:
        for section in given.sections:
            about = {"measured_at": time.strftime("%Y-%m-%d %H:%M"), "machine": describe_machine(), "load": os.getloadavg()[0]}
            rows = measure(section, Path(name), given)
            kept[section] = about | {"settings": settings, "rows": rows}
            write(given.out, kept)
            for line in describe(rows):
                print(line)


def measure(section: str, work: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of one section."""
    if section == "overhead":
        return measure_overhead(work, given)
    if section == "startup":
        store = Store(work / "store")
        recipe = make_recipe(work, store, given.steps, given.quick)
        return measure_startup(work, recipe, store, lambda file: run_process(["benchmarks.sweep.contender", "optical_ray", str(file)]))
    if section == "cluster":
        return [measure_cluster(work, CLUSTER | ({"nodes": 2, "trials": 4, "sleep_seconds": 1.0} if given.quick else {}))]
    return measure_halving(given.work or work)


def make_recipe(work: Path, store: Store, steps: int, quick: bool) -> Recipe:
    """Generated bitext, the shipped default student; everything that trials share is built."""
    generate(work / "bitext", 4_000 if quick else SENTENCES)
    recipe = Recipe().override(
        {
            "corpus.sources": [str(work / "bitext")],
            "corpus.unknown_languages": "skip",
            "corpus.cleaning.near_duplicates": "off",
            "languages.pool": list(LANGUAGES)[:2],
            "training.max_steps": steps,
            "training.report_every": max(1, steps // 10),
            "training.validate_every": max(1, steps // 3),
            "training.checkpoint_every": max(1, steps // 3),
        }
    )
    prepare(recipe, store)
    return recipe


def measure_overhead(work: Path, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Wall time of each contender over the seconds that its trials say they worked, two at a time."""
    store = Store(work / "store")
    recipe = make_recipe(work, store, given.steps, given.quick)
    concurrent = 2
    rows = []
    for repeat in range(given.repeats):
        names = list(CONTENDERS)
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            place = work / f"{name}-{repeat}"
            seeds = list(range(given.trials))
            plan = {"recipe": recipe.to_dict(), "store": str(store.root), "run": str(place), "seeds": seeds, "concurrent": concurrent}
            file = work / f"{name}-{repeat}.json"
            file.write_text(json.dumps(plan), encoding="utf-8")
            say(f"overhead, repeat {repeat + 1}/{given.repeats}: {name}")
            began, began_at = time.monotonic(), time.time()
            run_process(["benchmarks.sweep.contender", name, str(file)])
            seconds = time.monotonic() - began
            rows.append(
                {"section": "overhead", "contender": name, "repeat": repeat, "trials": given.trials, "seconds": seconds}
                | read_trials(RunFolder(place), seconds, began_at, concurrent)
            )
            shutil.rmtree(place)
    return rows


def read_trials(run: RunFolder, seconds: float, began_at: float, concurrent: int) -> dict[str, float]:
    """What the trials' files tell: how long they worked, when the first one began, and the pause before each later one."""
    worked, spans = 0.0, []
    for trial in run.trials():
        status = trial.read_status()
        assert status is not None and status.state == "finished"
        took = sum(value for stage, value in status.seconds.items() if stage != "validate")
        worked += took
        spans.append((trial.recipe.stat().st_mtime, trial.queries.stat().st_mtime))
    spans.sort()
    free = sorted(end for _, end in spans)
    # The trial that begins after so many others takes the place of the one that ended that many places before.
    pauses = [start - free[number] for number, (start, _) in enumerate(spans[concurrent:])]
    return {
        "worked_seconds": worked,
        "overhead": seconds * concurrent / worked,
        "first_start_seconds": spans[0][0] - began_at,
        "pause_seconds": statistics.median(pauses) if pauses else float("nan"),
    }


def measure_cluster(work: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """`cluster.py`, in a process of its own."""
    file = work / "cluster.json"
    file.write_text(json.dumps(plan | {"run": str(work / "simulated")}), encoding="utf-8")
    say(f"cluster: {plan['trials']} trials of two workers on {plan['nodes']} logical nodes")
    told = json.loads(run_process(["benchmarks.sweep.cluster", str(file)]).splitlines()[-1])
    return {"section": "cluster", "contender": "optical_ray", "trials": plan["trials"]} | told


def run_process(module: list[str]) -> str:
    """Its standard output."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"}
    done = subprocess.run([sys.executable, "-m", *module], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(module)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def describe(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each contender: medians over repeats."""
    lines = []
    for name in CONTENDERS:
        own = [row for row in rows if row["section"] == "overhead" and row["contender"] == name]
        if own:
            medians = {
                key: statistics.median(row[key] for row in own) for key in ("seconds", "overhead", "first_start_seconds", "pause_seconds")
            }
            lines.append(
                f"{name}: {medians['seconds']:.0f} s, {medians['overhead']:.3f} times what the trials worked; first trial after "
                f"{medians['first_start_seconds']:.1f} s, {medians['pause_seconds']:.2f} s between one and the next"
            )
    for row in rows:
        if row["section"] == "cluster":
            lines.append(
                f"cluster: {row['finished']} of {row['trials']} trials in {row['seconds']:.0f} s, {row['concurrent']} at a time; "
                f"{row['beyond_sleep_per_round']:.1f} s a round beyond its sleep; driver {row['driver_mb']:.0f} MB, "
                f"{row['driver_mb_per_minute']:+.1f} MB a minute in its second half; {row['driver_cpu_seconds']:.1f} s of its CPU, "
                f"{row['study_bytes'] / row['trials']:,.0f} bytes of the study a trial"
            )
        if row["section"] == "startup":
            lines.append(
                f"start-up, {row['contender']}: a training of {STEPS} steps takes {row['first_seconds']:.1f} s in the first trial, "
                f"{row['later_seconds']:.1f} s in later ones"
            )
        if row["section"] == "halving":
            lines.append(
                f"{row['contender']}: {row['trials']} trials, {row['steps']:,} steps ({row['steps_over_grid']:.2f} of the grid's); best by "
                f"validation {row['valid']:.3f}, test {row['test']:.3f}, minus the grid's best {row['difference']:+.3f} "
                f"[{row['difference_low']:+.3f}, {row['difference_high']:+.3f}]"
            )
    return lines


def read_sections(out: Path) -> dict[str, Any]:
    """What earlier runs measured, by section."""
    file = out / "sweep.json"
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return kept


def write(out: Path, sections: dict[str, Any]) -> None:
    """sweep.csv, a row per contender; sweep.json, all else."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for section in sections.values() for row in section["rows"]]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (out / "sweep.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows)
    (out / "sweep.json").write_text(json.dumps(sections, indent=2) + "\n", encoding="utf-8")


def say(line: str) -> None:
    print(time.strftime("[%H:%M:%S] ") + line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
