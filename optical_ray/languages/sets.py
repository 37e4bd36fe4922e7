"""Which languages are in training: a set of size k from a pool, nested in k for one strategy and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field, PositiveInt, model_validator

from optical_ray.config import Config
from optical_ray.errors import LanguageError
from optical_ray.languages.codes import canonical_tag
from optical_ray.languages.distances import Distance
from optical_ray.languages.strategies import Strategy, by_diversity, by_similarity, by_size, of_family, shuffled


class LanguageSetConfig(Config):
    """A language set. For one config but for its size, the set of size k is the beginning of the set of size k + 1."""

    pool: tuple[str, ...] = ()
    """Languages to choose from, any usual code; empty: every language of the corpus."""
    size: PositiveInt | None = None
    """Number of languages k, those of `always` included; None: all that the strategy takes."""
    strategy: str = "given"
    """Order in which the pool is taken: given (an empty pool: by tag), largest, smallest (by training pairs), random, diverse, similar or
    similar:CODE, family:NAME, explicit:CODE,CODE. The last two take no other language."""
    distance: Distance = "mean"
    """What diverse and similar measure: mean (of the next three), genealogical, geographic, script, or syntactic (extra `typology`)."""
    target: str | None = None
    """Of strategy similar: the language to be close to; it need not be in the corpus. In the pool, it is taken first."""
    always: tuple[str, ...] = ()
    """Languages that stand first in every set, so that curves over k share seen languages; diverse starts from them."""
    unseen: tuple[str, ...] = ()
    """Languages that are in no set, whatever its size, so that curves over k share unseen languages."""
    seed: int = Field(default=0, ge=0)
    """Of random: the order; of diverse without `always`: the first language. Apart from the recipe's seed, so that training seeds do not
    change the set."""

    @model_validator(mode="after")
    def _strategy_is_known(self) -> Self:
        strategy = Strategy.parse(self.strategy)
        if strategy.name == "similar" and bool(strategy.argument) == (self.target is not None):
            raise ValueError("languages.strategy=similar needs one target: similar:CODE, or similar with languages.target=CODE")
        if strategy.name != "similar" and self.target is not None:
            raise ValueError(f"languages.target is of strategy similar only; the strategy is {self.strategy}")
        if self.size is not None and self.size < len(self.always):
            raise ValueError(f"languages.size={self.size} is less than the {len(self.always)} languages of languages.always")
        return self


def order_pool(config: LanguageSetConfig, pairs: Mapping[str, int]) -> tuple[str, ...]:
    """Every language of the pool: first in the order in which sets of growing size take them, then those that no set takes.

    Args:
        config: Pool, strategy, seed, fixed languages. `always` and `unseen` belong to the pool whether it lists them or not.
        pairs: Training pairs of each language of the corpus, by canonical tag.

    Raises:
        LanguageError: a language is unknown, given twice, both seen and unseen, or not in the corpus; a distance that the strategy needs is
            unknown; no language is of the family.
        DataError: distance `syntactic` without its extra.
    """
    taken, others = _split_pool(config, pairs)
    return taken + others


def choose_languages(config: LanguageSetConfig, pairs: Mapping[str, int]) -> tuple[str, ...]:
    """The language set, in the order in which the strategy takes it.

    Raises:
        LanguageError: as `order_pool`, or the set is larger than what the strategy may take.
    """
    taken, others = _split_pool(config, pairs)
    size = len(taken) if config.size is None else config.size
    if size > len(taken):
        held = f", and no set takes {', '.join(others)}" if others else ""
        raise LanguageError(
            f"languages.size: {size} languages asked for, the pool holds {len(taken)} ({', '.join(taken)}){held}; "
            "lower the size or widen the pool"
        )
    if not size:
        raise LanguageError(f"languages.pool: every language of it is in languages.unseen ({', '.join(others)}); leave one to train on")
    return taken[:size]


def _split_pool(config: LanguageSetConfig, pairs: Mapping[str, int]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(languages that sets take, in order; languages of the pool that none takes)."""
    always = _read_codes("languages.always", config.always, pairs)
    unseen = _read_codes("languages.unseen", config.unseen, pairs)
    both = [tag for tag in always if tag in unseen]
    if both:
        raise LanguageError(f"languages.unseen: {', '.join(both)} stand in languages.always too; a language is seen or unseen")
    pool = _read_codes("languages.pool", config.pool, pairs) or tuple(sorted(pairs))
    candidates = [tag for tag in pool if tag not in always and tag not in unseen]
    taken = always + tuple(_order_candidates(config, candidates, always, unseen, pairs))
    rest = [tag for tag in candidates if tag not in taken]
    return taken, (*rest, *unseen)


def _order_candidates(
    config: LanguageSetConfig, candidates: Sequence[str], always: Sequence[str], unseen: Sequence[str], pairs: Mapping[str, int]
) -> Sequence[str]:
    strategy = Strategy.parse(config.strategy)
    match strategy.name:
        case "largest" | "smallest":
            return by_size(candidates, pairs, largest_first=strategy.name == "largest")
        case "random":
            return shuffled(candidates, config.seed)
        case "diverse":
            return by_diversity(candidates, always, config.seed, config.distance)
        case "similar":
            return by_similarity(candidates, canonical_tag(strategy.argument or config.target or ""), config.distance)
        case "family":
            return of_family(candidates, strategy.argument)
        case "explicit":
            wanted = _read_codes("languages.strategy=explicit", strategy.argument.split(","), pairs)
            held = [tag for tag in wanted if tag in unseen]
            if held:
                raise LanguageError(
                    f"languages.strategy=explicit: {', '.join(held)} stand in languages.unseen too; a language is seen or unseen"
                )
            outside = [tag for tag in wanted if tag not in candidates and tag not in always]
            if outside:
                raise LanguageError(f"languages.strategy=explicit: {', '.join(outside)} not in languages.pool; widen or empty the pool")
            return [tag for tag in wanted if tag not in always]
    return candidates


def _read_codes(where: str, codes: Sequence[str], pairs: Mapping[str, int]) -> tuple[str, ...]:
    tags = tuple(canonical_tag(code) for code in codes)
    repeated = sorted({tag for tag in tags if tags.count(tag) > 1})
    if repeated:
        raise LanguageError(f"{where}: {', '.join(repeated)} stand there more than once")
    missing = [tag for tag in tags if tag not in pairs]
    if missing:
        raise LanguageError(f"{where}: {', '.join(missing)} not in the corpus, which has {', '.join(sorted(pairs))}")
    return tags
