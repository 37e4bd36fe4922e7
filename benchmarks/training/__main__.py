"""A training step beside Sentence-Transformers' multilingual distillation and PyLate's contrastive training: one encoder, the same pairs.

python -m benchmarks.training [--encoder FOLDER] [--bitext FOLDER] [--quick] [--sections ...] [--out DIR]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.sinkhorn.rows import describe_machine
from benchmarks.tables import to_csv
from benchmarks.training.rows import COLUMNS, Row, show
from benchmarks.training.sections import SECTIONS, Effort, make_groups, measure
from benchmarks.training.world import Shape, World, build_world
from optical_ray.artifacts import fingerprint
from optical_ray.errors import OpticalError

ROOT = Path(__file__).parents[2]
BUSY = 0.5  # load average above which two cores are not ours
QUICK = Shape(pairs=8, window=4, fixed=2, layers=2, width=64, vocabulary=2000), Effort(2, 2, 2, 2, 1)


@dataclass(frozen=True, slots=True)
class Section:
    """A finished section, as it is kept until all are there."""

    rows: list[Row]
    said: list[dict[str, Any]]
    machine: dict[str, Any]
    measured_at: str

    def save(self, path: Path) -> None:
        scratch = path.with_suffix(".scratch")
        scratch.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")
        os.replace(scratch, path)

    @classmethod
    def load(cls, path: Path) -> Section:
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls([Row(**row) for row in found["rows"]], found["said"], found["machine"], found["measured_at"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, help="a Hugging Face folder; without it, a random BERT of 12 layers and width 384")
    parser.add_argument("--bitext", type=Path, help="a folder of bitext; without it, generated sentences")
    parser.add_argument("--languages", nargs="+", default=[], help="of the bitext")
    parser.add_argument("--interop", type=Path, default=ROOT / ".interop", help="environments of the others (`make test-interop`)")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every contender (default: all cores)")
    parser.add_argument("--pairs", type=int, help="of a step (default 32)")
    parser.add_argument("--quick", action="store_true", help="a tiny encoder, few steps: that it works, not how fast")
    parser.add_argument("--again", action="store_true", help="measure sections again that an earlier, broken-off run has finished")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--work", type=Path, help="data, logs and finished sections (default: a folder for temporary files; it stays)")
    given = parser.parse_args(arguments)
    shape, effort = QUICK if given.quick else (Shape(), Effort())
    if given.pairs is not None:
        if given.pairs < 2 or given.pairs % 2:
            parser.error(f"--pairs {given.pairs}: expected an even number, so that two workers share a step")
        shape = dataclasses.replace(shape, pairs=given.pairs)
    machine = describe_machine()  # first: it holds the load before ours
    warn_of_load(machine)
    settings = {
        "shape": dataclasses.asdict(shape),
        "effort": dataclasses.asdict(effort),
        "threads": given.threads,
        "encoder": str(given.encoder and given.encoder.absolute()),
        "bitext": str(given.bitext and given.bitext.absolute()),
        "languages": given.languages,
    }
    root = given.work or Path(tempfile.gettempdir()) / "optical-benchmark-training"
    work = root / fingerprint(settings)[:12]
    work.mkdir(parents=True, exist_ok=True)
    say(f"data, logs and finished sections are in {work}")
    try:
        world = build_world(work, root / "store", shape, given.encoder, given.bitext, given.languages)
    except OpticalError as error:
        parser.error(str(error))
    groups = make_groups(world, given.threads, effort, shape.fixed, shape.window)
    done: dict[str, Section] = {}
    for name in given.sections:
        kept = work / f"section-{name}.json"
        if kept.is_file() and not given.again:
            done[name] = Section.load(kept)
            say(f"{name}: taken from the run of {done[name].measured_at} (--again measures it again)")
            continue
        machine = describe_machine()
        rows, said = [], []
        for number, group in enumerate(group for group in groups if group.section == name):
            place = work / "processes" / f"{name}-{number}"
            shutil.rmtree(place, ignore_errors=True)
            found = measure(group, given.interop, place, lambda what, where=f"{name}, {group.name}": say(f"{where}: {what}"))  # type: ignore[misc]
            rows += found[0]
            said += found[1]
        done[name] = Section(rows, said, machine, time.strftime("%Y-%m-%d %H:%M"))
        done[name].save(kept)
        write(given.out, world, settings, done)
    write(given.out, world, settings, done)
    print(f"encoder: {world.encoder_said}\nbitext: {world.bitext_said}\n")
    print(show([row for section in done.values() for row in section.rows]))


def warn_of_load(machine: dict[str, object]) -> None:
    load = machine["load_average"]
    if isinstance(load, float) and load > BUSY:
        say(f"load average {load:.1f}: the machine is busy, and timings with two threads above all will be wrong")


def write(out: Path, world: World, settings: dict[str, Any], done: dict[str, Section]) -> None:
    """`training.csv`, a row per contender; `training.json`, what it was measured on and with, and every block. No path of the machine."""
    out.mkdir(parents=True, exist_ok=True)
    rows = [row for section in done.values() for row in section.rows]
    (out / "training.csv").write_text(to_csv(rows, COLUMNS), encoding="utf-8")
    about = {
        "encoder": world.encoder_said,
        "bitext": world.bitext_said,
        "settings": {name: value for name, value in settings.items() if name not in ("encoder", "bitext")},
        "preparation_seconds": {name: round(value, 1) for name, value in world.seconds.items()},
        "sections": {name: {"measured_at": section.measured_at, "machine": section.machine} for name, section in done.items()},
        "blocks": [said for section in done.values() for said in section.said],
    }
    (out / "training.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def say(line: str) -> None:
    print(time.strftime("[%H:%M:%S] ") + line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
