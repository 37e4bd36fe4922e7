"""One pair, from its cost to its plan: annealing, Sinkhorn iterations, Newton steps, and when to stop."""

from __future__ import annotations

import numpy as np

from optical_ray.transport.config import STAGE_ITERATIONS
from optical_ray.transport.cpu import passes, simd
from optical_ray.transport.cpu.newton import newton_step
from optical_ray.transport.cpu.simd import native
from optical_ray.transport.log_domain import SAFETY

ABSORB_BEYOND = 1e6  # scalings beyond it go into the potentials: what K lost to underflow is below 1e-26 of the mass
NEWTON_AFTER = 60  # iterations; a Newton step costs 80 (32 x 32) to 150 (64 x 64) of them, and saves up to thousands
WARM = 10.0  # standard deviations of the cost: at a larger epsilon the price is summed from the cost itself
FIRST_RIDGE, LAST_RIDGE = 1e-4, 1e-1


@native
def solve_listed(
    counter, cost, a, b, slack, epsilon, tolerance, cap, stages, warm, coupling, f, g, statistics, matrices, vectors, doubles, places
):
    """Pair after pair, the next by a counter that all threads share, until none is left; the last four are this thread's scratch."""
    _, rows_end, columns_end = cost.shape
    short, long = passes.round_up(min(rows_end, columns_end)), passes.round_up(max(rows_end, columns_end))
    square = short * long
    scratch = (matrices[:square], matrices[square : 2 * square], matrices[2 * square :])
    parts = (
        vectors[:long], vectors[long : 2 * long], vectors[2 * long : 3 * long], vectors[3 * long : 4 * long], vectors[4 * long : 5 * long],
        vectors[5 * long : 6 * long], vectors[6 * long : 7 * long], vectors[7 * long : 8 * long], vectors[8 * long :],
    )  # fmt: skip
    sums = (doubles[:long], doubles[long : 2 * long], doubles[2 * long : 3 * long], doubles[5 * long :])
    a_real, b_real = doubles[3 * long : 4 * long], doubles[4 * long : 5 * long]
    rows, columns = places[:long], places[long:]
    while True:
        pair = simd.next_index(counter)
        if pair >= len(cost):
            return
        coupling[pair] = 0
        n, a_proper = passes.weigh(a[pair], slack[0], rows, a_real)
        m, b_proper = passes.weigh(b[pair], slack[1], columns, b_real)
        if not (a_proper and b_proper):
            statistics[pair, passes.IMPROPER] = 1
        elif n == 0 or m == 0:
            statistics[pair, passes.EMPTY] = 1
            statistics[pair, passes.CONVERGED] = 1
            statistics[pair, passes.ENTROPY] = np.nan
            f[pair] = 0
            g[pair] = 0
        elif n <= m:
            solve_pair(
                cost[pair], False, rows[:n], columns[:m], a_real, b_real, epsilon, tolerance, cap, stages, warm,
                coupling[pair], f[pair], g[pair], statistics[pair], scratch, parts, sums,
            )  # fmt: skip
        else:
            solve_pair(
                cost[pair], True, columns[:m], rows[:n], b_real, a_real, epsilon, tolerance, cap, stages, warm,
                coupling[pair], g[pair], f[pair], statistics[pair], scratch, parts, sums,
            )  # fmt: skip
        statistics[pair, passes.DONE] = 1


