"""How much of each language: budget and temperature -> distinct rows, sampling shares and draws per language."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from optical_ray.config import Config
from optical_ray.errors import ConfigError


class MixingConfig(Config):
    """Text budget and sampling temperature.

    The two budgets answer two questions: `total` holds the text of the whole set fixed while languages are added (so each gets less),
    `per_language` holds the text of each language fixed (so the set gets more). "More languages" is never confounded with "more rows".
    """

    temperature: PositiveFloat = 1.0
    """tau: a language is sampled with probability proportional to rows^(1/tau); 1 is proportional, large is uniform."""
    budget: Literal["total", "per_language"] = "per_language"
    """What `pairs` limits: the distinct training pairs of all languages together, or of each language."""
    pairs: PositiveInt | None = None
    """Distinct training pairs; None: all there are of each language (budget `per_language` only)."""

    @model_validator(mode="after")
    def _total_names_its_pairs(self) -> Self:
        if self.budget == "total" and self.pairs is None:
            raise ValueError("mixing.budget=total needs mixing.pairs: without it, more languages would mean more text")
        return self


@dataclass(frozen=True, slots=True)
class Mixture:
    """What a language set is sampled like; stored with the results."""

    rows: dict[str, int]
    """Distinct training pairs in use, by language."""
    shares: dict[str, float]
    """Sampling probability p_l; sums to 1."""

    @property
    def entropy(self) -> float:
        """Shannon entropy of the sampling distribution, nats."""
        return -sum(p * math.log(p) for p in self.shares.values() if p > 0)

    @property
    def effective_languages(self) -> float:
        """exp(entropy): the number of equally sampled languages of the same diversity."""
        return math.exp(self.entropy)

    def describe(self) -> dict[str, Any]:
        """Plain data for plan.json."""
        return {"rows": self.rows, "shares": self.shares, "entropy_nats": self.entropy, "effective_languages": self.effective_languages}


def mix(config: MixingConfig, available: Mapping[str, int]) -> Mixture:
    """Distribute a text budget over the languages of a set.

    `total`: shares are proportional to available^(1/tau) and the budget follows the shares as far as each language has rows.
    `per_language`: rows = min(pairs, available), shares are proportional to rows^(1/tau).

    Args:
        config: Budget and temperature.
        available: Training pairs of each language of the set; none may be 0.

    Raises:
        ConfigError: a language has no rows, or the budget is smaller than one row per language.
    """
    empty = [tag for tag, count in available.items() if count < 1]
    if empty or not available:
        raise ConfigError(f"mixing: no training pairs for {', '.join(empty) or 'any language'}; leave the language out of languages.pool")
    if config.budget == "total" and config.pairs is not None:
        shares = _shares(available, config.temperature)
        return Mixture(apportion(config.pairs, shares, dict(available)), shares)
    limit = config.pairs if config.pairs is not None else max(available.values())
    rows = {tag: min(limit, count) for tag, count in available.items()}
    return Mixture(rows, _shares(rows, config.temperature))


def _shares(counts: Mapping[str, int], temperature: float) -> dict[str, float]:
    largest = max(counts.values())  # scaled before the power: a tiny tau must not overflow
    weights = {tag: (count / largest) ** (1.0 / temperature) for tag, count in counts.items()}
    total = math.fsum(weights.values())
    return {tag: weight / total for tag, weight in weights.items()}


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
    fixed: dict[str, int] = {}
    while True:
        free = [tag for tag in shares if tag not in fixed]
        rest = target - sum(fixed.values())
        mass = math.fsum(shares[tag] for tag in free) or 1.0
        quota = {tag: rest * shares[tag] / mass for tag in free}
        bound = {tag: caps[tag] for tag in free if quota[tag] >= caps[tag]} or {tag: 1 for tag in free if quota[tag] < 1}
        if not bound:
            break
        fixed |= bound
    counts = {tag: math.floor(quota[tag]) for tag in free}
    by_remainder = sorted(free, key=lambda tag: (counts[tag] - quota[tag], tag))
    for tag in by_remainder[: rest - sum(counts.values())]:
        counts[tag] += 1
    return {tag: fixed.get(tag, counts.get(tag, 0)) for tag in shares}
