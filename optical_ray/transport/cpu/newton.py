"""Newton steps on the semi-dual, for the pairs that Sinkhorn's linear convergence leaves unfinished (small epsilon, hard costs).

With the columns' potential eliminated, phi(f) = <a, f> - sum_j b_j log sum_i exp(f_i - S_ij) is concave, its gradient is a - T 1 and its
negative Hessian the graph Laplacian diag(T 1) - T diag(1 / b) T' (Peyre & Cuturi 2019, section 5.3; Tang et al. 2024 combine the two
methods for large sparse plans). A ridge makes it positive definite (Levenberg); steps are cut back until phi grows (Armijo).

Everything is in units of epsilon, relative to the reduced cost S with T = exp(-S) and exact columns. n rows, m columns, n <= m.
"""

from __future__ import annotations

import numpy as np

from optical_ray.transport.cpu import passes, simd
from optical_ray.transport.cpu.simd import native

LONGEST_STEP = 20.0  # largest change of a potential; further out the quadratic model says nothing
CUT = 0.25  # of a step that did not make phi grow
TRIES = 8
GROWTH = 1e-4  # of what the slope promises (Armijo)
FLOOR = 1e-10  # of the ridge: below it the factorisation would meet the Laplacian's null vector


@native
def newton_step(
    reduced, kernel, kernel_t, row_mass, column_mass, v, row_sum, column_sum, f, g,
    n, m, wide, tall, ridge, f_total, g_total, scratch, step, matrix,
):  # fmt: skip
    """One damped step. Leaves S reduced, K = exp(-S), v (columns exact, u = 1), potentials moved; K' is the caller's to form.

    Args:
        ridge: Times diag(T 1), is added to the Laplacian.

    Returns:
        Whether a step helped (else nothing moved), and the next ridge: a tenth after a full step, three times after a shortened one.
    """
    _laplacian(kernel, kernel_t, column_mass, row_sum, n, m, wide, tall, ridge, scratch, matrix)
    for i in range(n):
        step[i] = float(row_mass[i]) - float(row_sum[i])
    _solve(matrix, step, n, tall)
    centre, longest, slope = 0.0, 0.0, 0.0
    for i in range(n):
        centre += float(row_mass[i]) * step[i]
    if not np.isfinite(centre):  # rounding took a pivot: no step
        centre, step[:n] = 0.0, 0.0
    for i in range(n):
        step[i] -= centre  # a constant moves nothing
        longest = max(longest, abs(step[i]))
        slope += (float(row_mass[i]) - float(row_sum[i])) * step[i]
    size = min(1.0, LONGEST_STEP / max(longest, 1e-30))
    slack = 1e-6 if simd.lanes(reduced) == 16 else 1e-13  # what rounding may hide of a growth
    moved = False
    for _ in range(TRIES):
        if longest == 0.0:
            break
        for i in range(n):
            f[i] = size * step[i]
        _columns(reduced, kernel, f, g, column_sum, n, wide)
        growth = 0.0
        for i in range(n):
            growth += float(row_mass[i]) * float(f[i])
        for j in range(m):
            growth += float(column_mass[j]) * (float(g[j]) + np.log(float(column_mass[j]) / float(column_sum[j])))
        if growth >= GROWTH * size * slope - slack:
            moved = True
            break
        size *= CUT
    if not moved:
        f[:n] = 0
        _columns(reduced, kernel, f, g, column_sum, n, wide)
    for j in range(m):
        v[j] = column_mass[j] / column_sum[j]
    passes.reduce(reduced, f, g, n, m, wide, f_total, g_total)
    return moved, max(0.1 * ridge, FLOOR) if moved and size == 1.0 else 3.0 * ridge


@native
def _columns(reduced, kernel, f, g, column_sum, n, wide):
    """For row potentials f: g as c-transform, K = exp(f + g - S) with a 1 in every column, and the column sums."""
    width = simd.lanes(reduced)
    for j in range(0, wide, width):
        least = simd.splat(reduced, 1e30)  # padding stays far away
        for i in range(n):
            least = simd.minimum(simd.subtract(simd.load(reduced, i * wide + j), simd.splat(reduced, f[i])), least)
        simd.store(g, j, least)
        total = simd.splat(reduced, 0.0)
        for i in range(n):
            exponent = simd.subtract(simd.add(simd.splat(reduced, f[i]), least), simd.load(reduced, i * wide + j))
            entry = simd.exp(reduced, exponent)
            simd.store(kernel, i * wide + j, entry)
            total = simd.add(total, entry)
        simd.store(column_sum, j, total)


@native
def _laplacian(kernel, kernel_t, column_mass, row_sum, n, m, wide, tall, ridge, scratch, matrix):
    """diag(T 1) - T diag(1 / b) T' + ridge diag(T 1): upper triangle, float64, rows of `tall` entries; K is overwritten.

    The off-diagonal is a sum of positive terms and the diagonal its negative sum (rows of the Laplacian sum to 0), so every entry is
    accurate to the last places of float32 and near-separate blocks of the plan stay apart.
    """
    width = simd.lanes(kernel)
    for i in range(n):
        matrix[i * tall + i] = ridge * float(row_sum[i])
        for j in range(m):
            kernel[i * wide + j] /= column_mass[j]
    for i in range(0, tall, 4):  # padded rows of K are 0
        for k in range(i // width * width, tall, width):
            first, second = simd.splat(kernel, 0.0), simd.splat(kernel, 0.0)
            third, fourth = simd.splat(kernel, 0.0), simd.splat(kernel, 0.0)
            at = i * wide
            for j in range(m):
                column = simd.load(kernel_t, j * tall + k)
                first = simd.fma(column, simd.splat(kernel, kernel[at]), first)
                second = simd.fma(column, simd.splat(kernel, kernel[at + wide]), second)
                third = simd.fma(column, simd.splat(kernel, kernel[at + 2 * wide]), third)
                fourth = simd.fma(column, simd.splat(kernel, kernel[at + 3 * wide]), fourth)
                at += 1
            simd.store(scratch, k, first)
            simd.store(scratch, tall + k, second)
            simd.store(scratch, 2 * tall + k, third)
            simd.store(scratch, 3 * tall + k, fourth)
        for row in range(i, min(i + 4, n)):
            own = 0.0
            for k in range(row + 1, n):
                weight = float(scratch[(row - i) * tall + k])
                matrix[row * tall + k] = -weight
                matrix[k * tall + k] += weight
                own += weight
            matrix[row * tall + row] += own
            matrix[row * tall + n : (row + 1) * tall] = 0


@native
def _solve(matrix, x, n, tall):
    """Solve the positive definite system in place by Cholesky's U' U; a pivot that rounding made negative gives a NaN step."""
    width = simd.lanes(matrix)
    for k in range(n):
        row = k * tall
        inverse = 1.0 / np.sqrt(matrix[row + k])
        for i in range(k, n):
            matrix[row + i] *= inverse
        x[k] *= inverse
        for i in range(k + 1, n):
            weight = matrix[row + i]
            x[i] -= weight * x[k]
            factor = simd.splat(matrix, -weight)
            for j in range(i // width * width, tall, width):
                simd.store(matrix, i * tall + j, simd.fma(factor, simd.load(matrix, row + j), simd.load(matrix, i * tall + j)))
    for k in range(n - 1, -1, -1):
        rest = x[k]
        for i in range(k + 1, n):
            rest -= matrix[k * tall + i] * x[i]
        x[k] = rest / matrix[k * tall + k]
