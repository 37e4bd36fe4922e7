"""Sinkhorn's algorithm for many small ragged problems at once; every pair stops by itself.

`torch` is the readable reference, in the log domain, for any device; `cpu` is compiled and does no padded work.

B pairs, N student tokens, M teacher tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from optical_ray.config import Config
from optical_ray.errors import NumericsError
from optical_ray.transport.exact import solve_exact
from optical_ray.transport.plan import TransportPlan, describe_plan

CHECK_EVERY = 5  # iterations between two looks at the violation; a look costs about one iteration
MASS_TOLERANCE = 1e-4  # how far a caller's masses may miss a sum of 1 (float32 sums of 512 tokens stay below 1e-5)
CAPS = ((0.2, 30), (0.1, 100), (0.05, 400), (0.02, 1000), (0.01, 2000), (0.0, 4000))
"""(smallest epsilon in cosine distance, iterations): what sufficed for a violation of 1e-3 on random-unit costs, the hardest kind."""


class SinkhornConfig(Config):
    """How the plan is found."""

    epsilon: NonNegativeFloat = 0.15
    """Entropic regularisation, in units of `cost.scale`; 0 is the exact plan (POT's emd)."""
    tolerance: PositiveFloat = 1e-3
    """Stop a pair when its rows plus columns miss their sums by less than this much probability mass (L1). 1e-3 gives the loss to 0.1 %."""
    max_iterations: PositiveInt | None = None
    """Cap per pair; None: by epsilon. A capped solve is reported in `transport/converged`, never hidden."""
    backend: Literal["auto", "torch", "cpu"] = "auto"
    """`cpu`: compiled, on the CPU, float64 inside, one thread; `torch`: log domain, any device; `auto`: `cpu` for tensors on the CPU."""


def uniform_mass(mask_BN: Tensor) -> Tensor:
    """Equal mass on every real token, float32 [B, N]; rows sum to 1, or to 0 where no token is real."""
    return mask_BN.float() / mask_BN.sum(1, keepdim=True).clamp_min(1)


def solve_sinkhorn(cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor, config: SinkhornConfig, unit: float = 1.0) -> TransportPlan:
    """Couple each student sentence with its teacher translation at least cost.

    Minimises <T, C> + epsilon * KL(T || a b') over couplings T with row sums `a` and column sums `b` (Cuturi 2013; log-domain updates of
    the potentials as in Peyre & Cuturi 2019, section 4.4, started from the c-transforms so that no entry underflows at any epsilon).

    Args:
        cost_BNM: Ground cost, float [B, N, M]. At padding, any finite value: it is ignored.
        a_BN: Student token mass, float [B, N]; rows sum to 1, or are all 0; exactly 0 at padding.
        b_BM: Teacher token mass, float [B, M]; likewise.
        config: Epsilon, tolerance, cap.
        unit: Cost that one unit of epsilon stands for (`GroundCost.unit`).

    Returns:
        The plan, detached. `plan.violation_B` is L1 probability mass, rows plus columns; nothing is raised when a solve stops early:
        `plan.converged_B` says so. A pair with an empty side gets a zero plan and `plan.empty_B`.

    Raises:
        ValueError: shapes disagree, a mass is negative, or a non-empty row does not sum to 1.
        NumericsError: a real token's cost is NaN or infinite; the pairs are named.
    """
    dtype = torch.float64 if cost_BNM.dtype == torch.float64 else torch.float32
    with torch.no_grad(), torch.autocast(cost_BNM.device.type, enabled=False):
        cost_BNM, a_BN, b_BM = cost_BNM.detach().to(dtype), a_BN.to(dtype), b_BM.to(dtype)
        _check(cost_BNM, a_BN, b_BM)
        empty_B = (a_BN.sum(1) == 0) | (b_BM.sum(1) == 0)
        real_BNM = (a_BN > 0)[:, :, None] & (b_BM > 0)[:, None, :]
        cost_BNM = cost_BNM.masked_fill(~real_BNM, 0.0)
        if not cost_BNM.isfinite().all():
            broken = (~cost_BNM.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
            raise NumericsError(
                f"transport: NaN or infinite cost in pair {', '.join(map(str, broken[:8]))} of the batch ({len(broken)} of {len(cost_BNM)})"
            )
        a_BN = a_BN.masked_fill(empty_B[:, None], 0.0)
        b_BM = b_BM.masked_fill(empty_B[:, None], 0.0)
        # Equal totals in the solver's own dtype: masses that were rounded elsewhere would never meet a tight tolerance.
        a_BN = a_BN / a_BN.sum(1, keepdim=True).clamp_min(0.5)
        b_BM = b_BM / b_BM.sum(1, keepdim=True).clamp_min(0.5)
        epsilon = config.epsilon * unit
        if epsilon == 0.0:
            coupling_BNM, iterations_B = solve_exact(cost_BNM, a_BN, b_BM)
        else:
            cap = config.max_iterations or next(cap for smallest, cap in CAPS if epsilon >= smallest)
            on_cpu = cost_BNM.device.type == "cpu"
            if config.backend == "cpu" and not on_cpu:
                raise ValueError(f"transport.backend=cpu: the tensors are on {cost_BNM.device}; use torch or auto")
            if config.backend == "cpu" or (config.backend == "auto" and on_cpu):
                from optical_ray.transport.cpu import solve_pairs  # here: numba takes half a second to import

                coupling_BNM, iterations_B = solve_pairs(cost_BNM, a_BN, b_BM, epsilon, config.tolerance, cap)
                # Described in the precision it was solved in: rounding must not push a pair that met the tolerance over it.
                wide = cost_BNM.double(), a_BN.double(), b_BM.double()
                return describe_plan(coupling_BNM, *wide, epsilon, config.tolerance, iterations_B).to(dtype)
            coupling_BNM, iterations_B = _solve_log(cost_BNM, a_BN, b_BM, ~empty_B, epsilon, config.tolerance, cap)
        return describe_plan(coupling_BNM, cost_BNM, a_BN, b_BM, epsilon, config.tolerance, iterations_B)


def _solve_log(
    cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor, active_B: Tensor, epsilon: float, tolerance: float, cap: int
) -> tuple[Tensor, Tensor]:
    coupling_BNM = torch.zeros_like(cost_BNM)
    iterations_B = torch.zeros(len(cost_BNM), dtype=torch.int64, device=cost_BNM.device)
    index = active_B.nonzero().flatten()
    if len(index) == 0:
        return coupling_BNM, iterations_B
    scaled = cost_BNM[index] / epsilon
    a, b, log_a, log_b = a_BN[index], b_BM[index], a_BN[index].log(), b_BM[index].log()  # -inf at padding: no mass can reach it
    f = scaled.masked_fill(log_b[:, None, :].isneginf(), torch.inf).amin(2).masked_fill(log_a.isneginf(), -torch.inf)
    g = (scaled - f[:, :, None]).masked_fill(log_a[:, :, None].isneginf(), torch.inf).amin(1).masked_fill(log_b.isneginf(), -torch.inf)
    for iteration in range(1, cap + 1):
        # f and g are potentials over epsilon with the log masses absorbed, so log T = f + g - C / epsilon.
        f = log_a - torch.logsumexp(g[:, None, :] - scaled, dim=2)
        g = log_b - torch.logsumexp(f[:, :, None] - scaled, dim=1)
        if iteration % CHECK_EVERY and iteration != cap:
            continue
        coupling = (f[:, :, None] + g[:, None, :] - scaled).exp()
        done = (coupling.sum(2) - a).abs().sum(1) + (coupling.sum(1) - b).abs().sum(1) <= tolerance
        if iteration == cap:
            done = torch.ones_like(done)
        coupling_BNM[index[done]] = coupling[done]
        iterations_B[index[done]] = iteration
        if done.all():
            break
        index, scaled, a, b, log_a, log_b, f, g = (item[~done] for item in (index, scaled, a, b, log_a, log_b, f, g))
    return coupling_BNM, iterations_B


def _check(cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor) -> None:
    if cost_BNM.dim() != 3 or a_BN.shape != cost_BNM.shape[:2] or b_BM.shape != (cost_BNM.shape[0], cost_BNM.shape[2]):
        raise ValueError(
            f"transport: cost {list(cost_BNM.shape)}, a {list(a_BN.shape)}, b {list(b_BM.shape)}; expected [B, N, M], [B, N], [B, M]"
        )
    for name, mass in (("a", a_BN), ("b", b_BM)):
        if (mass < 0).any():
            raise ValueError(f"transport: {name} holds a negative mass ({mass.min().item():.3g}); masses are probabilities")
        total_B = mass.sum(1)
        off_B = ((total_B - 1).abs() > MASS_TOLERANCE) & (total_B != 0) | total_B.isnan()
        if off_B.any():
            pair = int(off_B.nonzero()[0])
            raise ValueError(f"transport: {name} of pair {pair} sums to {total_B[pair].item():.6g}; expected 1, or 0 for an empty side")
