"""Peak memory of one solve, each in a fresh process.

Method: the kernel's own count. The process builds the inputs, solves a tiny problem (imports, compilation and thread pools are then paid
for), has Linux reset its high-water mark (`5` into /proc/self/clear_refs), reads VmRSS, solves, and reads VmHWM. That sees torch, numpy and
compiled code alike, which torch's profiler or tracemalloc alone do not. glibc is told to map every block above 64 KiB by itself, so that
memory freed by the warm-up cannot hide what the solve takes. Outputs (the plan; the gradient too where there is one) are subtracted.

B pairs, N student tokens, M teacher tokens.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from ot.batch import solve_batch
from torch import Tensor

from benchmarks.sinkhorn.contenders import OURS, THRESHOLDS
from benchmarks.sinkhorn.problems import ACCURACY, Problem, is_accurate, make_problem
from benchmarks.sinkhorn.rows import Row
from optical_ray.transport import SinkhornConfig, solve_sinkhorn

TOKENS = 64
EPSILON = 0.05
COST = "bert-like"
METHODS = {
    OURS: "cpu",
    "optical_ray torch": "torch",
    "POT batch, scaling": "sinkhorn",
    "POT batch, log": "log_sinkhorn",
}
DIRECTIONS = ("solve", "solve, loss, backward")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Peak:
    """What one process saw."""

    bytes_beyond: int
    """Peak beyond inputs and outputs."""
    matrix_bytes: int
    worst_violation: float
    iterations: int
    """Of the pair that needed most: what a graph through the loop grows with."""


def measure_memory(pairs: int, processes: int) -> list[Row]:
    """One row per contender and direction.

    Args:
        pairs: Of 64 x 64 tokens; large enough that the noise of a process (about 1 MB) is small against a matrix.
        processes: Run side by side; they do not see each other.
    """
    cases = [(name, direction) for direction in DIRECTIONS for name in METHODS]
    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(lambda case: _measure(case[0], case[1], pairs), cases))


def _measure(contender: str, direction: str, pairs: int) -> Row:
    row = Row("memory", f"{pairs} x {TOKENS} x {TOKENS}, {direction}", COST, EPSILON, contender, 1)
    request = json.dumps({"method": METHODS[contender], "backward": direction != DIRECTIONS[0], "pairs": pairs})
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, "-m", "benchmarks.sinkhorn.memory", request]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return replace(row, note=f"fails: {(done.stderr.strip().splitlines() or ['no message'])[-1][:120]}")
    peak = Peak(**json.loads(done.stdout.splitlines()[-1]))
    note = f"{peak.iterations} iterations"
    if not is_accurate(peak.worst_violation):
        note = f"fails: {peak.worst_violation:.1e}, {note}"
    return replace(row, peak_matrices=max(0.0, peak.bytes_beyond / peak.matrix_bytes), worst_violation=peak.worst_violation, note=note)


def measure_here(method: str, backward: bool, pairs: int) -> Peak:
    """Peak of one solve in this process, which should be fresh.

    Raises:
        OSError: no /proc/self/clear_refs: this needs Linux.
    """
    torch.set_num_threads(1)
    run = _ours if method in ("cpu", "torch") else _pot
    problem = make_problem("memory", COST, [(TOKENS, TOKENS)] * pairs, dimensions=32)
    tiny = make_problem("memory", COST, [(TOKENS, TOKENS)] * 2, dimensions=32)
    stop = next(
        (stop for stop in _stops(method) if is_accurate(problem.worst_violation(run(problem, method, stop, False)[0]))), THRESHOLDS[-1]
    )
    run(tiny, method, stop, backward)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _status("VmRSS")
    plan_BNM, iterations = run(problem, method, stop, backward)
    peak = _status("VmHWM")
    matrix_bytes = problem.cost_BNM.numel() * 4
    outputs = plan_BNM.numel() * plan_BNM.element_size() + matrix_bytes * backward
    return Peak(peak - before - outputs, matrix_bytes, problem.worst_violation(plan_BNM), iterations)


def _stops(method: str) -> Sequence[float]:
    return (ACCURACY,) if method in ("cpu", "torch") else THRESHOLDS


def _ours(problem: Problem, method: str, stop: float, backward: bool) -> tuple[Tensor, int]:
    config = SinkhornConfig.model_validate({"epsilon": EPSILON, "tolerance": stop, "max_iterations": 10_000, "backend": method})
    cost_BNM = problem.cost_BNM.detach().requires_grad_(backward)
    plan = solve_sinkhorn(cost_BNM, problem.a_BN, problem.b_BM, config)
    if backward:
        (plan.coupling_BNM * cost_BNM).sum().backward()
    return plan.coupling_BNM, int(plan.iterations_B.max())


def _pot(problem: Problem, method: str, stop: float, backward: bool) -> tuple[Tensor, int]:
    """With a gradient as POT's default gives it: `grad="envelope"`, of the regularised value."""
    cost_BNM = problem.cost_BNM.detach().requires_grad_(backward)
    with torch.set_grad_enabled(backward):
        result = solve_batch(
            cost_BNM,
            reg=EPSILON,
            a=problem.a_BN,
            b=problem.b_BM,
            max_iter=10_000,
            tol=stop,
            method=method,
            grad="envelope" if backward else "detach",
        )
        if backward:
            result.value.sum().backward()
    return result.plan, result.log["n_iter"] + 1


def _status(field: str) -> int:
    """Bytes, from /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}: memory is measured on Linux only")


if __name__ == "__main__":
    print(json.dumps(asdict(measure_here(**json.loads(sys.argv[1])))))
