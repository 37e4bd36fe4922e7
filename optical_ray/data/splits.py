"""English sentence -> train, valid or test: a hash of what is left of it without case, punctuation and spaces.

No English key is in two splits, in any language or source, and a key's split does not depend on what else is in the corpus.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import lru_cache
from typing import Literal, Self, get_args

import regex
from pydantic import Field, model_validator

from optical_ray.config import Config

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

_NOT_KEPT = regex.compile(r"[^\p{L}\p{M}\p{N}]+")


class SplitConfig(Config):
    """Shares of the English keys, not of the pairs: a language's own shares vary around them."""

    valid_share: float = Field(default=0.12, ge=0, lt=1)
    """Choices (search, pruning, early stopping) see these."""
    test_share: float = Field(default=0.15, ge=0, lt=1)
    """Looked at once, after training."""
    salt: str = ""
    """Another salt gives another partition of the same shares."""

    @model_validator(mode="after")
    def _something_to_train_on(self) -> Self:
        if self.valid_share + self.test_share >= 1:
            raise ValueError(
                f"valid_share + test_share is {self.valid_share + self.test_share:g}, which leaves nothing to train on; keep it below 1"
            )
        return self


@lru_cache(maxsize=1 << 16)
def split_key(english: str) -> str:
    """What makes two English strings the same sentence: letters, digits and marks of the NFKC casefold.

    Stripping only case is not enough: 18 of 597 held-out strings differed from a training string in punctuation alone. Spaces go too,
    so that `e-mail`, `e mail` and `email` are one.
    """
    folded = english
    # Casefolding can undo NFKC, and so can taking characters out, hence until nothing changes: a key is its own key. Mostly one round.
    while (once := _NOT_KEPT.sub("", unicodedata.normalize("NFKC", folded).casefold())) != folded:
        folded = once
    return folded


def assign_split(english: str, config: SplitConfig) -> Split:
    """The split of an English sentence, the same in every process, corpus and Python version."""
    return split_of_key(split_key(english), config)


def split_of_key(key: str, config: SplitConfig) -> Split:
    """As `assign_split`, for a key that is known already."""
    digest = hashlib.blake2b(f"{config.salt}\x1f{key}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < config.test_share:
        return "test"
    return "valid" if place < config.test_share + config.valid_share else "train"
