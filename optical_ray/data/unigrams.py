"""Token frequencies of languages, and what guessing by frequency alone would cost: the floor under a masked language model.

V pieces of the vocabulary, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from optical_ray.data.layout import BLOCK_ROWS
from optical_ray.data.token_shards import TokenBlock, TokenReader, TokenRules, TokenSource, make_block

SMOOTHING = 0.01
"""Added to every count, so that a token that training rows lack is improbable and not impossible."""
MOST_BLOCKS = 16
"""Of a language, that are counted for its floor."""


def count_pieces(blocks: Iterable[TokenBlock], pieces: int, content: bool = True) -> NDArray[np.int64]:
    """How often each piece occurs, int64 [V]; among content tokens alone, or among all."""
    counts = np.zeros(pieces, np.int64)
    for block in blocks:
        ids = block.tokens.ids[block.tokens.content] if content else block.tokens.ids
        counts += np.bincount(ids, minlength=pieces)
    return counts


def training_blocks(rules: TokenRules, tag: str, rows: int) -> Iterable[TokenBlock]:
    """The first blocks of a language's training rows, as many as hold `rows`, at most MOST_BLOCKS."""
    for index in range(min(-(-rows // BLOCK_ROWS), MOST_BLOCKS)):
        yield make_block(rules, tag, index)


def rows_in_use(source: TokenSource, rows: Mapping[str, int]) -> Iterable[tuple[str, TokenBlock]]:
    """(language, block) of all training rows that a mixture uses, each row once."""
    reader = TokenReader(source, tuple(rows))
    for place, (tag, count) in enumerate(rows.items()):
        for first in range(0, count, BLOCK_ROWS):
            row = np.arange(first, min(first + BLOCK_ROWS, count), dtype=np.int32)
            yield tag, reader.gather(np.full(len(row), place, np.int16), row)


def unigram_nats(counts_V: NDArray[np.int64], tokens_T: NDArray[np.int64]) -> float:
    """Mean cross entropy of some tokens under the smoothed frequencies of a language's training rows, nats per token; NaN of none.

    A masked language model that stays above it has learnt nothing but how often pieces occur, if that.
    """
    if not len(tokens_T):
        return float("nan")
    probability = (counts_V[tokens_T] + SMOOTHING) / (counts_V.sum() + SMOOTHING * len(counts_V))
    return float(-np.log(probability).mean())
