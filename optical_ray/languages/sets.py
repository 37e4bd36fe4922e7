"""Which languages are in training: a set of size k from a pool, nested in k for one strategy and seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, PositiveInt

from optical_ray.config import Config
from optical_ray.errors import LanguageError
from optical_ray.languages.codes import canonical_tag
from optical_ray.seeding import derive_seed


class LanguageSetConfig(Config):
    """A language set. For one pool, strategy and seed the set of size k is part of the set of size k + 1."""

    pool: tuple[str, ...] = ()
    """Languages to choose from, any usual code; empty: every language of the corpus."""
    size: PositiveInt | None = None
    """Number of languages k; None: the whole pool."""
    strategy: Literal["given", "largest", "random"] = "given"
    """Order in which the pool is taken: as given (an empty pool: by tag), by number of training pairs, or shuffled by `seed`."""
    seed: int = Field(default=0, ge=0)
    """Of strategy `random`; apart from the recipe's seed, so that training seeds do not change the set."""


def order_pool(config: LanguageSetConfig, pairs: Mapping[str, int]) -> tuple[str, ...]:
    """The pool in the order in which sets of growing size take it.

    Args:
        config: Pool, strategy and seed.
        pairs: Training pairs of each language of the corpus, by canonical tag.

    Raises:
        LanguageError: a language of the pool is unknown, given twice, or not in the corpus.
    """
    pool = tuple(canonical_tag(code) for code in config.pool) or tuple(sorted(pairs))
    repeated = sorted({tag for tag in pool if pool.count(tag) > 1})
    if repeated:
        raise LanguageError(f"languages.pool: {', '.join(repeated)} stand there more than once")
    missing = [tag for tag in pool if tag not in pairs]
    if missing:
        raise LanguageError(f"languages.pool: {', '.join(missing)} not in the corpus, which has {', '.join(sorted(pairs))}")
    if config.strategy == "largest":
        return tuple(sorted(pool, key=lambda tag: (-pairs[tag], tag)))
    if config.strategy == "random":
        return tuple(sorted(pool, key=lambda tag: derive_seed(config.seed, "language-set", tag)))
    return pool


def choose_languages(config: LanguageSetConfig, pairs: Mapping[str, int]) -> tuple[str, ...]:
    """The language set, in the order of the pool.

    Raises:
        LanguageError: as `order_pool`, or the set is larger than the pool.
    """
    pool = order_pool(config, pairs)
    size = len(pool) if config.size is None else config.size
    if size > len(pool):
        raise LanguageError(
            f"languages.size: {size} languages asked for, the pool holds {len(pool)} ({', '.join(pool)}); lower the size or widen the pool"
        )
    return pool[:size]
