"""The shape of the global batch."""

from __future__ import annotations

from typing import Self

from pydantic import PositiveInt, model_validator

from optical_ray.config import Config


class BatchConfig(Config):
    """One global batch, whatever the number of workers."""

    pairs: PositiveInt = 64
    """Bitext pairs per step, over all workers."""
    group: PositiveInt = 32
    """Consecutive pairs that are each other's contrastive negatives; a worker holds whole groups, so groups bound the number of workers."""
    length_window: PositiveInt = 8
    """Steps among which pairs are sorted by length, so that little is padded; a window's batches come in a seeded order. 1: none."""

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.pairs % self.group:
            raise ValueError(f"batch.pairs={self.pairs} is not a multiple of batch.group={self.group}")
        return self
