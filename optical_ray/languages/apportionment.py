"""Splitting a whole budget by shares between bounds: exactly, in whole rows, and without dropping a language."""

from __future__ import annotations

import math
from collections.abc import Mapping

from optical_ray.errors import ConfigError


def apportion(total: int, shares: Mapping[str, float], caps: Mapping[str, int], what: str = "mixing.pairs") -> dict[str, int]:
    """Split `total` rows by shares into whole numbers, at least 1 and at most its cap for every language.

    What a capped language cannot take goes to the others by their shares; the last rows go by largest remainder (ties by name), so the
    result sums to min(total, sum of caps) exactly.

    Raises:
        ConfigError: `total`, which the message calls `what`, is below one row per language.
    """
    if total < len(shares):
        raise ConfigError(f"{what}: {total} pairs for {len(shares)} languages; at least one pair a language is needed")
    target = min(total, sum(caps[tag] for tag in shares))
    quota = fill(target, shares, dict.fromkeys(shares, 1), caps)
    counts = {tag: math.floor(quota[tag]) for tag in shares}
    by_remainder = sorted(shares, key=lambda tag: (counts[tag] - quota[tag], tag))
    # Rounding in the last bit may leave a bound language at the end of this order, never a cap exceeded.
    growing = [tag for tag in by_remainder if counts[tag] < caps[tag]]
    for tag in growing[: target - sum(counts.values())]:
        counts[tag] += 1
    return counts


def spend(budget: int, shares: Mapping[str, float], caps: Mapping[str, int], price: Mapping[str, float]) -> dict[str, int]:
    """Buy whole rows with a budget (of tokens), in numbers proportional to shares, at least 1 and at most its cap for every language.

    The rows cost at most `budget`, and no further row fits: what is left is less than the price of any language that has rows left.

    Args:
        budget: In the unit of `price`.
        shares: Relative numbers of rows.
        caps: Rows of each language.
        price: Of one row of each language, positive.

    Raises:
        ConfigError: one row of each language costs more than the budget.
    """
    least = math.fsum(price[tag] for tag in shares)
    if least > budget:
        raise ConfigError(
            f"mixing.tokens: {budget} for {len(shares)} languages; one pair of each has {math.ceil(least)} tokens, raise the budget"
        )
    quota = fill(min(budget, _cost(caps, price, shares)), shares, dict.fromkeys(shares, 1), caps, price)
    by_remainder = sorted(shares, key=lambda tag: (math.floor(quota[tag]) - quota[tag], tag))
    # One row below the floor, which the first round gives back where it fits: a quota that was rounded up must not overspend.
    counts = {tag: max(1, math.floor(quota[tag]) - 1) for tag in shares}
    grown = True
    while grown:
        grown = False
        for tag in by_remainder:
            more = counts | {tag: counts[tag] + 1}
            if more[tag] <= caps[tag] and _cost(more, price, shares) <= budget:
                counts, grown = more, True
    return counts


def fill(
    total: float, shares: Mapping[str, float], lower: Mapping[str, int], upper: Mapping[str, int], price: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Real quotas q_l = clip(lambda * share_l, lower_l, upper_l) with sum(price_l * q_l) = total; lambda is what it must be.

    Bounds are frozen round by round, each time only the side (lower or upper) whose violations cost more: freezing both at once, or always
    the upper ones, can overspend.

    Args:
        total: Between the costs of all lower and of all upper bounds.
        shares: Positive or 0; any scale.
        lower: Bounds, `upper` not below them.
        price: Of one unit of each; None: 1.
    """
    cost = dict.fromkeys(shares, 1.0) if price is None else {tag: price[tag] for tag in shares}
    frozen: dict[str, float] = {}
    while len(frozen) < len(shares):
        free = [tag for tag in shares if tag not in frozen]
        rest = total - math.fsum(cost[tag] * frozen[tag] for tag in frozen)
        mass = math.fsum(cost[tag] * shares[tag] for tag in free)
        scale = rest / mass if mass > 0 else 0.0
        quota = {tag: scale * shares[tag] for tag in free}
        low = {tag: float(lower[tag]) for tag in free if quota[tag] < lower[tag]}
        high = {tag: float(upper[tag]) for tag in free if quota[tag] > upper[tag]}
        if not low and not high:
            return {tag: frozen[tag] if tag in frozen else quota[tag] for tag in shares}
        missing = math.fsum(cost[tag] * (low[tag] - quota[tag]) for tag in low)
        excess = math.fsum(cost[tag] * (quota[tag] - high[tag]) for tag in high)
        frozen |= low if missing > excess else high if excess > missing else low | high
    return {tag: frozen[tag] for tag in shares}


def _cost(counts: Mapping[str, int], price: Mapping[str, float], shares: Mapping[str, float]) -> float:
    return math.fsum(counts[tag] * price[tag] for tag in shares)
