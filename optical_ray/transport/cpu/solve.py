"""Sinkhorn on a CPU, compiled: pairs shared out over threads, no padded work, every pair stops by itself.

A pair is solved on its *reduced cost* S = (C - f - g) / epsilon, with f, g started as c-transforms: every row and column of K = exp(-S)
then has an entry of 1, so nothing underflows at any epsilon. Iterations run in the scaling form T = diag(u) K diag(v) (Peyre & Cuturi 2019,
section 4.2) on K and its transpose, both of which stay in the first-level cache; scalings that grow are absorbed into f, g and S is reduced
anew. Pairs that Sinkhorn leaves unfinished get Newton steps on the semi-dual (`newton.py`).

The shorter side of a pair is called its rows (n <= m), whichever sentence it is.
B pairs, N student tokens, M teacher tokens.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.transport.cpu import passes, simd
from optical_ray.transport.cpu.pair import solve_listed
from optical_ray.transport.marginals import check_masses, mass_slack
from optical_ray.transport.plan import Potentials, Solution

WORK_PER_THREAD = 20_000  # entries, padding included, that a further thread must have before waking it pays


def solve_pairs(
    cost_BNM: Tensor,
    a_BN: Tensor,
    b_BM: Tensor,
    epsilon: float,
    tolerance: float,
    cap: int,
    stages: int = 0,
    start: Potentials | None = None,
    threads: int = 1,
) -> tuple[Tensor, Solution]:
    """Couplings [B, N, M] in the cost's dtype, and what was found on the way; the same for any number of threads.

    Args:
        cost_BNM: float32 or float64: the precision of the solve. Ignored where a side has no mass; a pair with NaN or infinity elsewhere is
            left out and flagged.
        a_BN: Rows sum to 1, or to 0 for an empty pair; 0 at padding.
        b_BM: Likewise.
        epsilon: In units of the cost, positive.
        tolerance: L1 probability mass.
        cap: Sinkhorn iterations and Newton steps of a pair.
        stages: Times that epsilon is doubled for a start, and halved again on the way.
        start: Potentials to start from; annealing is then left out.
        threads: Pairs solved at once.

    Raises:
        ValueError: a mass is negative or not finite, or a side's masses do not sum to 1.
    """
    cost = cost_BNM.detach().contiguous().numpy()
    a, b = a_BN.detach().double().contiguous().numpy(), b_BM.detach().double().contiguous().numpy()
    pairs, rows, columns = cost.shape
    coupling, statistics = np.empty_like(cost), np.zeros((pairs, 11))
    if start is None:
        f, g = np.zeros((pairs, rows), cost.dtype), np.zeros((pairs, columns), cost.dtype)
    else:
        f, g = (side.to(cost_BNM.dtype, copy=True).contiguous().numpy() for side in (start.f_BN, start.g_BM))
        stages = 0
    slack = mass_slack(a_BN), mass_slack(b_BM)
    threads = max(1, min(threads, cost.size // WORK_PER_THREAD))
    _run(threads, cost, a, b, slack, epsilon, tolerance, cap, stages, start is not None, coupling, f, g, statistics)
    if statistics[:, passes.IMPROPER].any():
        check_masses(a=a_BN, b=b_BM)
        raise ValueError("transport: the masses of a pair do not sum to 1")  # by a rounding that the check itself does not see
    if not statistics[:, passes.DONE].all():
        raise RuntimeError(f"transport: {pairs - int(statistics[:, passes.DONE].sum())} of {pairs} pairs were not reached by any thread")
    flags = torch.from_numpy(statistics[:, passes.ITERATIONS :].T.astype(np.int64))
    numbers = torch.from_numpy(statistics[:, : passes.ITERATIONS].T.astype(cost.dtype))
    converged_B, empty_B, broken_B = flags[1:4].bool().unbind(0)
    return torch.from_numpy(coupling), Solution(
        f_BN=torch.from_numpy(f),
        g_BM=torch.from_numpy(g),
        cost_B=numbers[passes.COST],
        regularised_cost_B=numbers[passes.REGULARISED],
        violation_B=numbers[passes.VIOLATION],
        normalised_entropy_B=numbers[passes.ENTROPY],
        cost_std_B=numbers[passes.SPREAD],
        iterations_B=flags[0],
        converged_B=converged_B,
        empty_B=empty_B,
        broken_B=broken_B,
    )


def _run(threads: int, cost: NDArray[Any], *given: Any) -> None:
    """Share the pairs out: threads take the next one from a counter until none is left."""
    counter, scratch = np.zeros(1, np.int64), _scratch.of(threads, cost.shape[1], cost.shape[2], cost.dtype)
    alone, together = _compiled()
    if threads == 1 or _forked:
        alone(counter, cost, *given, *(kind[0] for kind in scratch))
    elif _has_safe_pool():
        most = min(threads, numba.config.NUMBA_NUM_THREADS)  # more threads than cores would wait for each other
        before = numba.get_num_threads()
        numba.set_num_threads(most)
        try:
            together(most, counter, cost, *given, *scratch)
        finally:
            numba.set_num_threads(before)
    else:
        rest = [_pool(threads - 1).submit(alone, counter, cost, *given, *(kind[place] for kind in scratch)) for place in range(1, threads)]
        alone(counter, cost, *given, *(kind[0] for kind in scratch))
        for helper in rest:
            helper.result()


@cache
def _has_safe_pool() -> bool:
    """Numba can run threads on OpenMP: they start within microseconds, and callers in several Python threads may share them.

    Numba's own pool, the only one where there is no libgomp, allows neither: Python's threads are used then (80 us to start).
    """
    os.register_at_fork(after_in_child=_stay_alone)
    priority = [*numba.config.THREADING_LAYER_PRIORITY, "omp", "workqueue"]
    if numba.config.THREADING_LAYER not in ("default", "threadsafe", "omp") or priority.index("workqueue") < priority.index("omp"):
        return False
    try:
        importlib.import_module("numba.np.ufunc.omppool")
    except ImportError:
        return False
    return True


_forked = False


def _stay_alone() -> None:
    """A forked child has none of its parent's threads, and libgomp ends a process that asks for them: it solves on one."""
    global _forked
    _forked = True


@cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, "sinkhorn")


class _Scratch(threading.local):
    """Working memory of each calling thread, kept between calls: what one pair needs for every thread, whatever the batch."""

    key: tuple[Any, ...] = ()
    arrays: tuple[NDArray[Any], ...] = ()

    def of(self, threads: int, rows: int, columns: int, dtype: Any) -> tuple[NDArray[Any], ...]:
        short, long = (-(-side // simd.BLOCK) * simd.BLOCK for side in (min(rows, columns), max(rows, columns)))
        if self.key != (threads, short, long, dtype):
            double = np.dtype(np.float64)
            self.arrays = (
                _aligned(threads, 3 * short * long, dtype),
                _aligned(threads, 12 * long, dtype),
                _aligned(threads, 5 * long + short * short, double),
                np.empty((threads, 2 * long), np.int64),
            )
            self.key = threads, short, long, dtype
        return self.arrays


_scratch = _Scratch()


def _aligned(threads: int, count: int, dtype: Any) -> NDArray[Any]:
    """Rows that begin on a cache line: a vector that straddles two costs two loads."""
    raw = np.empty(threads * count * dtype.itemsize + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    rows: NDArray[Any] = raw[offset : offset + threads * count * dtype.itemsize].view(dtype).reshape(threads, count)
    return rows


@cache
def _compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """The list of pairs solved by one thread, and by several, without the GIL.

    Numba caches machine code on disk, keyed by this file and by what the functions close over: the digest makes it see the other sources.
    """
    here = Path(__file__).parent
    lenders = [here.parent / name for name in ("config.py", "log_domain.py", "marginals.py")]  # of constants
    paths = [*sorted(here.glob("*.py")), *lenders]
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()

    @njit(cache=True, nogil=True, error_model="numpy")
    def alone(
        counter, cost, a, b, slack, epsilon, tolerance, cap, stages, warm, coupling, f, g, statistics, matrices, vectors, doubles, places
    ):
        assert len(sources) == 64
        solve_listed(
            counter, cost, a, b, slack, epsilon, tolerance, cap, stages, warm, coupling, f, g, statistics,
            matrices, vectors, doubles, places,
        )  # fmt: skip

    @njit(cache=True, nogil=True, parallel=True, error_model="numpy")
    def together(
        threads, counter, cost, a, b, slack, epsilon, tolerance, cap, stages, warm, coupling, f, g, statistics,
        matrices, vectors, doubles, places,
    ):  # fmt: skip
        assert len(sources) == 64
        for thread in numba.prange(threads):
            solve_listed(
                counter, cost, a, b, slack, epsilon, tolerance, cap, stages, warm, coupling, f, g, statistics,
                matrices[thread], vectors[thread], doubles[thread], places[thread],
            )  # fmt: skip

    return alone, together
