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
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.transport.cpu import passes, simd
from optical_ray.transport.cpu.pair import solve_pair
from optical_ray.transport.marginals import check_masses, mass_slack
from optical_ray.transport.plan import Potentials, Solution

WORK_PER_THREAD = 10_000  # entries that a further thread must have before waking it pays


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
    coupling, statistics, counter = np.empty_like(cost), np.zeros((pairs, 9)), np.zeros(1, np.int64)
    if start is None:
        f, g = np.zeros((pairs, rows), cost.dtype), np.zeros((pairs, columns), cost.dtype)
    else:
        f, g = (np.array(side.detach().numpy(), cost.dtype) for side in (start.f_BN, start.g_BM))
        stages = 0
    slack = max(mass_slack(a_BN), mass_slack(b_BM))
    sizes = np.count_nonzero(a, axis=1) * np.count_nonzero(b, axis=1)
    order = np.argsort(-sizes, kind="stable")  # the largest first: what is left at the end is small, and threads finish together
    given = counter, order, cost, a, b, slack, epsilon, tolerance, cap, stages, start is not None, coupling, f, g, statistics
    helpers = max(0, min(threads, int(sizes.sum()) // WORK_PER_THREAD) - 1)
    waiting = [_pool(helpers).submit(_work, *given) for _ in range(helpers)]
    _work(*given)
    for helper in waiting:
        helper.result()
    if statistics[:, passes.IMPROPER].any():
        check_masses(a_BN, b_BM)
    found = torch.from_numpy(statistics).unbind(1)
    return torch.from_numpy(coupling), Solution(
        f_BN=torch.from_numpy(f),
        g_BM=torch.from_numpy(g),
        cost_B=found[passes.COST],
        regularised_cost_B=found[passes.REGULARISED],
        violation_B=found[passes.VIOLATION],
        normalised_entropy_B=found[passes.ENTROPY],
        cost_std_B=found[passes.SPREAD],
        iterations_B=found[passes.ITERATIONS].long(),
        empty_B=found[passes.EMPTY] > 0,
        broken_B=found[passes.BROKEN] > 0,
    )


@cache
def _pool(helpers: int) -> ThreadPoolExecutor:
    """Threads that wait between two calls; made on first use."""
    return ThreadPoolExecutor(helpers, "sinkhorn")


class _Scratch(threading.local):
    """A thread's working memory, kept between calls: what one pair needs, whatever the batch."""

    sizes: tuple[int, int, Any] | None = None
    arrays: tuple[tuple[NDArray[Any], ...], ...] = ()

    def of(self, rows: int, columns: int, dtype: Any) -> tuple[tuple[NDArray[Any], ...], ...]:
        short, long = (-(-side // simd.BLOCK) * simd.BLOCK for side in (min(rows, columns), max(rows, columns)))
        if self.sizes != (short, long, dtype):
            matrices = tuple(_aligned(short * long, dtype) for _ in range(3))
            vectors = (*(_aligned(long, dtype) for _ in range(8)), _aligned(4 * short, dtype))
            doubles = (*(_aligned(long, np.dtype(np.float64)) for _ in range(3)), _aligned(short * short, np.dtype(np.float64)))
            masses = (np.empty(long), np.empty(long))
            places = (np.empty(long, np.int64), np.empty(long, np.int64))
            self.sizes, self.arrays = (short, long, dtype), (matrices, vectors, doubles, masses, places)
        return self.arrays


_scratch = _Scratch()


def _aligned(count: int, dtype: Any) -> NDArray[Any]:
    """Entries that begin on a cache line: a vector that straddles two costs two loads."""
    raw = np.empty(count * dtype.itemsize + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    return raw[offset : offset + count * dtype.itemsize].view(dtype)


def _work(counter: NDArray[Any], order: NDArray[Any], cost: NDArray[Any], *rest: Any) -> None:
    """One thread's part: pair after pair from the shared list."""
    _compiled()(counter, order, cost, *rest, *_scratch.of(cost.shape[1], cost.shape[2], cost.dtype))


@cache
def _compiled() -> Callable[..., None]:
    """Pair after pair, without the GIL, until the shared list is empty.

    Numba caches machine code on disk, keyed by this file and by what the function closes over: the digest makes it see the other sources.
    """
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()

    @njit(cache=True, nogil=True)
    def solve_listed(
        counter, order, cost, a, b, slack, epsilon, tolerance, cap, stages, warm, coupling, f, g, statistics,
        matrices, vectors, doubles, masses, places,
    ):  # fmt: skip
        assert len(sources) == 64
        rows, columns = places
        a_real, b_real = masses
        while True:
            place = simd.next_index(counter)
            if place >= len(order):
                return
            pair = order[place]
            coupling[pair] = 0
            n, a_proper = passes.weigh(a[pair], slack, rows, a_real)
            m, b_proper = passes.weigh(b[pair], slack, columns, b_real)
            if not (a_proper and b_proper):
                statistics[pair, passes.IMPROPER] = 1
            elif n == 0 or m == 0:
                statistics[pair, passes.EMPTY] = 1
                statistics[pair, passes.ENTROPY] = np.nan
                f[pair] = 0
                g[pair] = 0
            elif n <= m:
                solve_pair(
                    cost[pair], False, rows[:n], columns[:m], a_real, b_real, epsilon, tolerance, cap, stages, warm,
                    coupling[pair], f[pair], g[pair], statistics[pair], matrices, vectors, doubles,
                )  # fmt: skip
            else:
                solve_pair(
                    cost[pair], True, columns[:m], rows[:n], b_real, a_real, epsilon, tolerance, cap, stages, warm,
                    coupling[pair], g[pair], f[pair], statistics[pair], matrices, vectors, doubles,
                )  # fmt: skip

    compiled: Callable[..., None] = solve_listed
    return compiled
