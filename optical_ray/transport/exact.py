"""The unregularised plan, pair by pair, by POT's network simplex. B pairs, N student tokens, M teacher tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from optical_ray.transport.plan import Potentials, Solution, describe_coupling

EXACT_TOLERANCE = 1e-6  # L1 mass; the simplex moves masses about, and misses by rounding alone


def solve_exact(cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor) -> tuple[Tensor, Solution]:
    """Optimal couplings [B, N, M] and the dual potentials of the linear program; zero iterations. Runs on the CPU in float64."""
    import ot  # here: POT takes a second to import and only this function needs it

    a_BN, b_BM = a_BN.double().cpu(), b_BM.double().cpu()
    real_BNM = (a_BN > 0)[:, :, None] & (b_BM > 0)[:, None, :]
    device, cost_BNM = cost_BNM.device, cost_BNM.double().cpu().masked_fill(~real_BNM, 0.0)
    broken_B = ~cost_BNM.isfinite().all(2).all(1)
    cost_BNM = cost_BNM.masked_fill(broken_B[:, None, None], 0.0)
    coupling_BNM, f_BN, g_BM = torch.zeros_like(cost_BNM), torch.zeros_like(a_BN), torch.zeros_like(b_BM)
    for pair in range(len(cost_BNM)):
        rows, columns = a_BN[pair].nonzero().flatten(), b_BM[pair].nonzero().flatten()
        if len(rows) == 0 or len(columns) == 0 or broken_B[pair]:
            continue
        cost = cost_BNM[pair][rows][:, columns].numpy()
        least = cost.min()  # POT takes far negative costs for infeasible ones
        plan, found = ot.emd(a_BN[pair, rows].numpy(), b_BM[pair, columns].numpy(), cost - least, log=True)
        if found["warning"]:
            raise RuntimeError(f"transport: POT's emd on pair {pair} ({len(rows)} x {len(columns)} tokens): {found['warning']}")
        coupling_BNM[pair, rows[:, None], columns[None, :]] = torch.as_tensor(plan)
        f_BN[pair, rows], g_BM[pair, columns] = torch.as_tensor(found["u"] + least), torch.as_tensor(found["v"])
    iterations_B = torch.zeros(len(cost_BNM), dtype=torch.int64)
    solution = describe_coupling(coupling_BNM, cost_BNM, a_BN, b_BM, Potentials(f_BN, g_BM), 0.0, EXACT_TOLERANCE, iterations_B, broken_B)
    moved = {name: getattr(solution, name).to(device) for name in Solution.__slots__}
    return coupling_BNM.to(device), Solution(**moved)
