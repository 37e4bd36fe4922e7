"""OPTICAL's distillation loss: <T, C>, the price of moving the student's tokens onto the teacher's.

B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from optical_ray.transport.config import SinkhornConfig
from optical_ray.transport.cost import GroundCost, cosine_cost
from optical_ray.transport.gradient import regularised_cost, transport_cost
from optical_ray.transport.marginals import balance_masses, check_masses
from optical_ray.transport.plan import Diagnostics, TransportPlan
from optical_ray.transport.sinkhorn import choose_backend, solve_sinkhorn


@dataclass(frozen=True, slots=True)
class TransportLoss:
    """Per-pair losses and what the solver said."""

    value_B: Tensor
    """<T, C>, float32 [B] (float64 for float64 tokens), differentiable in both token clouds; 0 without gradient for an empty or skipped
    pair. With the envelope gradient its derivative is that of the regularised cost, not its own."""
    plan: TransportPlan

    def mean(self) -> Tensor:
        """Over the pairs that were solved; 0 (with a gradient of 0) when there is none."""
        return self.value_B.sum() / self.plan.solved_B.sum().clamp_min(1)

    def diagnostics(self) -> Diagnostics:
        """What to log every step."""
        return self.plan.diagnostics()


def transport_loss(
    student_BND: Tensor,
    student_mask_BN: Tensor,
    teacher_BMD: Tensor,
    teacher_mask_BM: Tensor,
    cost: GroundCost,
    solver: SinkhornConfig,
    student_mass_BN: Tensor | None = None,
    teacher_mass_BM: Tensor | None = None,
) -> TransportLoss:
    """Align each pair's token clouds and price the alignment (OPTICAL, arXiv 2301.12566, re-implemented from its abstract).

    The clouds are centred and L2-normalised, the cost is 1 - cosine in float32 (also under autocast), the plan is solved without a graph.
    `solver.gradient` chooses the derivative: see `gradient.py` for what each is exact for.

    Args:
        student_BND: Student tokens, float [B, N, D], any length.
        student_mask_BN: True at tokens that carry mass, bool [B, N].
        teacher_BMD: Teacher tokens, float [B, M, D].
        teacher_mask_BM: True at tokens that carry mass, bool [B, M].
        cost: Centre, unit of epsilon, marginals.
        solver: Epsilon, tolerance, cap, gradient, backend.
        student_mass_BN: Masses to use instead of the cost's, float [B, N] (`weighted_mass`); 0 outside the mask.
        teacher_mass_BM: Likewise, float [B, M].

    Raises:
        ValueError: shapes or dtypes disagree, or a given mass is not a probability, or lies outside its mask.
        NumericsError: a real token is NaN or infinite; the pairs are named. Not with `on_nonfinite="skip"`.
    """
    given = student_BND, student_mask_BN, teacher_BMD, teacher_mask_BM, cost, solver, student_mass_BN, teacher_mass_BM
    if "torch._dynamo" not in sys.modules:  # to import it for a decorator would cost every program a second
        return _price(*given)
    if not _uncompiled:  # the solver is compiled already: what a program compiles goes on behind it
        _uncompiled.append(torch.compiler.disable(_price))  # type: ignore[no-untyped-call]
    priced: TransportLoss = _uncompiled[0](*given)
    return priced


_uncompiled: list[Callable[..., TransportLoss]] = []  # not functools.cache: torch.compile would warn of it


def _price(
    student_BND: Tensor,
    student_mask_BN: Tensor,
    teacher_BMD: Tensor,
    teacher_mask_BM: Tensor,
    cost: GroundCost,
    solver: SinkhornConfig,
    student_mass_BN: Tensor | None,
    teacher_mass_BM: Tensor | None,
) -> TransportLoss:
    _check(student_BND, student_mask_BN, teacher_BMD, teacher_mask_BM, cost)
    a_BN = _mass(student_mass_BN, student_mask_BN, student_BND, cost, "student")
    b_BM = _mass(teacher_mass_BM, teacher_mask_BM, teacher_BMD, cost, "teacher")
    if student_mass_BN is not None or teacher_mass_BM is not None:
        a_BN, b_BM = balance_masses(a_BN, b_BM)
    if torch.float64 in (student_BND.dtype, teacher_BMD.dtype):
        student_BND, teacher_BMD = student_BND.double(), teacher_BMD.double()
    student_BND, student_finite_BN = cost.unit_tokens(student_BND, student_mask_BN)
    teacher_BMD, teacher_finite_BM = cost.unit_tokens(teacher_BMD, teacher_mask_BM)
    broken_B = (student_mask_BN & ~student_finite_BN).any(1) | (teacher_mask_BM & ~teacher_finite_BM).any(1)
    rows, columns = student_BND.shape[1], teacher_BMD.shape[1]
    if choose_backend(solver, student_BND.device, student_BND.dtype, rows, columns) == "triton":
        from optical_ray.transport.gpu.fused import fused_cost  # here: Triton is an extra

        return TransportLoss(*fused_cost(student_BND, teacher_BMD, a_BN, b_BM, broken_B, solver, cost.unit))
    cost_BNM = cosine_cost(student_BND, teacher_BMD)
    found_BNM = cost_BNM.detach()
    if broken_B.any():
        found_BNM = found_BNM.masked_fill(broken_B[:, None, None], torch.nan)  # for the solver to find and name
    plan = solve_sinkhorn(found_BNM, a_BN, b_BM, solver, cost.unit)
    if solver.gradient == "implicit":
        return TransportLoss(transport_cost(cost_BNM, plan), plan)
    regularised_B = regularised_cost(cost_BNM, plan)
    return TransportLoss(plan.cost_B + (regularised_B - regularised_B.detach()), plan)


def _mass(given_BN: Tensor | None, mask_BN: Tensor, tokens_BND: Tensor, cost: GroundCost, side: str) -> Tensor:
    if given_BN is None:
        return cost.mass(tokens_BND, mask_BN)
    if given_BN.shape != mask_BN.shape:
        raise ValueError(f"transport: {side} masses {list(given_BN.shape)}; expected {list(mask_BN.shape)}, as the mask")
    if (given_BN[~mask_BN] != 0).any():
        raise ValueError(f"transport: a {side} mass lies on a token that the mask leaves out; masses must be 0 there")
    check_masses(**{f"{side}_mass": given_BN})
    return given_BN


def _check(student_BND: Tensor, student_mask_BN: Tensor, teacher_BMD: Tensor, teacher_mask_BM: Tensor, cost: GroundCost) -> None:
    for name, tokens, mask in (("student", student_BND, student_mask_BN), ("teacher", teacher_BMD, teacher_mask_BM)):
        if tokens.dim() != 3 or mask.shape != tokens.shape[:2]:
            raise ValueError(f"transport: {name} tokens {list(tokens.shape)}, mask {list(mask.shape)}; expected [B, N, D] and [B, N]")
        if not tokens.is_floating_point() or mask.dtype != torch.bool:
            raise ValueError(f"transport: {name} tokens are {tokens.dtype}, mask {mask.dtype}; expected a floating dtype and torch.bool")
        if cost.centre_D is not None and cost.centre_D.shape != tokens.shape[2:]:
            raise ValueError(f"transport: the centre has {len(cost.centre_D)} dimensions, {name} tokens {tokens.shape[2]}")
    if student_BND.shape[0] != teacher_BMD.shape[0] or student_BND.shape[2] != teacher_BMD.shape[2]:
        raise ValueError(
            f"transport: student tokens {list(student_BND.shape)}, teacher tokens {list(teacher_BMD.shape)}; "
            "expected [B, N, D] and [B, M, D] with the same B and D"
        )
