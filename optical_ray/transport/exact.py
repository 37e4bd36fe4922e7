"""The unregularised plan, pair by pair, by POT's network simplex. B pairs, N student tokens, M teacher tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def solve_exact(cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor) -> tuple[Tensor, Tensor]:
    """Optimal couplings [B, N, M] and zero iterations [B]; empty pairs stay zero. Runs on the CPU in float64."""
    import ot  # here: POT takes a second to import and only this function needs it

    coupling_BNM = torch.zeros_like(cost_BNM)
    for pair in range(len(cost_BNM)):
        rows, columns = a_BN[pair].nonzero().flatten(), b_BM[pair].nonzero().flatten()
        if len(rows) == 0 or len(columns) == 0:
            continue
        a, b = a_BN[pair, rows].double().cpu().numpy(), b_BM[pair, columns].double().cpu().numpy()
        cost = cost_BNM[pair][rows][:, columns].double().cpu().numpy()
        plan = ot.emd(a / a.sum(), b / b.sum(), cost)
        coupling_BNM[pair, rows[:, None], columns[None, :]] = torch.as_tensor(plan).to(coupling_BNM)
    return coupling_BNM, torch.zeros(len(cost_BNM), dtype=torch.int64, device=cost_BNM.device)
