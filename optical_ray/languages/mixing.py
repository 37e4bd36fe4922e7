"""How much of each language: budget and temperature -> distinct rows, sampling shares and draws per language."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from optical_ray.config import Config
from optical_ray.errors import ConfigError
from optical_ray.languages.apportionment import apportion, fill, spend

_LEAST = 1e-200


class MixingConfig(Config):
    """Text budget and sampling temperature.

    The two budgets answer two questions: `total` holds the text of the whole set fixed while languages are added (so each gets less),
    `per_language` holds the text of each language fixed (so the set gets more). "More languages" is never confounded with "more text".
    """

    temperature: PositiveFloat = 1.0
    """tau: a language is sampled with probability proportional to rows^(1/tau); 1 is proportional, large is uniform."""
    budget: Literal["total", "per_language"] = "per_language"
    """What `pairs` or `tokens` limits: the distinct training text of all languages together, or of each language."""
    pairs: PositiveInt | None = None
    """Distinct training pairs; None: all there are of each language (budget `per_language` only)."""
    tokens: PositiveInt | None = None
    """Distinct foreign-side tokens of the student's tokenizer, instead of `pairs`: met from below, in whole pairs of mean length."""
    max_repeats: float | None = Field(default=None, ge=1)
    """Most passes over a language's rows that the draws of a training make, to the plan's rounding (one draw); what is drawn less of it is
    drawn from the others. None: no limit."""

    @model_validator(mode="after")
    def _budget_has_one_size(self) -> Self:
        if self.pairs is not None and self.tokens is not None:
            raise ValueError(f"mixing.pairs={self.pairs} and mixing.tokens={self.tokens}: a budget has one unit; set one of them to null")
        if self.budget == "total" and self.pairs is None and self.tokens is None:
            raise ValueError("mixing.budget=total needs mixing.pairs or mixing.tokens: without it, more languages would mean more text")
        return self


@dataclass(frozen=True, slots=True)
class Mixture:
    """What a language set is sampled like; stored with the results."""

    rows: dict[str, int]
    """Distinct training pairs in use, by language."""
    shares: dict[str, float]
    """Sampling probability p_l of a draw (a pair); sums to 1."""
    tokens: dict[str, float] | None = None
    """Expected distinct foreign-side tokens in use, by language; None: the budget is in pairs."""

    @property
    def entropy(self) -> float:
        """Shannon entropy of the sampling distribution, nats."""
        return sum(-p * math.log(p) for p in self.shares.values() if p > 0)

    @property
    def effective_languages(self) -> float:
        """exp(entropy): the number of equally sampled languages of the same diversity."""
        return math.exp(self.entropy)

    def describe(self) -> dict[str, Any]:
        """Plain data for plan.json."""
        tokens = {} if self.tokens is None else {"tokens": self.tokens}
        facts = {"rows": self.rows, "shares": self.shares, "entropy_nats": self.entropy, "effective_languages": self.effective_languages}
        return facts | tokens


def mix(config: MixingConfig, available: Mapping[str, int], tokens_per_pair: Mapping[str, float] | None = None) -> Mixture:
    """Distribute a text budget over the languages of a set.

    `total`: shares are proportional to available^(1/tau) and the rows follow the shares as far as each language has rows. In pairs, they
    sum to the budget exactly; in tokens, they sum to at most the budget, and no language's next row would still fit.
    `per_language`: rows = min(budget, available), in tokens min(floor(budget / tokens per pair), available); shares are proportional to
    rows^(1/tau).

    Args:
        config: Budget and temperature.
        available: Training pairs of each language of the set; none may be 0.
        tokens_per_pair: Mean foreign-side tokens of each language's pairs; read only with a budget in tokens.

    Raises:
        ConfigError: a language has no rows, the budget is smaller than one row per language, or a language's tokens are not given.
    """
    empty = [tag for tag, count in available.items() if count < 1]
    if empty or not available:
        raise ConfigError(f"mixing: no training pairs for {', '.join(empty) or 'any language'}; leave the language out of languages.pool")
    if config.tokens is not None:
        return _mix_tokens(config, config.tokens, available, _require_lengths(available, tokens_per_pair))
    if config.budget == "total" and config.pairs is not None:
        shares = _shares(available, config.temperature)
        return Mixture(apportion(config.pairs, shares, dict(available)), shares)
    limit = config.pairs if config.pairs is not None else max(available.values())
    rows = {tag: min(limit, count) for tag, count in available.items()}
    return Mixture(rows, _shares(rows, config.temperature))


def cap_shares(mixture: Mixture, draws: int, max_repeats: float | None) -> Mixture:
    """Limit the passes over each language's rows: what a capped language would be drawn more goes to the others by their shares.

    Args:
        mixture: Rows and shares.
        draws: Draws of the whole training: steps x pairs per step; 0 changes nothing.
        max_repeats: Most passes; None changes nothing.

    Returns:
        The mixture with shares such that draws x share is at most floor(max_repeats x rows) of each language; uncapped languages keep the
        ratios of their shares.

    Raises:
        ConfigError: even all languages at their caps give fewer than `draws`.
    """
    if max_repeats is None or not draws:
        return mixture
    caps = {tag: math.floor(max_repeats * rows) for tag, rows in mixture.rows.items()}
    most, rows = sum(caps.values()), sum(mixture.rows.values())
    if most < draws:
        raise ConfigError(
            f"mixing.max_repeats={max_repeats:g}: so many passes over {rows:,} pairs give at most {most:,} draws, the training makes "
            f"{draws:,} (training.max_steps x batch.pairs); raise it above {draws / rows:.2f}, or train for fewer steps"
        )
    quota = fill(draws, mixture.shares, dict.fromkeys(caps, 0), caps)
    return replace(mixture, shares={tag: quota[tag] / draws for tag in mixture.shares})


def _mix_tokens(config: MixingConfig, tokens: int, available: Mapping[str, int], lengths: Mapping[str, float]) -> Mixture:
    if config.budget == "total":
        shares = _shares(available, config.temperature)
        rows = spend(tokens, shares, dict(available), lengths)
    else:
        too_long = [tag for tag in available if lengths[tag] > tokens]
        if too_long:
            found = ", ".join(f"{tag} {lengths[tag]:.1f}" for tag in too_long)
            raise ConfigError(f"mixing.tokens: {tokens} is less than one pair of mean length has in tokens: {found}; raise the budget")
        rows = {tag: min(math.floor(tokens / lengths[tag]), count) for tag, count in available.items()}
        shares = _shares(rows, config.temperature)
    return Mixture(rows, shares, {tag: rows[tag] * lengths[tag] for tag in rows})


def _require_lengths(available: Mapping[str, int], tokens_per_pair: Mapping[str, float] | None) -> Mapping[str, float]:
    missing = [tag for tag in available if not (tokens_per_pair or {}).get(tag, 0) > 0]
    if tokens_per_pair is None or missing:
        raise ConfigError(f"mixing.tokens: tokens per pair are not known of {', '.join(missing)}; use mixing.pairs, or measure them")
    return tokens_per_pair


def _shares(counts: Mapping[str, int], temperature: float) -> dict[str, float]:
    largest = max(counts.values())  # scaled before the power: a tiny tau must not overflow
    # Never 0: a language whose share underflows still takes what the others leave of a budget.
    weights = {tag: max((count / largest) ** (1.0 / temperature), _LEAST) for tag, count in counts.items()}
    total = math.fsum(weights.values())
    return {tag: weight / total for tag, weight in weights.items()}
