"""OPTICAL's distillation loss: <T, C>, the price of moving the student's tokens onto the teacher's.

B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from optical_ray.transport.cost import GroundCost
from optical_ray.transport.plan import TransportPlan
from optical_ray.transport.sinkhorn import SinkhornConfig, solve_sinkhorn, uniform_mass


@dataclass(frozen=True, slots=True)
class TransportLoss:
    """Per-pair losses and what the solver said."""

    value_B: Tensor
    """<T, C> with T held constant, float32 [B], differentiable in both token clouds; 0 without gradient for an empty pair."""
    plan: TransportPlan
    cost_std: Tensor
    """Standard deviation of the cost over real token pairs of the batch, float32 scalar: what epsilon must be small against."""


def transport_loss(
    student_BND: Tensor, student_mask_BN: Tensor, teacher_BMD: Tensor, teacher_mask_BM: Tensor, cost: GroundCost, solver: SinkhornConfig
) -> TransportLoss:
    """Align each pair's token clouds and price the alignment (OPTICAL, arXiv 2301.12566, re-implemented from its abstract).

    The plan is held constant, so the gradient is the exact gradient of the regularised cost min_T <T, C> + epsilon * KL(T || a b')
    (envelope theorem), and only an approximation of that of <T(C), C>.

    Args:
        student_BND: Student tokens, float [B, N, D], any length; L2-normalised here, after centring.
        student_mask_BN: True at tokens that carry mass, bool [B, N].
        teacher_BMD: Teacher tokens, float [B, M, D].
        teacher_mask_BM: True at tokens that carry mass, bool [B, M].
        cost: Centre and unit.
        solver: Epsilon, tolerance, cap.

    Raises:
        NumericsError: a real token is NaN or infinite; the pairs are named.
    """
    cost_BNM = cost.between(student_BND, teacher_BMD)
    plan = solve_sinkhorn(cost_BNM, uniform_mass(student_mask_BN), uniform_mass(teacher_mask_BM), solver, cost.unit)
    real_BNM = student_mask_BN[:, :, None] & teacher_mask_BM[:, None, :]
    value_B = (plan.coupling_BNM * cost_BNM.masked_fill(~real_BNM, 0.0)).sum((1, 2))
    values = cost_BNM.detach()[real_BNM]
    return TransportLoss(value_B, plan, values.std() if values.numel() > 1 else values.new_zeros(()))
