"""What a teacher learns from, and what is held out."""

from __future__ import annotations

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from optical_ray.config import Config, where_field
from optical_ray.data.reading.chunks import OnBadRow


class RelevanceConfig(Config):
    """English queries with relevant documents. All rows of one query are one training query, which each epoch meets once."""

    sources: tuple[str, ...] = ()
    """Each `PATH[,key=value...]`: JSONL, TSV triples, a folder of MS MARCO, BEIR or Parquet files (docs/teacher.md)."""
    test_sources: tuple[str, ...] = ()
    """Held out altogether: scored once, after training. A query that stands in them is left out of training and validation."""
    valid_share: float = Field(default=0.1, gt=0.0, lt=1.0)
    """Share of the queries that validation draws from: by a hash of the query without case, punctuation and spaces, so that no query is in
    both. Documents may be."""
    split_seed: int = Field(default=0, ge=0)
    """Of the split, and of the order in which `max_queries` takes; apart from the recipe's seed: seeds are compared on one split."""
    max_queries: PositiveInt | None = None
    """Use at most so many queries, training and validation together: the first in a seeded order. None: all."""
    max_negatives: PositiveInt = 64
    """Of one query, the first so many different negatives are kept."""
    on_bad_row: OnBadRow = where_field("refuse")
    """`skip`: damaged rows are left out, counted and listed. Not part of the fingerprint."""

    @model_validator(mode="after")
    def _something_to_learn_from(self) -> Self:
        if twice := {source for source in self.sources if source in self.test_sources}:
            raise ValueError(f"{sorted(twice)[0]!r} is in sources and in test_sources; a test source is held out")
        return self
