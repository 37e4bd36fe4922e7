"""The passes over one pair's matrices, each a few instructions per vector: reading the cost in, K, products with it, writing the plan out.

`reduced` is S = (C - f - g) / epsilon and `kernel` is K = exp(-S), both flat, rows of `wide` entries (a multiple of BLOCK), FAR and 0 at
padding; `kernel_t` is K transposed, rows of `tall` entries. n rows, m columns.
"""

from __future__ import annotations

import numpy as np

from optical_ray.transport.cpu import simd
from optical_ray.transport.cpu.simd import BLOCK, native
from optical_ray.transport.marginals import LEAST_MASS

TINY = 1e-37  # floor of a sum that is divided by; only padding reaches it
FAR = 3e38  # reduced cost of padding
COST, REGULARISED, VIOLATION, ENTROPY, SPREAD, ITERATIONS, CONVERGED, EMPTY, BROKEN, IMPROPER, DONE = range(11)  # columns of the statistics


@native
def price(cost, rows, columns, plan, width):
    """<T, C> against the cost itself, float64."""
    total = 0.0
    for i in range(len(rows)):
        for j in range(len(columns)):
            total += float(plan[i * width + j]) * float(cost[rows[i], columns[j]])
    return total


@native
def weigh(mass, slack, places, real):
    """Where mass is, and the mass there with a sum of 1: how many tokens, and whether they are a probability (or all 0)."""
    count, total, whole, proper = 0, 0.0, 0.0, True
    for place in range(len(mass)):
        value = mass[place]
        proper &= value >= 0.0
        whole += value
        if value >= LEAST_MASS:
            places[count] = place
            real[count] = value
            count += 1
            total += value
    for place in range(count):
        real[place] /= total
    return count, proper and (whole == 0.0 or abs(whole - 1.0) <= slack)


