"""Documents in memory, and an encoder that gives every word its own vector."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS, DocumentBlock


@dataclass(frozen=True)
class ListDocuments:
    """Documents of one or more passages each; languages go round."""

    passages: tuple[tuple[str, ...], ...]
    languages: tuple[str, ...] = ("en", "sw")
    fingerprint: str = "list"

    def __len__(self):
        return len(self.passages)

    def language(self, place):
        return self.languages[place % len(self.languages)]

    def blocks(self, start=0, stop=None):
        for first in range(start * BLOCK_DOCUMENTS, len(self) if stop is None else min(len(self), stop * BLOCK_DOCUMENTS), BLOCK_DOCUMENTS):
            own = self.passages[first : first + BLOCK_DOCUMENTS]
            places = range(first, first + len(own))
            yield DocumentBlock(
                ids=tuple(f"d{place}" for place in places),
                languages=tuple(self.language(place) for place in places),
                passages=tuple(text for texts in own for text in texts),
                owner=np.repeat(np.arange(len(own)), [len(texts) for texts in own]),
            )

    def places(self, ids):
        return {f"d{place}": place for place in range(len(self)) if f"d{place}" in ids}


@lru_cache
def draw_vector(word, dimension):
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "little")
    return torch.from_numpy(np.random.default_rng(seed).normal(size=dimension)).float()


@dataclass(frozen=True)
class WordSide:
    """Every word is a token; a vector of its own, whatever stands beside it."""

    dimension: int = 8
    fingerprint: str = "words"
    scale: float = 3.0

    def vector(self, word):
        return draw_vector(word, self.dimension) * self.scale + 1.0

    def encode(self, texts):
        words = [text.split() for text in texts]
        vectors = [self.vector(word) for text in words for word in text]
        return TokenClouds(
            torch.stack(vectors) if vectors else torch.empty(0, self.dimension),
            torch.tensor([len(text) for text in words], dtype=torch.int64),
        )


WORDS = ("the", "red", "book", "small", "house", "two", "letters", "gate", "some", "bread", "long", "story", "last", "ticket", "her", "hat")


def sentences(count, seed=0, longest=7):
    """Made of a few words; some are empty, some come twice."""
    draw = np.random.default_rng(seed)
    return tuple(" ".join(draw.choice(WORDS, draw.integers(0, longest + 1))) for _ in range(count))
