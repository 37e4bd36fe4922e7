"""What a plan says of a change of the cost: two values, each with its own exact gradient, without a graph through the iterations.

- `regularised_cost`, min_T <T, C> + epsilon KL(T || a b'): its gradient is T (envelope theorem; Peyre & Cuturi 2019, proposition 4.6).
- `transport_cost`, <T(C), C> at the regularised optimum: the plan moves with the cost. Implicit differentiation of the marginal constraints
  (Luise et al. 2018; Eisenberger et al. 2022) gives it: with W = T o C solve [diag(a) T; T' diag(b)] [p; q] = [W 1; W' 1]; the gradient is
  T + (T o (p + q') - W) / epsilon.

Both suppose a converged plan. Masses are constants. B pairs, N student tokens, M teacher tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from optical_ray.transport.plan import TransportPlan

RIDGE = 1e-12  # relative, of the implicit system: near-separate blocks of a cold plan have a free constant each, which moves nothing


def regularised_cost(cost_BNM: Tensor, plan: TransportPlan) -> Tensor:
    """`plan.regularised_cost_B` [B] as a function of the cost that the plan was solved for; its gradient is the plan."""
    value_B: Tensor = _RegularisedCost.apply(cost_BNM, plan.coupling_BNM, plan.regularised_cost_B)  # type: ignore[no-untyped-call]
    return value_B


def transport_cost(cost_BNM: Tensor, plan: TransportPlan) -> Tensor:
    """`plan.cost_B` [B], <T, C>, as a function of the cost that the plan was solved for; its gradient lets the plan move."""
    value_B: Tensor = _TransportCost.apply(cost_BNM, plan.coupling_BNM, plan.cost_B, plan.epsilon)  # type: ignore[no-untyped-call]
    return value_B


class _RegularisedCost(Function):
    @staticmethod
    def forward(ctx: Any, cost_BNM: Tensor, coupling_BNM: Tensor, value_B: Tensor) -> Tensor:
        ctx.save_for_backward(cost_BNM, coupling_BNM)
        return value_B.clone()

    @staticmethod
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor, None, None]:
        cost_BNM, coupling_BNM = ctx.saved_tensors
        with torch.no_grad():
            gradient_BNM = (grad_B[:, None, None] * coupling_BNM).to(cost_BNM.dtype)
        return first_derivative_only(gradient_BNM, cost_BNM, grad_B), None, None


class _TransportCost(Function):
    @staticmethod
    def forward(ctx: Any, cost_BNM: Tensor, coupling_BNM: Tensor, value_B: Tensor, epsilon: float) -> Tensor:
        ctx.epsilon = epsilon
        ctx.save_for_backward(cost_BNM, coupling_BNM)
        return value_B.clone()

    @staticmethod
    def backward(ctx: Any, grad_B: Tensor) -> tuple[Tensor, None, None, None]:
        cost_BNM, coupling_BNM = ctx.saved_tensors
        with torch.no_grad():
            gradient_BNM = (grad_B[:, None, None] * implicit_gradient(cost_BNM, coupling_BNM, ctx.epsilon)).to(cost_BNM.dtype)
        return first_derivative_only(gradient_BNM, cost_BNM, grad_B), None, None, None


def implicit_gradient(cost_BNM: Tensor, coupling_BNM: Tensor, epsilon: float) -> Tensor:
    """d<T(C), C> / dC [B, N, M], 0 where the plan is; solved in float64. For epsilon 0 the plan stands still, and it is the plan."""
    if epsilon == 0.0:
        return coupling_BNM
    plan_BNM = coupling_BNM.double()
    work_BNM = plan_BNM * cost_BNM.double().masked_fill(coupling_BNM == 0, 0.0)
    turned = plan_BNM.shape[1] > plan_BNM.shape[2]  # the shorter side is solved for, the longer eliminated
    if turned:
        plan_BNM, work_BNM = plan_BNM.transpose(1, 2), work_BNM.transpose(1, 2)
    rows_BN, columns_BM = plan_BNM.sum(2), plan_BNM.sum(1)
    inverse_BM = torch.where(columns_BM > 0, 1.0 / columns_BM, 0.0)
    share_BNM = plan_BNM * inverse_BM[:, None, :]
    # Of the constant that may be added to p and taken from q, the rank-one term chooses one; rows without mass become identities.
    system_BNN = torch.diag_embed(torch.where(rows_BN > 0, rows_BN * (1 + RIDGE), 1.0)) - share_BNM @ plan_BNM.transpose(1, 2)
    system_BNN = system_BNN + rows_BN[:, :, None] * rows_BN[:, None, :]
    right_BN = work_BNM.sum(2) - (share_BNM @ work_BNM.sum(1)[:, :, None]).squeeze(2)
    p_BN: Tensor = torch.linalg.solve_ex(system_BNN, right_BN)[0]
    singular_B = ~p_BN.isfinite().all(1)
    if singular_B.any():
        p_BN[singular_B] = (torch.linalg.pinv(system_BNN[singular_B], hermitian=True) @ right_BN[singular_B][:, :, None]).squeeze(2)
    q_BM = inverse_BM * (work_BNM.sum(1) - (plan_BNM.transpose(1, 2) @ p_BN[:, :, None]).squeeze(2))
    gradient_BNM = plan_BNM + (plan_BNM * (p_BN[:, :, None] + q_BM[:, None, :]) - work_BNM) / epsilon
    gradient_BNM = gradient_BNM.transpose(1, 2) if turned else gradient_BNM
    return gradient_BNM.to(coupling_BNM.dtype)


def first_derivative_only(gradient: Tensor, *depends_on: Tensor) -> Tensor:
    """What a backward pass returns. Under create_graph=True it hangs on what it depends on, so that differentiating it again is an error;
    a constant would be a silent zero."""
    if not torch.is_grad_enabled():
        return gradient
    hung: Tensor = _FirstDerivativeOnly.apply(gradient, *depends_on)  # type: ignore[no-untyped-call]
    return hung


class _FirstDerivativeOnly(Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *depends_on: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise RuntimeError(
            "optical_ray.transport has first derivatives only: its backward pass does not tell how the plan itself would move. "
            "Drop create_graph=True, or keep the transport loss out of what is differentiated twice"
        )
