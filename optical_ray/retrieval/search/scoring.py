"""Scores of every query cloud against every document cloud, on the processor: products and maxima in one pass, no similarity is stored.

The score of a pair is the same to the bit whatever else is scored beside it, and for any number of threads.
Q queries, C documents, T tokens, D dimensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.encoders.config import Scorer
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.search import tiles
from optical_ray.retrieval.search.sharing import share_out
from optical_ray.transport.cpu import simd

CHUNK_BYTES = 2**18
"""Of query panels that are met with all documents before the next: half of a second-level cache."""
Floats = NDArray[np.float32]


class Panels:
    """Vectors laid out for the kernel: [panels, D, 16], the last panel filled up with zeros."""

    def __init__(self, vectors_TD: Tensor) -> None:
        count, self.width = vectors_TD.shape
        self.num_panels = -(-count // tiles.LANES)
        padded = torch.zeros(self.num_panels * tiles.LANES, self.width)
        padded[:count] = vectors_TD
        laid_out = padded.view(self.num_panels, tiles.LANES, self.width).transpose(1, 2).contiguous()
        self.entries: Floats = laid_out.numpy().reshape(-1)
        self.count = count


class Seekers:
    """Texts whose tokens look for their best match: queries, or documents where the match counts in both directions.

    Args:
        clouds: L2-normalised tokens, float32.
    """

    def __init__(self, clouds: TokenClouds) -> None:
        self.clouds = clouds

    def __len__(self) -> int:
        return len(self.clouds)

    @cached_property
    def _tokens(self) -> Panels:
        return Panels(self.clouds.vectors_TD)

    @cached_property
    def _pooled(self) -> Panels:
        return Panels(self.clouds.pool())

    def maxsim(self, others: TokenClouds) -> Floats:
        """Mean over a text's tokens of the best product with the other's tokens, [own texts, others].

        A text without tokens scores 0; another without tokens -inf. A token that is not a number makes its text's scores NaN.
        """
        panels, lengths = self._tokens, self.clouds.lengths
        starts = np.concatenate([[0], np.cumsum(others.lengths.numpy())])
        owner = np.repeat(np.arange(len(self), dtype=np.int32), lengths.numpy())
        rows = _flat(others.vectors_TD)
        chunk = max(1, CHUNK_BYTES // (panels.width * tiles.LANES * 4))
        sums_CQ = np.zeros((len(others), len(self)), np.float32)

        def work(first: int, last: int) -> None:
            best = np.empty(chunk * tiles.LANES, np.float32)
            _compiled()[0](panels.entries, rows, starts, panels.width, owner, chunk, first, last, best, sums_CQ)

        share_out(work, starts * (panels.count * panels.width))
        sums_CQ /= np.maximum(lengths.numpy(), 1).astype(np.float32)
        told = lengths.numpy() > 0
        sums_CQ[np.ix_(others.lengths.numpy() == 0, told)] = -np.inf
        sums_CQ[_broken(others)] = np.nan
        sums_CQ[:, _broken(self.clouds)] = np.nan
        return sums_CQ.T

    def pooled(self, others: TokenClouds) -> Floats:
        """Cosines of the mean tokens, [own texts, others]; 0 where a text has none."""
        panels, rows = self._pooled, _flat(others.pool())
        pitch = panels.num_panels * tiles.LANES
        products_CP = np.empty((len(others), pitch), np.float32)

        def work(first: int, last: int) -> None:
            _compiled()[1](panels.entries, panels.num_panels, rows, panels.width, first, last, products_CP.reshape(-1), pitch)

        share_out(work, np.arange(len(others) + 1) * (panels.count * panels.width))
        return products_CP[:, : len(self)].T


def score_block(queries: Seekers, documents: TokenClouds, scorers: Collection[Scorer]) -> dict[Scorer, Floats]:
    """Scores [Q, C] by scorer, as `encoders.interaction.score` defines them, to rounding. Tokens must be L2-normalised.

    `maxsim-symmetric` looks twice, in both directions.
    """
    found: dict[Scorer, Floats] = {}
    if "maxsim" in scorers or "maxsim-symmetric" in scorers:
        forward_QC = queries.maxsim(documents)
        if "maxsim" in scorers:
            found["maxsim"] = forward_QC
        if "maxsim-symmetric" in scorers:
            found["maxsim-symmetric"] = (forward_QC + Seekers(documents).maxsim(queries.clouds).T) / np.float32(2)
    if "pooled" in scorers:
        found["pooled"] = queries.pooled(documents)
    return found


def _flat(vectors_TD: Tensor) -> Floats:
    rows: Floats = vectors_TD.detach().float().contiguous().numpy().reshape(-1)
    return rows


def _broken(clouds: TokenClouds) -> NDArray[np.bool_]:
    """Texts with a token that is not a number."""
    bad_T = ~clouds.vectors_TD.sum(1).isfinite()
    owner_T = torch.repeat_interleave(torch.arange(len(clouds)), clouds.lengths)
    found = np.zeros(len(clouds), bool)
    found[owner_T[bad_T].numpy()] = True
    return found


@cache
def _compiled() -> tuple[Callable[..., None], Callable[..., None]]:
    """Numba caches machine code on disk, keyed by this file and by what functions close over: the digest makes it see the other sources."""
    paths = [Path(str(module.__file__)) for module in (tiles, simd)]
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()

    @njit(cache=True, nogil=True, error_model="numpy")
    def match(panels, rows, starts, width, owner, chunk, first, last, best, sums):  # type: ignore[no-untyped-def]
        assert len(sources) == 64
        tiles.match_texts(panels, rows, starts, width, owner, chunk, first, last, best, sums)

    @njit(cache=True, nogil=True, error_model="numpy")
    def multiply(panels, num_panels, rows, width, first, last, products, pitch):  # type: ignore[no-untyped-def]
        assert len(sources) == 64
        tiles.multiply(panels, num_panels, rows, width, first, last, products, pitch)

    return match, multiply
