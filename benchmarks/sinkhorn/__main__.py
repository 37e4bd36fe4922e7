"""Speed at equal accuracy, memory, share of a training step and, where there is one, the GPU; a table, a CSV and a figure.

python -m benchmarks.sinkhorn [--out DIR] [--quick] [--repeats N]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from benchmarks.sinkhorn import figure
from benchmarks.sinkhorn.contenders import contenders
from benchmarks.sinkhorn.gpu import measure_gpu
from benchmarks.sinkhorn.memory import measure_memory
from benchmarks.sinkhorn.problems import ACCURACY, Problem, draw_lengths, make_problem
from benchmarks.sinkhorn.rows import COLUMNS, Row, describe_machine, speed_tables
from benchmarks.sinkhorn.share import Step, measure_share
from benchmarks.sinkhorn.speed import Effort, measure_cell
from benchmarks.tables import table, to_csv

SECTIONS = ("speed", "memory", "share", "gpu")
BUSY = 0.5  # load average above which two cores are not ours
CONTENDED = 3.0  # two threads over one, beyond what starting them can cost
COSTS = ("bert-like", "random-unit")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run: the full benchmark, or a small one that shows that everything works."""

    ragged_pairs: int = 64
    unpadded_pairs: int = 256
    epsilons: tuple[float, ...] = (0.2, 0.1, 0.05, 0.02, 0.005)
    threads: tuple[int, ...] = (1, 2)
    effort: Effort = field(default_factory=Effort)
    memory_pairs: int = 1024
    step: Step = field(default_factory=Step)
    step_repeats: int = 5
    gpu_pairs: int = 512
    gpu_tokens: int = 64
    gpu_repeats: int = 30

    def problems(self) -> list[Problem]:
        """Both kinds of batch under both kinds of cost."""
        lengths = {"ragged": draw_lengths(self.ragged_pairs, 8, 64), "unpadded": [(32, 32)] * self.unpadded_pairs}
        return [make_problem(name, cost, drawn) for name, drawn in lengths.items() for cost in COSTS]


QUICK = Plan(
    ragged_pairs=16,
    unpadded_pairs=32,
    epsilons=(0.1, 0.02),
    effort=Effort(repeats=3, solve_seconds=0.3, contender_seconds=0.2),
    memory_pairs=256,
    step=Step(layers=2, batch=16),
    step_repeats=3,
)


