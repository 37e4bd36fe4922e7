"""The loss on a GPU: the fused kernel against our torch reference and POT's batch solvers, from tokens to gradients.

Timed by CUDA events, forward and backward together. Plans are judged against the torch reference in float64.
B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.sinkhorn.contenders import OUR_TOLERANCES, THRESHOLDS, Variant, solve_pot_batch
from benchmarks.sinkhorn.problems import Problem, draw_tokens, is_accurate, make_problem
from benchmarks.sinkhorn.rows import Row
from benchmarks.tables import quartiles
from optical_ray.transport import GroundCost, SinkhornConfig, solve_sinkhorn, transport_loss

EPSILONS = (0.1, 0.02)
DIMENSIONS = 128
CAP = 20_000
WARM_UP = 3  # compilation, and the allocator
FUSED = "optical_ray triton"
BACKENDS = {FUSED: "triton", "optical_ray torch": "torch"}
POT_METHODS = {"POT batch, scaling": "sinkhorn", "POT batch, log": "log_sinkhorn"}

Run = Callable[[], Tensor]
"""Forward and backward of the loss; hands back the plan."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens on the device."""

    student_BND: Tensor
    student_mask_BN: Tensor
    teacher_BMD: Tensor
    teacher_mask_BM: Tensor
    problem: Problem
    """The same pairs with their cost formed: POT's input, and the judge."""


def measure_gpu(
    pairs: int, tokens: int, repeats: int, say: Callable[[str], None], device: str = "cuda", epsilons: Sequence[float] = EPSILONS
) -> list[Row]:
    """Rows by cost, epsilon and contender; whatever a contender raises becomes its row."""
    rows: list[Row] = []
    for cost_name in ("bert-like", "random-unit"):
        batch = _draw(pairs, tokens, cost_name, device)
        for epsilon in epsilons:
            say(f"GPU: {cost_name}, epsilon {epsilon:g}")
            reference_BNM = _reference(batch, epsilon)
            for contender in (*BACKENDS, *POT_METHODS):
                row = Row("gpu", f"{pairs} x {tokens} x {tokens}", cost_name, epsilon, contender, 1)
                try:
                    rows.append(_measure(row, batch, reference_BNM, repeats, device))
                except Exception as error:  # one contender's failure must not cost the others' rows on a rented machine
                    message = next(iter(str(error).splitlines()), "")
                    rows.append(replace(row, note=f"fails: {type(error).__name__}: {message[:120]}"))
    return [_with_ratio(row, rows) for row in rows]


def _draw(pairs: int, tokens: int, cost_name: str, device: str) -> Batch:
    lengths = [(tokens, tokens)] * pairs
    drawn = draw_tokens(lengths, DIMENSIONS, cost_name == "bert-like", torch.Generator().manual_seed(0))
    problem = make_problem("gpu", cost_name, lengths, DIMENSIONS)
    moved = {name: getattr(problem, name).to(device) for name in ("cost_BNM", "a_BN", "b_BM")}
    student, student_mask, teacher, teacher_mask = (item.to(device) for item in drawn)
    return Batch(student, student_mask, teacher, teacher_mask, replace(problem, **moved))


def _reference(batch: Batch, epsilon: float) -> Tensor:
    config = SinkhornConfig(epsilon=epsilon, tolerance=1e-8, max_iterations=CAP, backend="torch")
    problem = batch.problem
    return solve_sinkhorn(problem.cost_BNM.double(), problem.a_BN.double(), problem.b_BM.double(), config).coupling_BNM


def _measure(row: Row, batch: Batch, reference_BNM: Tensor, repeats: int, device: str) -> Row:
    assert row.epsilon is not None
    run, setting = _tune(batch, row.contender, row.epsilon)
    for _ in range(WARM_UP):
        plan_BNM = run()
    worst = batch.problem.worst_violation(plan_BNM)
    distance = (plan_BNM.double() - reference_BNM).abs().sum((1, 2)).max().item()
    note = f"{setting}; L1 distance to the float64 plan {distance:.1e}"
    if not is_accurate(worst):
        return replace(row, worst_violation=worst, note=f"fails: {worst:.1e}; {note}")
    low, middle, high = quartiles([_milliseconds(run, device) for _ in range(repeats)])
    return replace(row, median_ms=middle, q1_ms=low, q3_ms=high, repeats=repeats, worst_violation=worst, note=note)


def _tune(batch: Batch, contender: str, epsilon: float) -> tuple[Run, str]:
    """The loosest accurate stop; POT in float32 or else float64, whole batch."""
    if contender in BACKENDS:
        backend = BACKENDS[contender]
        settings = [(_ours(batch, backend, epsilon, stop), f"{backend}, tolerance {stop:.0e}") for stop in OUR_TOLERANCES]
    else:
        variants = [Variant(POT_METHODS[contender], dtype) for dtype in (torch.float32, torch.float64)]
        settings = [(_pot(batch, variant, epsilon, stop), f"{variant}, stop {stop:.0e}") for variant in variants for stop in THRESHOLDS]
    broken = ""
    for run, setting in settings:
        if broken and setting.startswith(broken):
            continue  # not finite at a looser stop already
        worst = batch.problem.worst_violation(run())
        if is_accurate(worst):
            break
        if math.isnan(worst):
            broken = setting.partition(", stop")[0]
    return run, setting


def _ours(batch: Batch, backend: str, epsilon: float, tolerance: float) -> Run:
    settings = {"epsilon": epsilon, "tolerance": tolerance, "max_iterations": CAP, "backend": backend}
    config = SinkhornConfig.model_validate(settings)

    def run() -> Tensor:
        student_BND = batch.student_BND.detach().requires_grad_()
        loss = transport_loss(student_BND, batch.student_mask_BN, batch.teacher_BMD, batch.teacher_mask_BM, GroundCost(None), config)
        loss.value_B.sum().backward()
        return loss.plan.coupling_BNM

    return run


def _pot(batch: Batch, variant: Variant, epsilon: float, stop: float) -> Run:
    def run() -> Tensor:
        """The plan is a constant: no graph goes through POT's loop."""
        student_BND = batch.student_BND.detach().requires_grad_()
        cost_BNM = GroundCost(None).between(student_BND, batch.teacher_BMD)
        with torch.no_grad():
            plan_BNM = solve_pot_batch(replace(batch.problem, cost_BNM=cost_BNM.detach()), epsilon, variant, stop, CAP).coupling_BNM
        (plan_BNM * cost_BNM).sum().backward()
        return plan_BNM

    return run


def _milliseconds(run: Run, device: str) -> float:
    if not device.startswith("cuda"):  # where the section itself is tried out
        begin = time.perf_counter()
        run()
        return 1000 * (time.perf_counter() - begin)
    begin_event, end_event = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin_event.record()
    run()
    end_event.record()
    torch.cuda.synchronize()
    return float(begin_event.elapsed_time(end_event))


def _with_ratio(row: Row, rows: list[Row]) -> Row:
    ours = next((item for item in rows if (item.contender, item.cost, item.epsilon) == (FUSED, row.cost, row.epsilon)), None)
    if ours is None or ours.median_ms is None or row.median_ms is None:
        return row
    return replace(row, ratio_to_ours=row.median_ms / ours.median_ms)
