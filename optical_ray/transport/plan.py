"""The transport plan of a batch of pairs, and what can be asked of it. B pairs, N student tokens, M teacher tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

PLAN_UNIFORM_ABOVE = 0.98
"""Mean normalised entropy from which a plan aligns nothing: the independent plan has 1; multilingual-e5 on raw cosines at 0.1: 0.99."""


@dataclass(frozen=True, slots=True)
class Potentials:
    """Dual variables in KL form: T_ij = a_i b_j exp((f_i + g_j - C_ij) / epsilon). For epsilon 0, those of the linear program."""

    f_BN: Tensor
    """In units of the cost, float [B, N]; 0 at tokens without mass."""
    g_BM: Tensor
    """Likewise, float [B, M]."""


@dataclass(frozen=True, slots=True)
class Solution:
    """What a backend found, beside the coupling, in the precision of the solve; fields as in TransportPlan."""

    f_BN: Tensor
    g_BM: Tensor
    cost_B: Tensor
    regularised_cost_B: Tensor
    violation_B: Tensor
    normalised_entropy_B: Tensor
    cost_std_B: Tensor
    iterations_B: Tensor
    converged_B: Tensor
    """Judged in the precision of the solve, so that rounding pushes no pair over the tolerance; False for a broken one."""
    empty_B: Tensor
    broken_B: Tensor
    """A real entry of the cost is NaN or infinite, bool: the pair was left out."""


@dataclass(frozen=True)
class TransportPlan:
    """Couplings and what is known of them, detached: no graph leads through the solver."""

    epsilon: float
    """In units of the cost; 0 for exact plans."""
    potentials: Potentials
    """Where another solve may start."""
    cost_B: Tensor
    """<T, C>, float [B]."""
    regularised_cost_B: Tensor
    """<T, C> + epsilon * KL(T || a b'), float [B]: what the plan minimises."""
    violation_B: Tensor
    """L1 probability mass by which rows plus columns of the plan miss their marginals, float [B]."""
    converged_B: Tensor
    """violation <= tolerance, bool [B]; a capped solve is False, so is a skipped one."""
    empty_B: Tensor
    """A side has no mass, bool [B]: the plan is zero and the pair counts in no mean."""
    skipped_B: Tensor
    """The cost holds NaN or infinity (`on_nonfinite="skip"`), bool [B]: as empty, and to be counted."""
    iterations_B: Tensor
    """Sinkhorn iterations and Newton steps, int64 [B]."""
    normalised_entropy_B: Tensor
    """H(T) / H(a b'), float [B]: 1 is the independent plan. NaN where a side has fewer than two tokens and the plan is forced."""
    cost_std_B: Tensor
    """Standard deviation of the cost over the pair's real entries, float [B]: what epsilon must be small against."""
    build_coupling: Callable[[], Tensor] = field(repr=False)
    """Gives the coupling; a backend that never held it in memory rebuilds it here."""

    @cached_property
    def coupling_BNM(self) -> Tensor:
        """Mass moved from student token i to teacher token j, float [B, N, M]; 0 at padding; sums to 1 for every solved pair."""
        return self.build_coupling()

    @property
    def solved_B(self) -> Tensor:
        """Pairs that count in a mean, bool [B]."""
        return ~(self.empty_B | self.skipped_B)

    def table(self) -> Tensor:
        """What `diagnose` needs, float64 [B, 7], one row per pair: rows of several workers may be joined."""
        columns = (
            self.empty_B,
            self.skipped_B,
            self.converged_B,
            self.iterations_B,
            self.violation_B,
            self.normalised_entropy_B,
            self.cost_std_B,
        )
        return torch.stack([column.double() for column in columns], dim=1)

    def diagnostics(self) -> Diagnostics:
        """What to log of this batch."""
        return diagnose(self.table())

    def __reduce__(self) -> tuple[object, ...]:  # a closure does not travel: the coupling does
        values = [getattr(self, name) for name in self.__dataclass_fields__ if name != "build_coupling"]
        return TransportPlan, (*values, Held(self.coupling_BNM))


@dataclass(frozen=True, slots=True)
class Held:
    """A coupling that is in memory already."""

    coupling_BNM: Tensor

    def __call__(self) -> Tensor:
        return self.coupling_BNM


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """A batch of plans in a few numbers; means and shares are over the pairs that were solved, NaN when there is none."""

    pairs: int
    empty: int
    skipped: int
    """Pairs with NaN or infinity."""
    converged: float
    """Share."""
    iterations_median: float
    iterations_max: int
    violation: float
    """Mean, L1 probability mass."""
    plan_entropy: float
    """Mean normalised entropy of the plans that are not forced: 1 is the independent plan."""
    cost_std: float
    """Mean over pairs of the standard deviation of a pair's cost, in units of the cost."""

    @property
    def plan_uniform(self) -> bool:
        """The verdict: epsilon is too large for the spread of the cost, and the plans align nothing."""
        return self.plan_entropy > PLAN_UNIFORM_ABOVE


def diagnose(table: Tensor) -> Diagnostics:
    """Sum up the rows of `TransportPlan.table`, of one batch or of all workers' parts of it."""
    empty, skipped = table[:, 0] > 0, table[:, 1] > 0
    solved = table[~(empty | skipped)]
    nothing = float("nan")
    many = len(solved) > 0
    forced = solved[:, 5].isnan()
    return Diagnostics(
        pairs=len(table),
        empty=int(empty.sum()),
        skipped=int(skipped.sum()),
        converged=solved[:, 2].mean().item() if many else nothing,
        iterations_median=solved[:, 3].quantile(0.5).item() if many else nothing,
        iterations_max=int(solved[:, 3].max()) if many else 0,
        violation=solved[:, 4].mean().item() if many else nothing,
        plan_entropy=solved[~forced, 5].mean().item() if many and not forced.all() else nothing,
        cost_std=solved[:, 6].mean().item() if many else nothing,
    )


def describe_coupling(
    coupling_BNM: Tensor,
    cost_BNM: Tensor,
    a_BN: Tensor,
    b_BM: Tensor,
    potentials: Potentials,
    epsilon: float,
    tolerance: float,
    iterations_B: Tensor,
    broken_B: Tensor,
) -> Solution:
    """Derive the rest of a solution from its coupling. The cost is finite; it and the coupling are 0 where there is no mass."""
    rows_BN, columns_BM = coupling_BNM.sum(2), coupling_BNM.sum(1)
    empty_B = (a_BN.sum(1) == 0) | (b_BM.sum(1) == 0)
    solved_B = ~(empty_B | broken_B)
    violation_B = ((rows_BN - a_BN).abs().sum(1) + (columns_BM - b_BM).abs().sum(1)).masked_fill(~solved_B, 0.0)
    cost_B = (coupling_BNM * cost_BNM).sum((1, 2))
    entropy_B = -torch.xlogy(coupling_BNM, coupling_BNM).sum((1, 2))
    crossed_B = torch.xlogy(rows_BN, a_BN).sum(1) + torch.xlogy(columns_BM, b_BM).sum(1)
    independent_B = -(torch.xlogy(a_BN, a_BN).sum(1) + torch.xlogy(b_BM, b_BM).sum(1))
    forced_B = ~solved_B | ((a_BN > 0).sum(1) < 2) | ((b_BM > 0).sum(1) < 2)
    real_BNM = (a_BN > 0)[:, :, None] & (b_BM > 0)[:, None, :] & solved_B[:, None, None]
    count_B = real_BNM.sum((1, 2))
    off_BNM = (cost_BNM - (cost_BNM.sum((1, 2)) / count_B.clamp_min(1))[:, None, None]).masked_fill(~real_BNM, 0.0)
    return Solution(
        f_BN=potentials.f_BN,
        g_BM=potentials.g_BM,
        cost_B=cost_B,
        regularised_cost_B=cost_B - (epsilon * (entropy_B + crossed_B)).masked_fill(~solved_B, 0.0),
        violation_B=violation_B,
        normalised_entropy_B=torch.where(forced_B, torch.nan, entropy_B / independent_B),
        cost_std_B=(off_BNM.square().sum((1, 2)) / (count_B - 1).clamp_min(1)).sqrt(),
        iterations_B=iterations_B,
        converged_B=(violation_B <= tolerance) & ~broken_B,
        empty_B=empty_B,
        broken_B=broken_B,
    )


def make_plan(solution: Solution, build_coupling: Callable[[], Tensor], epsilon: float, dtype: torch.dtype) -> TransportPlan:
    """The plan of a solution, in the caller's precision."""
    return TransportPlan(
        epsilon=epsilon,
        potentials=Potentials(solution.f_BN.to(dtype), solution.g_BM.to(dtype)),
        cost_B=solution.cost_B.to(dtype),
        regularised_cost_B=solution.regularised_cost_B.to(dtype),
        violation_B=solution.violation_B.to(dtype),
        converged_B=solution.converged_B,
        empty_B=solution.empty_B,
        skipped_B=solution.broken_B,
        iterations_B=solution.iterations_B,
        normalised_entropy_B=solution.normalised_entropy_B.to(dtype),
        cost_std_B=solution.cost_std_B.to(dtype),
        build_coupling=build_coupling,
    )
