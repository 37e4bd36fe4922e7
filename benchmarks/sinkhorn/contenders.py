"""Who solves the problems: our backends, POT, geomloss; each with the ways of use that its tuning may choose from.

B pairs, N student tokens, M teacher tokens.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import ot
import torch
from ot.batch import solve_batch
from torch import Tensor

from benchmarks.sinkhorn.problems import ACCURACY, Problem
from optical_ray.transport import SinkhornConfig, solve_sinkhorn

OURS = "optical_ray cpu"
THRESHOLDS = tuple(10 ** (-power / 2) for power in range(4, 13))
"""Loose to tight, 1e-2 to 1e-6: what a contender's own stop rule is searched over; POT's is the L2 norm of the worst pair's missed sums."""
OUR_TOLERANCES = (ACCURACY, 0.9 * ACCURACY, 0.5 * ACCURACY)
"""Ours measures what the judge measures; the tighter two are for float32 sums that round the other way."""
SAFE = THRESHOLDS.index(1e-5)  # 64 sums that miss by 1e-5 in L2 miss by at most 8e-5 in L1

Layout = Literal["whole batch", "8 chunks", "one by one"]
LAYOUTS: tuple[Layout, ...] = ("whole batch", "8 chunks", "one by one")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to use a contender."""

    method: str
    dtype: torch.dtype = torch.float32
    layout: Layout = "whole batch"
    """How the batch is handed over. In chunks, sorted by size, there is less padding and each chunk stops by itself."""

    def __str__(self) -> str:
        return f"{self.method}, {str(self.dtype).removeprefix('torch.')}, {self.layout}"


@dataclass(frozen=True, slots=True)
class Solved:
    """What a contender returns."""

    coupling_BNM: Tensor
    capped: bool = False
    """It ran into the cap on iterations before its own stop rule held (in some part of the batch)."""


Solve = Callable[[Problem, float, Variant, float, int], Solved]
"""(problem, epsilon, variant, stop, cap). `stop` is a threshold, or the number of iterations where there is no stop rule."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A solver as the tuning sees it."""

    name: str
    solve: Solve
    variants: tuple[Variant, ...]
    """All tried; the fastest that is accurate wins."""
    fallback: tuple[Variant, ...] = ()
    """Slower for certain (wider floats, log domain), tried only where the variants' numbers fail them, not their speed."""
    stops: tuple[float, ...] = THRESHOLDS
    """Loose to tight."""
    start: int = SAFE
    """Where the search begins; it goes looser from there while the plan stays accurate, tighter while it is not."""
    counts: bool = False
    """Has no stop rule: `stop` is the number of iterations, searched from the one given."""
    threaded: bool = True
    """Timed at every number of threads; else at the first only: it cannot use more, or is too far away for it to matter."""
    package: str | None = None
    """Optional dependency."""

    @property
    def installed(self) -> bool:
        return self.package is None or importlib.util.find_spec(self.package) is not None


def contenders() -> list[Contender]:
    """Ours first: ratios are to it."""
    narrow = {method: tuple(Variant(method, layout=layout) for layout in LAYOUTS) for method in ("log_sinkhorn", "sinkhorn", "solve_batch")}
    wide = {method: tuple(replace(variant, dtype=torch.float64) for variant in variants) for method, variants in narrow.items()}
    loop = Variant("sinkhorn", torch.float64, "one by one")
    loop_log = Variant("sinkhorn_log", torch.float64, "one by one")
    return [
        Contender(OURS, solve_ours, (Variant("cpu"),), stops=OUR_TOLERANCES, start=0),
        Contender("optical_ray torch", solve_ours, (Variant("torch"),), stops=OUR_TOLERANCES, start=0),
        Contender("POT batch, scaling", solve_pot_batch, narrow["sinkhorn"], wide["sinkhorn"]),
        Contender("POT batch, log", solve_pot_batch, narrow["log_sinkhorn"], wide["log_sinkhorn"]),
        Contender("POT one by one", solve_pot_loop, (loop,), (loop_log,), threaded=False),
        Contender(
            "geomloss", solve_geomloss, narrow["solve_batch"][:2], stops=(30.0,), start=0, counts=True, threaded=False, package="geomloss"
        ),
        Contender(
            "POT emd (exact)",
            solve_pot_exact,
            (Variant("emd", torch.float64, "one by one"),),
            stops=(0.0,),
            start=0,
            threaded=False,
        ),
    ]


def solve_ours(problem: Problem, epsilon: float, variant: Variant, stop: float, cap: int) -> Solved:
    plan = solve_sinkhorn(problem.cost_BNM, problem.a_BN, problem.b_BM, _settings(epsilon, stop, cap, variant.method))
    return Solved(plan.coupling_BNM, capped=int(plan.iterations_B.max()) >= cap)


