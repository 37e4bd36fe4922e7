"""A side without a model: a text's tokens are seeded by its words."""

import hashlib

import torch

from optical_ray.encoders.interaction import TokenClouds


def vector(word, dimension):
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:6], "big")
    return torch.randn(dimension, generator=torch.Generator().manual_seed(seed))


class WordSide:
    """Counts the texts that it encodes."""

    def __init__(self, name="words", dimension=8, offsets=None):
        self.name, self.dimension, self.offsets, self.encoded = name, dimension, offsets or {}, 0

    @property
    def fingerprint(self):
        return self.name

    def encode(self, texts):
        self.encoded += len(texts)
        clouds = [[vector(word, self.dimension) + self.offsets.get(word[:1], 0.0) for word in text.split()] for text in texts]
        flat = [token for cloud in clouds for token in cloud]
        vectors = torch.stack(flat) if flat else torch.empty(0, self.dimension)
        return TokenClouds(vectors, torch.tensor([len(cloud) for cloud in clouds]))
