"""Sinkhorn on a CPU, compiled: one pair after the other, no padded work, every pair stops by itself.

Scaling form T = diag(u) K diag(v), K = exp((f + g - C) / epsilon), with f, g started as c-transforms: every row and column of K then has
an entry near 1, so nothing underflows at any epsilon. One pass over K does both half-iterations, and the row error is free.
B pairs, N student tokens, M teacher tokens.
"""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from torch import Tensor

ABSORB_BEYOND = 1e50  # scalings beyond it (or below its inverse) go into the potentials, and K is formed anew


def solve_pairs(cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor, epsilon: float, tolerance: float, cap: int) -> tuple[Tensor, Tensor]:
    """Couplings, float64 [B, N, M], and iterations [B]; empty pairs stay zero.

    Args:
        cost_BNM: Finite at real tokens.
        a_BN: Rows sum to 1, or to 0 for an empty pair; 0 at padding.
        b_BM: Likewise.
        epsilon: In units of the cost, positive.
        tolerance: L1 probability mass.
        cap: Iterations.
    """
    cost, a, b = (item.double().contiguous().numpy() for item in (cost_BNM, a_BN, b_BM))
    coupling = np.zeros_like(cost)
    iterations = np.zeros(len(cost), np.int64)
    _solve_all(cost, a, b, epsilon, tolerance, cap, coupling, iterations)
    return torch.from_numpy(coupling), torch.from_numpy(iterations)


@njit(cache=True, nogil=True)
def _solve_all(cost, a, b, epsilon, tolerance, cap, coupling, iterations):  # type: ignore[no-untyped-def]
    for pair in range(len(cost)):
        rows = np.flatnonzero(a[pair])
        columns = np.flatnonzero(b[pair])
        if len(rows) and len(columns):
            iterations[pair] = _solve_one(cost[pair], a[pair], b[pair], rows, columns, epsilon, tolerance, cap, coupling[pair])


@njit(cache=True, nogil=True)
def _solve_one(cost, a, b, rows, columns, epsilon, tolerance, cap, coupling):  # type: ignore[no-untyped-def]
    n, m = len(rows), len(columns)
    scaled = np.empty((n, m))
    for i in range(n):
        for j in range(m):
            scaled[i, j] = cost[rows[i], columns[j]] / epsilon
    f, g = np.full(n, np.inf), np.full(m, np.inf)
    for i in range(n):
        for j in range(m):
            f[i] = min(f[i], scaled[i, j])
    for i in range(n):
        for j in range(m):
            g[j] = min(g[j], scaled[i, j] - f[i])
    kernel = np.empty((n, m))
    _form_kernel(scaled, f, g, kernel)
    u, v, next_u, column_sum = np.ones(n), np.ones(m), np.empty(n), np.empty(m)
    iteration = 0
    while True:
        error = 0.0
        column_sum[:] = 0.0
        for i in range(n):
            row_sum = 0.0
            for j in range(m):
                row_sum += kernel[i, j] * v[j]
            error += abs(u[i] * row_sum - a[rows[i]])
            next_u[i] = a[rows[i]] / row_sum
            for j in range(m):
                column_sum[j] += kernel[i, j] * next_u[i]
        if iteration == cap or (iteration > 0 and error <= tolerance):  # columns are exact, so the rows' error is all there is
            break
        iteration += 1
        u, next_u = next_u, u
        extreme = False
        for j in range(m):
            v[j] = b[columns[j]] / column_sum[j]
            extreme |= not 1 / ABSORB_BEYOND < v[j] < ABSORB_BEYOND
        for i in range(n):
            extreme |= not 1 / ABSORB_BEYOND < u[i] < ABSORB_BEYOND
        if extreme:
            f += np.log(u)
            g += np.log(v)
            u[:] = 1.0
            v[:] = 1.0
            _form_kernel(scaled, f, g, kernel)
    for i in range(n):
        for j in range(m):
            coupling[rows[i], columns[j]] = u[i] * kernel[i, j] * v[j]
    return iteration


@njit(cache=True, nogil=True)
def _form_kernel(scaled, f, g, kernel):  # type: ignore[no-untyped-def]
    for i in range(len(f)):
        for j in range(len(g)):
            kernel[i, j] = np.exp(f[i] + g[j] - scaled[i, j])