class Progress:
    """Says on stderr what is being done, on one line where a terminal can rewrite it."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.where = ""

    def __call__(self, what: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{self._clock()} {self.where}{what}", end="", file=sys.stderr, flush=True)

    def enter(self, where: str) -> None:
        """A new cell or section: a line of its own where there is no terminal."""
        self.where = f"{where}: "
        if sys.stderr.isatty():
            self("...")
        else:
            print(f"{self._clock()} {where}", file=sys.stderr, flush=True)

    def done(self) -> None:
        print(f"{chr(13) if sys.stderr.isatty() else ''}{self._clock()} done", file=sys.stderr, flush=True)

    def _clock(self) -> str:
        return f"[{time.perf_counter() - self.begin:5.0f} s]"


def measure(plan: Plan, sections: Sequence[str], progress: Progress) -> tuple[list[Row], list[str]]:
    """Rows of all sections, and what the problems are, in words."""
    problems = plan.problems()
    rows: list[Row] = []
    if "speed" in sections:
        warm_up()
        for number, (problem, epsilon) in enumerate((problem, epsilon) for problem in problems for epsilon in plan.epsilons):
            cells = len(problems) * len(plan.epsilons)
            progress.enter(f"speed {number + 1} of {cells}, {problem.name}, {problem.cost_name}, epsilon {epsilon:g}")
            rows += measure_cell(problem, epsilon, contenders(), plan.threads, plan.effort, progress)
    if "memory" in sections:
        progress.enter("memory")
        rows += measure_memory(plan.memory_pairs, processes=min(2, os.cpu_count() or 1))
    if "share" in sections:
        progress.enter("share of a training step")
        rows += measure_share(plan.step, list(plan.threads), plan.step_repeats, progress)
    if "gpu" in sections and torch.cuda.is_available():
        progress.enter("GPU")
        rows += measure_gpu(plan.gpu_pairs, plan.gpu_tokens, plan.gpu_repeats, progress)
    progress.done()
    return rows, [problem.describe() for problem in problems]


def warn_of_contention(rows: Sequence[Row]) -> None:
    """Two threads that take far longer than one waited for a core that somebody else had."""
    alone = {(row.problem, row.cost, row.epsilon, row.contender): row.median_ms for row in rows if row.threads == 1}
    pairs = [(row.median_ms, alone.get((row.problem, row.cost, row.epsilon, row.contender))) for row in rows if row.threads > 1]
    late = sum(1 for more, one in pairs if more is not None and one is not None and more > CONTENDED * one)
    if late:
        print(
            f"{late} rows took more than {CONTENDED:g} times as long with two threads: the cores were shared, run it again", file=sys.stderr
        )


def warm_up() -> None:
    """Compile and import before anything is timed."""
    tiny = make_problem("tiny", COSTS[0], [(4, 3)] * 2)
    for contender in contenders():
        if contender.installed:
            contender.solve(tiny, 0.2, contender.variants[0], contender.stops[0], 10)


def show(rows: Sequence[Row], described: Sequence[str], sections: Sequence[str]) -> str:
    """Everything that was measured, as Markdown."""
    of = {section: [row for row in rows if row.section == section] for section in SECTIONS}
    parts = ["\n".join(described)]
    if of["speed"]:
        parts += [speed_tables(of["speed"])]
    if of["memory"]:
        parts += [table(of["memory"], ("problem", "contender", "peak_matrices", "worst_violation", "note"))]
    if of["share"]:
        parts += [table(of["share"], ("problem", "threads", "contender", "epsilon", "median_ms", "share_percent", "note"))]
    if of["gpu"]:
        parts += [table(of["gpu"], ("cost", "epsilon", "contender", "median_ms", "ratio_to_ours", "worst_violation", "note"))]
    elif "gpu" in sections:
        parts += ["GPU section not run: no GPU"]
    return "\n\n".join(parts)


def write(rows: Sequence[Row], about: dict[str, object], limit: float, folder: Path) -> None:
    """`sinkhorn.csv`, what it was measured on and with in `sinkhorn.json`, and the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sinkhorn.csv").write_text(to_csv(rows, COLUMNS), encoding="utf-8")
    (folder / "sinkhorn.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if any(row.ratio_to_ours is not None for row in rows if row.section == "speed"):
        figure.save(figure.draw(rows, limit), str(folder / "sinkhorn"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sinkhorn", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the CSV, the JSON and the figure")
    parser.add_argument("--quick", action="store_true", help="small batches, two epsilons, few repeats: that it works, not how fast")
    parser.add_argument("--repeats", type=int, help="timings per contender and cell (default 9; 3 with --quick)")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS, help="default: all")
    given = parser.parse_args(arguments)
    plan = QUICK if given.quick else Plan()
    if given.repeats is not None:
        if given.repeats < 1:
            parser.error(f"--repeats {given.repeats}: expected 1 or more")
        plan = replace(plan, effort=replace(plan.effort, repeats=given.repeats))
    machine = describe_machine()  # first: it holds the load before ours
    load = machine["load_average"]
    if isinstance(load, float) and load > BUSY:
        print(f"load average {load:.1f}: the machine is busy, and timings with two threads above all will be wrong", file=sys.stderr)
    rows, described = measure(plan, given.sections, Progress())
    options = [*["--quick"] * given.quick, *([] if given.repeats is None else ["--repeats", str(given.repeats)])]
    options += [] if given.sections == SECTIONS else ["--sections", *given.sections]
    warn_of_contention(rows)
    settings = {"accuracy": ACCURACY, **dataclasses.asdict(plan.effort)}
    about = {"command": " ".join([parser.prog, *options]), **machine, "problems": described, "settings": settings}
    write(rows, about, plan.effort.solve_seconds, given.out)
    print(show(rows, described, given.sections))


if __name__ == "__main__":
    main()
