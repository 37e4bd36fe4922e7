"""The reference: Sinkhorn's algorithm in the log domain, in plain torch, on any device and in float64 too.

B pairs, N student tokens, M teacher tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optical_ray.transport.config import STAGE_ITERATIONS
from optical_ray.transport.plan import Potentials, Solution, describe_coupling

CHECK_EVERY = 5  # iterations between two looks at the violation: a look waits for the device
SAFETY = 0.95  # of the tolerance, is aimed at: the sums of the plan that is handed out round differently


def solve_log_domain(
    cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor, epsilon: float, tolerance: float, cap: int, stages: int, start: Potentials | None
) -> tuple[Tensor, Solution]:
    """Couplings [B, N, M] by updates of the potentials (Peyre & Cuturi 2019, section 4.4, in KL form); arguments as `cpu.solve_pairs`.

    f_i = -epsilon log sum_j b_j exp((g_j - C_ij) / epsilon), then g likewise: columns are exact, and the next f tells how far rows are off.
    """
    real_BNM = (a_BN > 0)[:, :, None] & (b_BM > 0)[:, None, :]
    cost_BNM = cost_BNM.masked_fill(~real_BNM, 0.0)
    broken_B = ~cost_BNM.isfinite().all(2).all(1)
    cost_BNM = cost_BNM.masked_fill(broken_B[:, None, None], 0.0)
    coupling_BNM = torch.zeros_like(cost_BNM)
    f_BN, g_BM = torch.zeros_like(a_BN), torch.zeros_like(b_BM)
    iterations_B = torch.zeros(len(cost_BNM), dtype=torch.int64, device=cost_BNM.device)
    index = (~broken_B & real_BNM.any(2).any(1)).nonzero().flatten()
    cost, a, b = cost_BNM[index], a_BN[index], b_BM[index]
    log_a, log_b = a.log(), b.log()  # -inf where there is no mass: such tokens take part in no sum
    g = torch.zeros_like(b) if start is None else _plausible(start.g_BM[index].to(b), b, cost, epsilon)

    def f_from(g: Tensor, scale: float) -> Tensor:
        return -scale * torch.logsumexp(log_b[:, None, :] + (g[:, None, :] - cost) / scale, dim=2)

    def g_from(f: Tensor, scale: float) -> Tensor:
        return -scale * torch.logsumexp(log_a[:, :, None] + (f[:, :, None] - cost) / scale, dim=1)

    iteration = 0
    for stage in range(stages if start is None else 0, 0, -1):
        for _ in range(STAGE_ITERATIONS):
            g = g_from(f_from(g, epsilon * 2**stage), epsilon * 2**stage)
            iteration += 1
    f = f_from(g, epsilon)
    while len(index):
        g = g_from(f, epsilon)
        next_f = f_from(g, epsilon)
        iteration += 1
        if iteration % CHECK_EVERY == 0 or iteration >= cap:
            # Row sums of the plan of (f, g) are a exp((f - next_f) / epsilon); its columns are exact.
            error = (a * torch.expm1((f - next_f) / epsilon)).abs().sum(1)
            stop = torch.ones_like(error, dtype=torch.bool) if iteration >= cap else error <= SAFETY * tolerance
            chosen = index[stop]
            log_plan = (
                log_a[stop][:, :, None] + log_b[stop][:, None, :] + (f[stop][:, :, None] + g[stop][:, None, :] - cost[stop]) / epsilon
            )
            coupling_BNM[chosen] = log_plan.exp()
            f_BN[chosen], g_BM[chosen] = f[stop], g[stop]
            iterations_B[chosen] = iteration
            go_on = ~stop
            index, cost, a, b, log_a, log_b, g, next_f = (item[go_on] for item in (index, cost, a, b, log_a, log_b, g, next_f))
        f = next_f
    potentials = Potentials(f_BN.masked_fill(a_BN == 0, 0.0), g_BM.masked_fill(b_BM == 0, 0.0))
    return coupling_BNM, describe_coupling(coupling_BNM, cost_BNM, a_BN, b_BM, potentials, epsilon, tolerance, iterations_B, broken_B)


def _plausible(g_BM: Tensor, b_BM: Tensor, cost_BNM: Tensor, epsilon: float) -> Tensor:
    """Given potentials where they differ by no more than a solution's could, else 0: from far away, digits would be lost for good."""
    if len(g_BM) == 0:
        return g_BM
    none_BM = b_BM == 0
    low_B, high_B = g_BM.masked_fill(none_BM, torch.inf).amin(1), g_BM.masked_fill(none_BM, -torch.inf).amax(1)
    reach_B = 2 * (cost_BNM.amax((1, 2)) - cost_BNM.amin((1, 2))) + 100 * epsilon
    return torch.where((high_B - low_B <= reach_B)[:, None] & ~none_BM, g_BM - low_B[:, None], 0.0)