@native
def solve_pair(
    cost, turned, rows, columns, a, b, epsilon, tolerance, cap, stages, warm, coupling, f, g, statistics, matrices, vectors, doubles
):
    """Solve one pair; n <= m.

    Args:
        turned: Rows and columns of the pair are columns and rows of the cost and the coupling.
        rows, columns: Where mass is.
        a, b: The masses there, float64, with a sum of 1.
        warm: f, g hold potentials to start from.
        coupling, f, g, statistics: Written.
        matrices, vectors, doubles: Scratch, whatever it holds.
    """
    n, m = len(rows), len(columns)
    wide, tall = passes.round_up(m), passes.round_up(n)
    reduced, kernel, kernel_t = matrices
    row_mass, column_mass, u, v, row_sum, column_sum, shift_rows, shift_columns, scratch = vectors
    f_total, g_total, step, system = doubles

    warmest = epsilon * 2.0**stages
    if turned:
        finite = passes.gather(cost, columns, rows, warmest, kernel_t, tall, statistics)
        kernel_t[m * tall : wide * tall] = passes.FAR
        passes.transpose(kernel_t, reduced, tall, wide)
    else:
        finite = passes.gather(cost, rows, columns, warmest, reduced, wide, statistics)
        reduced[n * wide : tall * wide] = passes.FAR
    if not finite:
        statistics[passes.BROKEN] = 1
        statistics[passes.ENTROPY] = np.nan
        f[:] = 0
        g[:] = 0
        return
    passes.lay_out(a, n, row_mass, tall)
    passes.lay_out(b, m, column_mass, wide)
    f_total[:n] = 0
    g_total[:m] = 0
    started = warm and passes.start_from(f, g, rows, columns, a, b, epsilon, reduced, shift_rows, shift_columns, wide)
    if not started:
        passes.c_transform(reduced, shift_rows, shift_columns, n, wide)
    passes.reduce(reduced, shift_rows, shift_columns, n, m, wide, f_total, g_total)
    passes.form_kernel(reduced, kernel, kernel_t, n, wide, tall)
    u[:tall] = 0
    v[:wide] = 0
    v[:m] = 1

    target = SAFETY * tolerance
    iterations, in_stage, newton_at, ridge = 0, 0, NEWTON_AFTER, FIRST_RIDGE
    while True:
        passes.times(kernel_t, v, row_sum, m, tall)
        error = passes.row_error(u, row_sum, row_mass, tall)  # columns are exact, so the rows' error is all there is
        if in_stage > 0 and stages > 0 and (error <= target or in_stage >= STAGE_ITERATIONS):
            passes.absorb(reduced, u, v, n, m, wide, tall, f_total, g_total, shift_rows, shift_columns)
            passes.halve_epsilon(reduced, n, m, wide, f_total, g_total)
            passes.form_kernel(reduced, kernel, kernel_t, n, wide, tall)
            stages -= 1
            in_stage = 0
            continue
        if in_stage > 0 and (error <= target or iterations >= cap):
            break
        iterations += 1
        in_stage += 1
        if stages == 0 and in_stage > newton_at:
            passes.absorb(reduced, u, v, n, m, wide, tall, f_total, g_total, shift_rows, shift_columns)
            passes.form_kernel(reduced, kernel, kernel_t, n, wide, tall)
            passes.times(kernel_t, v, row_sum, m, tall)
            moved, ridge = newton_step(
                reduced, kernel, kernel_t, row_mass, column_mass, v, row_sum, column_sum, shift_rows, shift_columns,
                n, m, wide, tall, ridge, f_total, g_total, scratch, step, system,
            )  # fmt: skip
            passes.transpose(kernel, kernel_t, wide, tall)
            newton_at = in_stage + (1 if moved else NEWTON_AFTER)
            ridge = min(ridge, LAST_RIDGE)
            continue
        passes.update(row_mass, row_sum, u, tall)
        passes.times(kernel, u, column_sum, n, wide)
        passes.update(column_mass, column_sum, v, wide)
        if passes.peak(u, tall) > ABSORB_BEYOND or passes.peak(v, wide) > ABSORB_BEYOND:
            passes.absorb(reduced, u, v, n, m, wide, tall, f_total, g_total, shift_rows, shift_columns)
            passes.form_kernel(reduced, kernel, kernel_t, n, wide, tall)

    statistics[passes.ITERATIONS] = iterations
    logs = row_sum, shift_columns, shift_rows, scratch
    passes.finish(
        rows, columns, row_mass, column_mass, epsilon, reduced, kernel, u, v, wide, tall, column_sum, f_total, g_total,
        logs, f, g, statistics,
    )  # fmt: skip
    statistics[passes.CONVERGED] = statistics[passes.VIOLATION] <= tolerance
    if turned:
        passes.transpose(kernel, kernel_t, wide, tall)
        kernel, rows, columns, wide = kernel_t, columns, rows, tall
    if epsilon > WARM * statistics[passes.SPREAD]:  # the potentials' last digits, times epsilon, would show in the price
        potential_price = statistics[passes.COST]
        statistics[passes.COST] = passes.price(cost, rows, columns, kernel, wide)
        statistics[passes.REGULARISED] += statistics[passes.COST] - potential_price
    passes.scatter(kernel, wide, rows, columns, coupling)