@native
def round_up(count):
    return -(-count // BLOCK) * BLOCK


@native
def gather(cost, rows, columns, epsilon, target, width, statistics):
    """C / epsilon of the real entries, padded, and their spread. False where one is NaN or infinite."""
    n, m, pitch, step = len(rows), len(columns), cost.shape[1], simd.lanes(target)
    flat = cost.reshape(-1)
    scale = target.dtype.type(1.0 / epsilon)
    first = flat[rows[0] * pitch + columns[0]] * scale
    straight, scales = columns[m - 1] == m - 1 and width <= pitch, simd.splat(target, scale)
    for i in range(n):
        row, at = rows[i] * pitch, i * width
        if straight:
            for j in range(0, width, step):
                simd.store(target, at + j, simd.multiply(simd.load(flat, row + j), scales))
        else:
            for j in range(m):
                target[at + j] = flat[row + columns[j]] * scale
        for j in range(m, width):
            target[at + j] = first
    centre, zero = simd.splat(target, first), simd.splat(target, 0.0)
    shift, squares, broken = zero, zero, zero
    for at in range(0, n * width, step):
        entry = simd.load(target, at)
        off = simd.subtract(entry, centre)  # 0 at padding
        shift = simd.add(shift, off)
        squares = simd.fma(off, off, squares)
        broken = simd.fma(entry, zero, broken)
    if simd.total(broken) != 0.0:
        return False
    for i in range(n):
        for j in range(m, width):
            target[i * width + j] = FAR
    if n * m > 1:
        moved = float(simd.total(shift))
        statistics[SPREAD] = epsilon * np.sqrt(max(float(simd.total(squares)) - moved * moved / (n * m), 0.0) / (n * m - 1))
    return True


@native
def scatter(source, width, rows, columns, coupling):
    """Write a padded matrix to the real entries of the coupling."""
    m, pitch = len(columns), coupling.shape[1]
    flat = coupling.reshape(-1)
    straight = columns[m - 1] == m - 1 and width <= pitch  # padded columns hold 0 and fall on padding
    for i in range(len(rows)):
        row, at = rows[i] * pitch, i * width
        if straight:
            for j in range(0, width, simd.lanes(source)):
                simd.store(flat, row + j, simd.load(source, at + j))
        else:
            for j in range(m):
                flat[row + columns[j]] = source[at + j]


@native
def c_transform(reduced, f, g, n, wide):
    """f_i = min_j S_ij, g_j = min_i (S_ij - f_i)."""
    step = simd.lanes(reduced)
    for i in range(n):
        least = simd.splat(reduced, FAR)
        for j in range(0, wide, step):
            least = simd.minimum(simd.load(reduced, i * wide + j), least)
        f[i] = simd.smallest(least)
    for j in range(0, wide, step):
        least = simd.splat(reduced, FAR)
        for i in range(n):
            least = simd.minimum(simd.subtract(simd.load(reduced, i * wide + j), simd.splat(reduced, f[i])), least)
        simd.store(g, j, least)


@native
def reduce(reduced, f, g, n, m, wide, f_total, g_total):
    """Take f, g out of the reduced cost and into the potentials."""
    for j in range(m):
        g_total[j] += g[j]
    g[m:wide] = 0
    step = simd.lanes(reduced)
    for i in range(n):
        f_total[i] += f[i]
        shift = simd.splat(reduced, f[i])
        for j in range(0, wide, step):
            at = i * wide + j
            simd.store(reduced, at, simd.subtract(simd.subtract(simd.load(reduced, at), shift), simd.load(g, j)))


@native
def logarithms(values, target, width):
    """ln of a padded vector; something finite at padding."""
    for at in range(0, width, simd.lanes(values)):
        simd.store(target, at, simd.log(values, simd.load(values, at)))


@native
def absorb(reduced, u, v, n, m, wide, tall, f_total, g_total, f, g):
    """Take the scalings out of the plan and into the potentials: afterwards T = exp(-S), and u and v are 1."""
    logarithms(u, f, tall)
    logarithms(v, g, wide)
    u[:n] = 1
    v[:m] = 1
    reduce(reduced, f, g, n, m, wide, f_total, g_total)


@native
def halve_epsilon(reduced, n, m, wide, f_total, g_total):
    """The reduced cost and the potentials, in units of epsilon, double."""
    for at in range(n * wide):
        reduced[at] = min(2 * reduced[at], FAR)
    for i in range(n):
        f_total[i] *= 2
    for j in range(m):
        g_total[j] *= 2


@native
def start_from(f, g, rows, columns, a, b, epsilon, reduced, f_scaled, g_scaled, wide):
    """Given potentials (KL form) in units of epsilon, masses in; False if they leave a row or a column without an entry that matters."""
    n, m = len(rows), len(columns)
    for i in range(n):
        f_scaled[i] = f[rows[i]] / epsilon + np.log(a[i])
    for j in range(m):
        g_scaled[j] = g[columns[j]] / epsilon + np.log(b[j])
    for i in range(n):
        least = np.inf
        for j in range(m):
            least = min(least, reduced[i * wide + j] - f_scaled[i] - g_scaled[j])
        if not -20.0 < least < 40.0:  # log T beyond e^20 or below e^-40; NaN too
            return False
    for j in range(m):
        least = np.inf
        for i in range(n):
            least = min(least, reduced[i * wide + j] - f_scaled[i] - g_scaled[j])
        if not least < 40.0:
            return False
    return True


@native
def lay_out(mass, count, target, width):
    """Masses in the solver's precision, 0 at padding."""
    target[:width] = 0
    for place in range(count):
        target[place] = mass[place]


@native
def form_kernel(reduced, kernel, kernel_t, n, wide, tall):
    step = simd.lanes(reduced)
    zero = simd.splat(reduced, 0.0)
    for at in range(0, n * wide, step):
        simd.store(kernel, at, simd.exp(reduced, simd.subtract(zero, simd.load(reduced, at))))
    for at in range(n * wide, tall * wide, step):
        simd.store(kernel, at, zero)
    transpose(kernel, kernel_t, wide, tall)


@native
def transpose(kernel, kernel_t, wide, tall):
    step = simd.lanes(kernel)
    for i in range(0, tall, step):
        for j in range(0, wide, step):
            simd.transpose_block(kernel, i * wide + j, wide, kernel_t, j * tall + i, tall)


@native
def times(matrix, weights, result, count, width):
    """result = weights' matrix: rows of `width` entries, weighted and summed in registers."""
    step = simd.lanes(matrix)
    zero = simd.splat(matrix, 0.0)
    j = 0
    while j + 2 * step <= width:
        first, second, third, fourth = zero, zero, zero, zero
        i, at = 0, j
        while i + 2 <= count:
            x, y = simd.splat(matrix, weights[i]), simd.splat(matrix, weights[i + 1])
            first = simd.fma(simd.load(matrix, at), x, first)
            second = simd.fma(simd.load(matrix, at + step), x, second)
            third = simd.fma(simd.load(matrix, at + width), y, third)
            fourth = simd.fma(simd.load(matrix, at + width + step), y, fourth)
            i += 2
            at += 2 * width
        if i < count:
            x = simd.splat(matrix, weights[i])
            first = simd.fma(simd.load(matrix, at), x, first)
            second = simd.fma(simd.load(matrix, at + step), x, second)
        simd.store(result, j, simd.add(first, third))
        simd.store(result, j + step, simd.add(second, fourth))
        j += 2 * step
    if j < width:
        first, second, third, fourth = zero, zero, zero, zero
        i, at = 0, j
        while i + 4 <= count:
            first = simd.fma(simd.load(matrix, at), simd.splat(matrix, weights[i]), first)
            second = simd.fma(simd.load(matrix, at + width), simd.splat(matrix, weights[i + 1]), second)
            third = simd.fma(simd.load(matrix, at + 2 * width), simd.splat(matrix, weights[i + 2]), third)
            fourth = simd.fma(simd.load(matrix, at + 3 * width), simd.splat(matrix, weights[i + 3]), fourth)
            i += 4
            at += 4 * width
        while i < count:
            first = simd.fma(simd.load(matrix, at), simd.splat(matrix, weights[i]), first)
            i += 1
            at += width
        simd.store(result, j, simd.add(simd.add(first, second), simd.add(third, fourth)))


@native
def row_error(u, row_sum, row_mass, tall):
    error = simd.splat(u, 0.0)
    for i in range(0, tall, simd.lanes(u)):
        error = simd.add(error, simd.absolute(simd.subtract(simd.multiply(simd.load(u, i), simd.load(row_sum, i)), simd.load(row_mass, i))))
    return simd.total(error)


@native
def update(mass, sums, scaling, width):
    floor = simd.splat(mass, TINY)
    for at in range(0, width, simd.lanes(mass)):
        simd.store(scaling, at, simd.divide(simd.load(mass, at), simd.maximum(simd.load(sums, at), floor)))


@native
def peak(scaling, width):
    most = simd.load(scaling, 0)
    for at in range(simd.lanes(scaling), width, simd.lanes(scaling)):
        most = simd.maximum(simd.load(scaling, at), most)
    return simd.largest(most)


@native
def finish(
    rows, columns, row_mass, column_mass, epsilon, reduced, kernel, u, v, wide, tall, column_sum, f_total, g_total, logs, f, g, statistics
):
    """Turn K into the plan, and say what it is: <T, C>, the entropy, the violation, potentials in KL form."""
    n, m = len(rows), len(columns)
    log_u, log_v, log_a, log_b = logs
    logarithms(u, log_u, tall)
    logarithms(v, log_v, wide)
    logarithms(row_mass, log_a, tall)
    logarithms(column_mass, log_b, wide)
    log_v[m:wide] = 0
    f[:] = 0
    g[:] = 0
    entropy, independent, crossed, value, error = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        at = i * wide
        scale, log_scale = simd.splat(kernel, u[i]), simd.splat(kernel, log_u[i])
        surprise, mass = simd.splat(kernel, 0.0), simd.splat(kernel, 0.0)
        for j in range(0, wide, simd.lanes(kernel)):
            plan = simd.multiply(simd.multiply(scale, simd.load(kernel, at + j)), simd.load(v, j))
            log_plan = simd.subtract(simd.add(log_scale, simd.load(log_v, j)), simd.load(reduced, at + j))
            surprise = simd.fma(plan, log_plan, surprise)
            mass = simd.add(mass, plan)
            simd.store(kernel, at + j, plan)
        entropy -= float(simd.total(surprise))
        sent, wanted = float(simd.total(mass)), float(row_mass[i])
        potential, log_mass = f_total[i] + float(log_u[i]), float(log_a[i])
        f[rows[i]] = epsilon * (potential - log_mass)
        independent -= wanted * log_mass
        error += abs(sent - wanted)
        crossed += sent * log_mass
        value += sent * potential
    v[:n] = 1
    times(kernel, v, column_sum, n, wide)
    for j in range(m):
        received, wanted = float(column_sum[j]), float(column_mass[j])
        potential, log_mass = g_total[j] + float(log_v[j]), float(log_b[j])
        g[columns[j]] = epsilon * (potential - log_mass)
        independent -= wanted * log_mass
        error += abs(received - wanted)
        crossed += received * log_mass
        value += received * potential
    # log T = (f + g - C) / epsilon, summed against T: the price needs no second look at the cost.
    statistics[COST] = epsilon * (value + entropy)
    statistics[REGULARISED] = epsilon * (value - crossed)
    statistics[ENTROPY] = entropy / independent if n > 1 and m > 1 else np.nan
    statistics[VIOLATION] = error
