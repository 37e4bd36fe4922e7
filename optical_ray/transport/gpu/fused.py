"""From token clouds to prices without the cost in between: the kernels of `kernel.py` as a backend and as a differentiable loss.

B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from optical_ray.transport.config import SinkhornConfig
from optical_ray.transport.cost import cosine_cost
from optical_ray.transport.gpu import kernel
from optical_ray.transport.gradient import first_derivative_only, transport_cost
from optical_ray.transport.plan import Potentials, Solution, TransportPlan
from optical_ray.transport.sinkhorn import finish


def solve_on_gpu(
    cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor, epsilon: float, tolerance: float, cap: int, start: Potentials | None
) -> tuple[Solution, Callable[[], Tensor]]:
    """Solve given costs; the coupling is built when it is asked for. Arguments as `cpu.solve.solve_pairs`, masses balanced."""
    single = cost_BNM.detach().float(), a_BN.float(), b_BM.float()
    found = kernel.solve_costs(*single, epsilon, tolerance, cap, None if start is None else (start.f_BN.float(), start.g_BM.float()))
    rebuild = partial(kernel.coupling_from_costs, *single, found.f_BN, found.g_BM, epsilon, found.finite_B)
    return _solution(found, a_BN, b_BM, epsilon, tolerance), rebuild


def fused_cost(
    student_BND: Tensor, teacher_BMD: Tensor, a_BN: Tensor, b_BM: Tensor, broken_B: Tensor, solver: SinkhornConfig, unit: float
) -> tuple[Tensor, TransportPlan]:
    """<T, C> per pair, float32 [B], differentiable in the tokens, and the plan.

    Args:
        student_BND: Tokens of length 1 (or 0), float32.
        teacher_BMD: Likewise.
        a_BN: Proper masses, float32.
        b_BM: Likewise.
        broken_B: Pairs to leave out, bool.
        solver: Epsilon, tolerance, cap, gradient.
        unit: Cost that one unit of epsilon stands for.
    """
    epsilon = solver.epsilon * unit
    clouds = student_BND.detach(), teacher_BMD.detach(), a_BN.float(), b_BM.float()
    found = kernel.solve_tokens(*clouds, epsilon, solver.tolerance, solver.cap(epsilon))
    solution = _without(broken_B, _solution(found, a_BN, b_BM, epsilon, solver.tolerance))
    finite_B = ~solution.broken_B
    rebuild = partial(kernel.coupling_from_tokens, *clouds, found.f_BN, found.g_BM, epsilon, finite_B)
    plan = finish(solution, rebuild, epsilon, solver, torch.float32)
    if solver.gradient == "implicit":  # its linear systems need the plan in memory
        return transport_cost(cosine_cost(student_BND, teacher_BMD), plan), plan
    value_B: Tensor = _FusedCost.apply(  # type: ignore[no-untyped-call]
        student_BND, teacher_BMD, *clouds[2:], found.f_BN, found.g_BM, finite_B, plan.cost_B, epsilon
    )
    return value_B, plan


class _FusedCost(Function):
    @staticmethod
    def forward(
        ctx: Any, student_BND: Tensor, teacher_BMD: Tensor, a_BN: Tensor, b_BM: Tensor, f_BN: Tensor, g_BM: Tensor, finite_B: Tensor,
        value_B: Tensor, epsilon: float,
    ) -> Tensor:  # fmt: skip
        ctx.epsilon = epsilon
        ctx.save_for_backward(student_BND, teacher_BMD, a_BN, b_BM, f_BN, g_BM, finite_B)
        return value_B.clone()

    @staticmethod
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor | None, ...]:
        student_BND, teacher_BMD, *rest = ctx.saved_tensors
        with torch.no_grad():
            a_BN, b_BM, f_BN, g_BM, finite_B = rest
            student_grad_BND, teacher_grad_BMD = kernel.envelope_gradient(
                grad_B, student_BND, teacher_BMD, a_BN, b_BM, f_BN, g_BM, finite_B, ctx.epsilon, want_teacher=ctx.needs_input_grad[1]
            )
        student_grad_BND = first_derivative_only(student_grad_BND, student_BND, grad_B)
        if teacher_grad_BMD is not None:
            teacher_grad_BMD = first_derivative_only(teacher_grad_BMD, teacher_BMD, grad_B)
        return student_grad_BND, teacher_grad_BMD, *[None] * 7


def _solution(found: kernel.Found, a_BN: Tensor, b_BM: Tensor, epsilon: float, tolerance: float) -> Solution:
    independent_B = -(torch.xlogy(a_BN, a_BN).sum(1) + torch.xlogy(b_BM, b_BM).sum(1))
    rows_B, columns_B = (a_BN > 0).sum(1), (b_BM > 0).sum(1)
    empty_B = (rows_B == 0) | (columns_B == 0)
    forced_B = ~found.finite_B | (rows_B < 2) | (columns_B < 2)
    return Solution(
        f_BN=found.f_BN,
        g_BM=found.g_BM,
        cost_B=found.cost_B,
        regularised_cost_B=found.cost_B + epsilon * found.divergence_B,
        violation_B=found.violation_B,
        normalised_entropy_B=torch.where(forced_B, torch.nan, found.entropy_B / independent_B),
        cost_std_B=found.cost_std_B,
        iterations_B=found.iterations_B,
        converged_B=(found.violation_B <= tolerance) & (found.finite_B | empty_B),
        empty_B=empty_B,
        broken_B=~found.finite_B & ~empty_B,
    )


def _without(broken_B: Tensor, solution: Solution) -> Solution:
    """The pairs whose tokens were broken before they were normalised, set to what a broken cost gives."""
    broken_B = broken_B & ~solution.empty_B
    values = {}
    for name in Solution.__slots__:
        value = getattr(solution, name)
        if value.is_floating_point():
            fill = torch.nan if name == "normalised_entropy_B" else 0.0
            value = value.masked_fill(broken_B.view(-1, *[1] * (value.dim() - 1)), fill)
        values[name] = value
    values["iterations_B"] = solution.iterations_B.masked_fill(broken_B, 0)
    values["broken_B"] = solution.broken_B | broken_B
    values["converged_B"] = solution.converged_B & ~broken_B
    return Solution(**values)
