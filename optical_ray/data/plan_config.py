"""The shape of the global batch."""

from __future__ import annotations

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from optical_ray.config import Config, where_field
from optical_ray.errors import ConfigError


class BatchConfig(Config):
    """One global batch, whatever the number of workers."""

    pairs: PositiveInt = 64
    """Bitext pairs per step, over all workers; with `tokens`, their nominal number, which sizes the window only."""
    tokens: PositiveInt | None = None
    """At most this many student tokens per step, padding included, over all workers, in whole groups; None: `pairs` pairs each step."""
    group: PositiveInt = 32
    """Consecutive pairs that are each other's contrastive negatives; a worker holds whole groups, so groups bound the number of workers."""
    monolingual_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of the groups whose pairs are all of one language (hybrid batches, arXiv 2408.10536), as far as a window holds `group` pairs of
    a language; the other groups are mixed. Each language keeps its share of every window."""
    length_window: PositiveInt = 32
    """Steps' worth of pairs that are sorted by length, so that little is padded; a window's batches come in a seeded order. 1: none."""
    token_shards: bool = where_field(True)
    """Tokenise once into the store; else the blocks of rows in use, on the fly, in every process. Not part of the fingerprint."""

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.pairs % self.group:
            raise ValueError(f"batch.pairs={self.pairs} is not a multiple of batch.group={self.group}")
        return self

    @property
    def window_pairs(self) -> int:
        """Pairs of a whole window."""
        return self.length_window * self.pairs

    def fewest_groups(self, max_tokens: int) -> int:
        """Groups that every step has at least: more workers than this cannot be served.

        Args:
            max_tokens: Of the longest student sentence.

        Raises:
            ConfigError: `tokens` does not hold one group of such sentences.
        """
        if self.tokens is None:
            return self.pairs // self.group
        full = self.tokens // (self.group * max_tokens)
        if full < 1:
            raise ConfigError(
                f"batch.tokens={self.tokens} does not hold one group of {self.group} sentences of student.max_tokens={max_tokens}; "
                f"set it to {self.group * max_tokens} or more, or lower batch.group"
            )
        return min((full + 1) // 2, self.window_pairs // self.group)  # a window's last two batches share what is left of it
