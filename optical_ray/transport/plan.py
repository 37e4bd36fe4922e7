"""The transport plan of a batch of pairs, and what can be asked of it. B pairs, N student tokens, M teacher tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

PLAN_UNIFORM_ABOVE = 0.98
"""Mean normalised entropy from which a plan aligns nothing: the independent plan has 1; multilingual-e5 on raw cosines at 0.1: 0.99."""


@dataclass(frozen=True, slots=True)
class TransportPlan:
    """Couplings, detached: no graph leads through the solver."""

    coupling_BNM: Tensor
    """Mass moved from student token i to teacher token j, float [B, N, M]; 0 at padding; sums to 1 for every non-empty pair."""
    cost_B: Tensor
    """<T, C>, float [B]."""
    regularised_cost_B: Tensor
    """<T, C> + epsilon * KL(T || a b'), float [B]: what the plan minimises."""
    violation_B: Tensor
    """L1 probability mass by which rows plus columns miss their marginals, float [B]."""
    converged_B: Tensor
    """violation <= tolerance, bool [B]; a capped solve is False."""
    empty_B: Tensor
    """A side has no mass, bool [B]: the plan is zero and the pair counts in no mean."""
    iterations_B: Tensor
    """int64 [B]."""
    normalised_entropy_B: Tensor
    """H(T) / H(a b'), float [B]: 1 is the independent plan. NaN where a side has fewer than two tokens and the plan is forced."""

    def to(self, dtype: torch.dtype) -> TransportPlan:
        """The plan with its numbers in another precision; flags and counts stay."""
        return replace(
            self,
            coupling_BNM=self.coupling_BNM.to(dtype),
            cost_B=self.cost_B.to(dtype),
            regularised_cost_B=self.regularised_cost_B.to(dtype),
            violation_B=self.violation_B.to(dtype),
            normalised_entropy_B=self.normalised_entropy_B.to(dtype),
        )

    def mean_entropy(self) -> float:
        """Mean normalised entropy over the pairs whose plan is not forced; NaN when there is none."""
        return self.normalised_entropy_B.nanmean().item()


def describe_plan(
    coupling_BNM: Tensor, cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor, epsilon: float, tolerance: float, iterations_B: Tensor
) -> TransportPlan:
    """Derive everything else from the coupling; marginals are zero at padding and for empty pairs."""
    empty_B = (a_BN.sum(1) == 0) | (b_BM.sum(1) == 0)
    violation_B = (coupling_BNM.sum(2) - a_BN).abs().sum(1) + (coupling_BNM.sum(1) - b_BM).abs().sum(1)
    violation_B = violation_B.masked_fill(empty_B, 0.0)
    cost_B = (coupling_BNM * cost_BNM).sum((1, 2))
    negative_entropy_B = torch.xlogy(coupling_BNM, coupling_BNM).sum((1, 2))
    cross_B = torch.xlogy(coupling_BNM.sum(2), a_BN).sum(1) + torch.xlogy(coupling_BNM.sum(1), b_BM).sum(1)
    divergence_B = (negative_entropy_B - cross_B).masked_fill(empty_B, 0.0)
    independent_B = -(torch.xlogy(a_BN, a_BN).sum(1) + torch.xlogy(b_BM, b_BM).sum(1))
    forced_B = empty_B | ((a_BN > 0).sum(1) < 2) | ((b_BM > 0).sum(1) < 2)
    entropy_B = torch.where(forced_B, torch.nan, -negative_entropy_B / independent_B)
    return TransportPlan(
        coupling_BNM=coupling_BNM,
        cost_B=cost_B,
        regularised_cost_B=cost_B + epsilon * divergence_B,
        violation_B=violation_B,
        converged_B=violation_B <= tolerance,
        empty_B=empty_B,
        iterations_B=iterations_B,
        normalised_entropy_B=entropy_B,
    )
