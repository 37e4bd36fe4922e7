"""Entropic transport for many small ragged problems at once; every pair stops by itself.

Here is what all backends share: the settings, the checks, the choice. `torch` is the readable reference (`log_domain.py`), `cpu` is
compiled and does no padded work (`cpu/`), `triton` never writes the cost to the GPU's memory (`gpu/`), `exact` is POT's emd.

B pairs, N student tokens, M teacher tokens.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from optical_ray.errors import NumericsError
from optical_ray.transport.config import Backend, SinkhornConfig
from optical_ray.transport.exact import solve_exact
from optical_ray.transport.log_domain import solve_log_domain
from optical_ray.transport.marginals import balance_masses, check_masses
from optical_ray.transport.plan import Held, Potentials, Solution, TransportPlan, make_plan

SINGLE_TOLERANCE = 1e-5  # below it float32 cannot tell a met violation from its own rounding: such solves run in float64


def solve_sinkhorn(
    cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor, config: SinkhornConfig, unit: float = 1.0, start: Potentials | None = None
) -> TransportPlan:
    """Couple each student sentence with its teacher translation at least cost.

    Minimises <T, C> + epsilon * KL(T || a b') over couplings T with row sums `a` and column sums `b` (Cuturi 2013; Peyre & Cuturi 2019,
    chapter 4). Half precision is solved in float32, whatever autocast is on; float64 in float64.

    Args:
        cost_BNM: Ground cost, float [B, N, M]. Ignored where a side has no mass, whatever it is.
        a_BN: Student token mass, float [B, N]; rows sum to 1, or are all 0; exactly 0 at padding.
        b_BM: Teacher token mass, float [B, M]; likewise.
        config: Epsilon, tolerance, cap, backend.
        unit: Cost that one unit of epsilon stands for (`GroundCost.unit`).
        start: Potentials to begin with, such as `plan.potentials` of a similar problem; any finite ones are safe.

    Returns:
        The plan, detached. `plan.violation_B` is L1 probability mass, rows plus columns; nothing is raised when a solve stops early:
        `plan.converged_B` says so. A pair with an empty side gets a zero plan and `plan.empty_B`.

    Raises:
        ValueError: shapes or devices disagree, a dtype is not floating, the unit is not positive, a mass is negative, or a non-empty row
            does not sum to 1.
        NumericsError: a real token's cost is NaN or infinite; the pairs are named. Not with `on_nonfinite="skip"`.
        ModuleNotFoundError: `backend="triton"` without Triton.
    """
    _check_shapes(cost_BNM, a_BN, b_BM, start)
    with torch.no_grad():
        dtype = torch.float64 if cost_BNM.dtype == torch.float64 else torch.float32
        wide = torch.float64 if config.tolerance < SINGLE_TOLERANCE else dtype
        unit = float(unit)
        if not (unit > 0 and math.isfinite(unit)):
            raise ValueError(f"transport: the unit of epsilon is {unit}; expected a positive number (`measure_unit`)")
        epsilon = config.epsilon * unit
        backend = choose_backend(config, cost_BNM.device, dtype, cost_BNM.shape[1], cost_BNM.shape[2])
        if backend == "exact":
            check_masses(a=a_BN, b=b_BM)
            coupling_BNM, solution = solve_exact(cost_BNM, *balance_masses(a_BN, b_BM))
            return finish(solution, Held(coupling_BNM.to(dtype)), epsilon, config, dtype)
        tolerance, cap = config.tolerance, config.cap(epsilon)
        if backend == "cpu":
            from optical_ray.transport.cpu.solve import solve_pairs  # here: numba takes half a second to import

            threads = torch.get_num_threads()
            coupling_BNM, solution = solve_pairs(
                cost_BNM.to(wide), a_BN, b_BM, epsilon, tolerance, cap, config.stages(epsilon), start, threads
            )
            return finish(solution, Held(coupling_BNM.to(dtype)), epsilon, config, dtype)
        check_masses(a=a_BN, b=b_BM)
        a_BN, b_BM = balance_masses(a_BN, b_BM)
        if backend == "triton":
            from optical_ray.transport.gpu.fused import solve_on_gpu  # here: an extra

            solution, rebuild = solve_on_gpu(cost_BNM, a_BN, b_BM, epsilon, tolerance, cap, start)
            return finish(solution, rebuild, epsilon, config, dtype)
        with torch.autocast(cost_BNM.device.type, enabled=False):
            coupling_BNM, solution = solve_log_domain(
                cost_BNM.detach().to(wide), a_BN.to(wide), b_BM.to(wide), epsilon, tolerance, cap, config.stages(epsilon), start
            )
        return finish(solution, Held(coupling_BNM.to(dtype)), epsilon, config, dtype)


def choose_backend(config: SinkhornConfig, device: torch.device, dtype: torch.dtype, rows: int, columns: int) -> Backend:
    """The backend for a shape on a device; an explicit choice that cannot serve it is an error.

    Raises:
        ValueError: the chosen backend does not serve this device, precision or shape.
        ModuleNotFoundError: Triton is chosen and not installed.
    """
    if config.epsilon == 0.0:
        return "exact"
    if config.backend == "cpu" and device.type != "cpu":
        raise ValueError(f"transport.backend=cpu: the tensors are on {device}; use torch or auto")
    if config.backend in ("torch", "cpu"):
        return config.backend
    if device.type == "cpu" and config.backend == "auto":
        return "cpu"
    obstacle = _triton_obstacle(config, device, dtype, rows, columns)
    if obstacle is None:
        return "triton"
    if config.backend == "auto":
        return "torch"
    if obstacle.startswith("Triton"):
        raise ModuleNotFoundError(f"transport.backend=triton: {obstacle}")
    raise ValueError(f"transport.backend=triton: {obstacle}; use torch or auto")


def _triton_obstacle(config: SinkhornConfig, device: torch.device, dtype: torch.dtype, rows: int, columns: int) -> str | None:
    if not has_triton():
        return "Triton is not installed; `pip install 'optical-ray[gpu]'`, or use backend=torch"
    from optical_ray.transport.gpu import kernel

    if device.type != "cuda" and not kernel.is_interpreted():
        return f"the tensors are on {device}, and the kernel runs on CUDA devices"
    if dtype == torch.float64 or config.tolerance < SINGLE_TOLERANCE:
        return f"the kernel computes in float32; found {dtype} and a tolerance of {config.tolerance:g}, which needs float64"
    if max(rows, columns) > kernel.MAX_TOKENS:
        return f"the kernel takes up to {kernel.MAX_TOKENS} tokens a side, found {rows} and {columns}"
    return None


@cache
def has_triton() -> bool:
    """Triton can be imported (an extra; it comes with torch's CUDA builds)."""
    return importlib.util.find_spec("triton") is not None


def finish(
    solution: Solution, build_coupling: Callable[[], Tensor], epsilon: float, config: SinkhornConfig, dtype: torch.dtype
) -> TransportPlan:
    """The plan of a solution, or the error that its broken pairs call for."""
    if config.on_nonfinite == "raise" and solution.broken_B.any():
        broken = solution.broken_B.nonzero().flatten().tolist()
        raise NumericsError(
            f"transport: NaN or infinite cost in pair {', '.join(map(str, broken[:8]))}{', ...' if len(broken) > 8 else ''} of the batch "
            f"({len(broken)} of {len(solution.broken_B)}), or one too large for float32; look at those tokens, or set "
            "transport.on_nonfinite=skip to leave such pairs out"
        )
    return make_plan(solution, build_coupling, epsilon, dtype)


def _check_shapes(cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor, start: Potentials | None) -> None:
    named = {"cost": cost_BNM, "a": a_BN, "b": b_BM} | ({} if start is None else {"start.f": start.f_BN, "start.g": start.g_BM})
    for name, tensor in named.items():
        if not tensor.is_floating_point():
            hint = "; uniform_mass(mask) makes masses of a mask" if tensor.dtype == torch.bool else ""
            raise ValueError(f"transport: {name} is {tensor.dtype}; expected a floating dtype{hint}")
    devices = {tensor.device for tensor in named.values()}
    if len(devices) > 1:
        raise ValueError(f"transport: tensors on {' and '.join(sorted(map(str, devices)))}; expected one device")
    pairs, rows, columns = cost_BNM.shape if cost_BNM.dim() == 3 else (-1, -1, -1)
    if a_BN.shape != (pairs, rows) or b_BM.shape != (pairs, columns):
        raise ValueError(
            f"transport: cost {list(cost_BNM.shape)}, a {list(a_BN.shape)}, b {list(b_BM.shape)}; expected [B, N, M], [B, N], [B, M]"
        )
    if start is not None and (start.f_BN.shape != a_BN.shape or start.g_BM.shape != b_BM.shape):
        raise ValueError(
            f"transport: start potentials {list(start.f_BN.shape)}, {list(start.g_BM.shape)}; expected {[pairs, rows]}, {[pairs, columns]}"
        )