@cache
def _settings(epsilon: float, stop: float, cap: int, backend: str) -> SinkhornConfig:
    """Read once, as a recipe is."""
    return SinkhornConfig.model_validate({"epsilon": epsilon, "tolerance": stop, "max_iterations": cap, "backend": backend})


def solve_pot_batch(problem: Problem, epsilon: float, variant: Variant, stop: float, cap: int) -> Solved:
    """`grad="detach"` under no_grad: no graph. Padding has zero weights, the only mask that POT knows."""

    def solve(cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor) -> Solved:
        result = solve_batch(cost_BNM, reg=epsilon, a=a_BN, b=b_BM, max_iter=cap, tol=stop, method=variant.method, grad="detach")
        return Solved(result.plan, capped=result.log["n_iter"] == cap - 1)

    # POT makes its first scalings by torch.ones without a device: on a GPU that needs a default device, which costs time at every operation
    astray = variant.method == "sinkhorn" and problem.cost_BNM.device.type != "cpu"
    with torch.device(problem.cost_BNM.device) if astray else contextlib.nullcontext():
        return _in_layout(problem, variant, solve)


def solve_geomloss(problem: Problem, epsilon: float, variant: Variant, stop: float, cap: int) -> Solved:
    """Its plan for a cost matrix (`geomloss.ot`): the same KL-regularised problem, so `reg` is epsilon as it is.

    It knows no tolerance ("we do not support rigorous stopping criteria"): `max_iter` annealing steps from the cost's range to epsilon,
    averaged updates, one iteration at epsilon itself. The error falls as 1 / max_iter. `SamplesLoss` with a blur anneals likewise.
    """
    from geomloss import ot as geomloss_ot

    def solve(cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor) -> Solved:
        return Solved(geomloss_ot.solve_batch(cost_BNM, a=a_BN, b=b_BM, reg=epsilon, max_iter=round(stop)).plan)

    return _in_layout(problem, variant, solve)


def solve_pot_loop(problem: Problem, epsilon: float, variant: Variant, stop: float, cap: int) -> Solved:
    """`ot.sinkhorn` on numpy arrays in float64, without padding."""
    coupling_BNM = torch.zeros(problem.cost_BNM.shape, dtype=torch.float64)
    capped = False
    settings = {"method": variant.method, "numItermax": cap, "stopThr": stop, "warn": False, "log": True}
    for pair, item in enumerate(problem.pairs):
        plan, log = ot.sinkhorn(item.a_N, item.b_M, item.cost_NM, epsilon, **settings)
        coupling_BNM[pair, : len(item.a_N), : len(item.b_M)] = torch.from_numpy(plan)
        capped |= log["niter"] == cap - 1
    return Solved(coupling_BNM, capped)


def solve_pot_exact(problem: Problem, epsilon: float, variant: Variant, stop: float, cap: int) -> Solved:
    """The unregularised plan by network simplex: another problem, here for scale; epsilon plays no part."""
    coupling_BNM = torch.zeros(problem.cost_BNM.shape, dtype=torch.float64)
    for pair, item in enumerate(problem.pairs):
        coupling_BNM[pair, : len(item.a_N), : len(item.b_M)] = torch.from_numpy(ot.emd(item.a_N, item.b_M, item.cost_NM))
    return Solved(coupling_BNM)


def _in_layout(problem: Problem, variant: Variant, solve: Callable[[Tensor, Tensor, Tensor], Solved]) -> Solved:
    cost_BNM, a_BN, b_BM = (item.to(variant.dtype) for item in (problem.cost_BNM, problem.a_BN, problem.b_BM))
    if variant.layout == "whole batch":
        return solve(cost_BNM, a_BN, b_BM)
    lengths = problem.lengths_B
    by_size = sorted(range(len(lengths)), key=lambda pair: lengths[pair][0] * lengths[pair][1])
    step = 1 if variant.layout == "one by one" else -(-len(by_size) // 8)
    coupling_BNM = torch.zeros_like(cost_BNM)
    capped = False
    for first in range(0, len(by_size), step):
        chunk = by_size[first : first + step]
        rows, columns = max(lengths[pair][0] for pair in chunk), max(lengths[pair][1] for pair in chunk)
        part = solve(cost_BNM[chunk, :rows, :columns], a_BN[chunk, :rows], b_BM[chunk, :columns])
        coupling_BNM[chunk, :rows, :columns] = part.coupling_BNM
        capped |= part.capped
    return Solved(coupling_BNM, capped)
