"""Time to the same accuracy: every contender is tuned per problem and epsilon, then all run in turn.

A contender's stop rule is not ours, so equal tolerances would not be equal accuracy. Each is tuned to the loosest stop whose worst pair
still meets `ACCURACY`, judged here in float64 from the plan it returns.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.sinkhorn.contenders import OURS, Contender, Variant
from benchmarks.sinkhorn.problems import ACCURACY, Problem, is_accurate
from benchmarks.sinkhorn.rows import Row
from benchmarks.tables import quartiles

PROBE = 100  # iterations of a first look: how long one takes, and whether numbers stay finite
ROOM = 1.3  # times the solve's own time that the limit must leave for a higher cap to be worth a try
MOST_ITERATIONS = 100_000
PATIENCE = 1.2  # a further variant is given up at this multiple of the best one's time
SAMPLE_SECONDS = 0.02  # shorter solves are repeated inside one timing
PAUSE_SECONDS = 0.01  # before a timing: idle OpenMP threads of the one before still spin, on the core of the one that follows


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time a cell (one problem, cost, epsilon) may take."""

    repeats: int = 9
    solve_seconds: float = 10.0
    """A single solve that takes longer is a failure."""
    contender_seconds: float = 1.5
    """Repeats of one contender stop here; each runs at least once."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """A contender in the setting that serves a cell best, or why none does."""

    variant: Variant
    stop: float
    cap: int
    """Iterations: part of the setting, where the plan was accurate before the stop rule held."""
    seconds: float
    worst_violation: float
    failure: str = ""
    too_slow: bool = False
    """It fails for want of time, not of precision."""


def measure_cell(
    problem: Problem, epsilon: float, contenders: Sequence[Contender], threads: Sequence[int], effort: Effort, say: Callable[[str], None]
) -> list[Row]:
    """One row per contender and number of threads, whether it succeeds or fails."""
    before = torch.get_num_threads()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # POT warns of every stop at the cap; the judge sees it anyway
            return _measure_cell(problem, epsilon, contenders, threads, effort, say)
    finally:
        torch.set_num_threads(before)


def _measure_cell(
    problem: Problem, epsilon: float, contenders: Sequence[Contender], threads: Sequence[int], effort: Effort, say: Callable[[str], None]
) -> list[Row]:
    tuned: dict[tuple[str, int], Tuned] = {}
    runs: dict[tuple[str, int], Callable[[], Tensor]] = {}
    rows: list[Row] = []
    for contender in contenders:
        for count in threads if contender.threaded else threads[:1]:
            key = contender.name, count
            row = Row("speed", problem.name, problem.cost_name, epsilon, contender.name, count)
            if not contender.installed:
                rows.append(replace(row, note="not installed"))
                continue
            torch.set_num_threads(count)
            say(f"tuning {contender.name}, {count} thread{'s' * (count > 1)}")
            if count == threads[0]:
                found = tune(contender, problem, epsilon, effort.solve_seconds)
            else:
                found = tune_again(contender, problem, epsilon, effort.solve_seconds, tuned[contender.name, threads[0]])
            tuned[key] = found
            if found.failure:
                rows.append(replace(row, worst_violation=found.worst_violation, note=f"fails: {found.failure}; {found.variant}"))
                continue
            runs[key] = _bind(contender, problem, epsilon, found)
            rows.append(replace(row, note=_setting(contender, found)))
    say("timing")
    times, worst = race(runs, {key: tuned[key].seconds for key in runs}, problem, effort)
    return [_finish(row, times, worst) for row in rows]


def tune(contender: Contender, problem: Problem, epsilon: float, limit: float) -> Tuned:
    """The fastest accurate variant at its loosest accurate stop.

    Args:
        limit: Seconds that one solve may take.
    """
    best: Tuned | None = None
    failures: list[Tuned] = []
    for group in (contender.variants, contender.fallback):
        best, failed = _choose(contender, problem, epsilon, group, contender.stops[contender.start], limit)
        failures += failed
        if best is not None or all(item.too_slow for item in failures):
            break
    if best is None:
        finite = [item for item in failures if math.isfinite(item.worst_violation)]
        return min(finite, key=lambda item: item.worst_violation, default=failures[-1])
    for stop in [stop for stop in reversed(contender.stops) if stop > best.stop and not contender.counts]:
        looser, _ = _attempt(contender, problem, epsilon, best.variant, stop, best.cap)
        if not is_accurate(looser.worst_violation):
            break
        best = looser
    return best


def tune_again(contender: Contender, problem: Problem, epsilon: float, limit: float, known: Tuned) -> Tuned:
    """For another number of threads: the setting that is known, or the whole batch, which gains most from threads."""
    whole = replace(known.variant, layout="whole batch")
    variants = [known.variant, whole] if whole in contender.variants + contender.fallback and whole != known.variant else [known.variant]
    begin = contender.stops[contender.start] if known.failure else known.stop
    best, failed = _choose(contender, problem, epsilon, variants[: 1 if known.failure else 2], begin, limit)
    return failed[0] if best is None else best


def _choose(
    contender: Contender, problem: Problem, epsilon: float, variants: Sequence[Variant], begin: float, limit: float
) -> tuple[Tuned | None, list[Tuned]]:
    """The fastest accurate variant, and those that fail."""
    search = _lengthen if contender.counts else _tighten
    best: Tuned | None = None
    failures: list[Tuned] = []
    for variant in variants:
        found = search(contender, problem, epsilon, variant, begin, limit if best is None else min(limit, PATIENCE * best.seconds))
        if found.failure:
            failures.append(found)
        elif best is None or found.seconds < best.seconds:
            best = found
    return best, failures


def race(
    runs: dict[tuple[str, int], Callable[[], Tensor]], seconds: dict[tuple[str, int], float], problem: Problem, effort: Effort
) -> tuple[dict[tuple[str, int], list[float]], dict[tuple[str, int], float]]:
    """Times by repeat, and the worst violation of all timed plans; in each repeat everyone runs once, in rotating order.

    Args:
        runs: (contender, threads) -> solve.
        seconds: What a solve took when it was tuned.
    """
    keys = list(runs)
    times: dict[tuple[str, int], list[float]] = {key: [] for key in keys}
    worst = dict.fromkeys(keys, 0.0)
    turns = {key: max(1, min(effort.repeats, int(effort.contender_seconds / seconds[key]))) for key in keys}
    for repeat in range(effort.repeats):
        shift = repeat % max(1, len(keys))
        for key in keys[shift:] + keys[:shift]:
            if repeat >= turns[key]:
                continue
            torch.set_num_threads(key[1])
            inner = max(1, math.ceil(SAMPLE_SECONDS / seconds[key])) if seconds[key] < SAMPLE_SECONDS else 1
            if repeat == 0 and turns[key] > 1:
                runs[key]()  # warm up: threads that start on first use; nothing against seconds
            time.sleep(PAUSE_SECONDS)
            begin = time.perf_counter()
            for _ in range(inner):
                plan = runs[key]()
            times[key].append((time.perf_counter() - begin) / inner)
            violation = problem.worst_violation(plan)
            worst[key] = violation if math.isnan(violation) else max(worst[key], violation)
    return times, worst


def _tighten(contender: Contender, problem: Problem, epsilon: float, variant: Variant, begin: float, limit: float) -> Tuned:
    """The first accurate stop from `begin` on, or the nearest miss and why it is one."""
    best = Tuned(variant, math.nan, 0, math.inf, math.inf)
    for stop in [stop for stop in contender.stops if stop <= begin]:
        cap = PROBE
        while True:
            tried, capped = _attempt(contender, problem, epsilon, variant, stop, cap)
            if is_accurate(tried.worst_violation):
                return tried
            if not math.isfinite(tried.worst_violation):
                broken = int((~problem.violations(contender.solve(problem, epsilon, variant, stop, cap).coupling_BNM).isfinite()).sum())
                return replace(tried, failure=f"{broken} of {len(problem.pairs)} pairs not finite")
            if tried.worst_violation < best.worst_violation:
                best = tried
            room = limit / tried.seconds
            if not capped or room < ROOM or cap == MOST_ITERATIONS:
                break
            cap = min(MOST_ITERATIONS, int(cap * room))
        if capped:
            return replace(best, failure=f"{best.worst_violation:.1e} after {cap} iterations and {limit:.2g} s", too_slow=True)
    return replace(best, failure=f"{best.worst_violation:.1e} at its tightest stop")


def _lengthen(contender: Contender, problem: Problem, epsilon: float, variant: Variant, begin: float, limit: float) -> Tuned:
    """The first accurate number of iterations from `begin` on. The error falls about as one over it: what cannot arrive is not run."""
    count = begin
    while True:
        tried, _ = _attempt(contender, problem, epsilon, variant, count, MOST_ITERATIONS)
        if is_accurate(tried.worst_violation):
            return tried
        excess = tried.worst_violation / ACCURACY
        if not tried.seconds * excess <= limit:
            failure = f"{tried.worst_violation:.1e} after {count:.0f} iterations, falls as 1/n: not within {limit:.2g} s"
            return replace(tried, failure=failure, too_slow=True)
        count = math.ceil(count * min(1.05 * excess, 10.0))


def _attempt(contender: Contender, problem: Problem, epsilon: float, variant: Variant, stop: float, cap: int) -> tuple[Tuned, bool]:
    """The setting with its time and violation, and whether the cap ended it."""
    begin = time.perf_counter()
    solved = contender.solve(problem, epsilon, variant, stop, cap)
    seconds = time.perf_counter() - begin
    return Tuned(variant, stop, cap, seconds, problem.worst_violation(solved.coupling_BNM)), solved.capped


def _bind(contender: Contender, problem: Problem, epsilon: float, tuned: Tuned) -> Callable[[], Tensor]:
    return lambda: contender.solve(problem, epsilon, tuned.variant, tuned.stop, tuned.cap).coupling_BNM


def _setting(contender: Contender, tuned: Tuned) -> str:
    if tuned.stop == 0.0:
        return str(tuned.variant)
    if contender.counts:
        return f"{tuned.variant}, {tuned.stop:.0f} iterations"
    return f"{tuned.variant}, stop {tuned.stop:.0e}, at most {tuned.cap} iterations"


def _finish(row: Row, times: dict[tuple[str, int], list[float]], worst: dict[tuple[str, int], float]) -> Row:
    mine = times.get((row.contender, row.threads))
    if not mine:
        return row
    violation = worst[row.contender, row.threads]
    if not is_accurate(violation):
        return replace(row, worst_violation=violation, note=f"fails: {violation:.1e} in a timed solve (limit {ACCURACY:g}); {row.note}")
    low, middle, high = (1000 * value for value in quartiles(mine))
    ours = times.get((OURS, row.threads))
    ratio = None
    if ours:
        _, ratio, _ = quartiles([theirs / own for theirs, own in zip(mine, ours, strict=False)])
    return replace(
        row,
        median_ms=low if len(mine) == 1 else middle,
        q1_ms=low,
        q3_ms=high,
        repeats=len(mine),
        ratio_to_ours=ratio,
        worst_violation=violation,
    )
