"""How many tokens a tokenizer makes of a corpus: counted on some rows of each language, which stand for all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from optical_ray.data.corpus import Corpus
from optical_ray.data.corpus_config import SPLITS
from optical_ray.encoders.tokenizer import tokenize

SAMPLE_ROWS = 2000
NO_LIMIT = 1 << 20
"""Tokens: no row is cut."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The foreign side of one language, all splits, special tokens not counted."""

    rows: int
    """Rows that were tokenised."""
    tokens: int
    """Of all rows; exact where every row was tokenised."""
    margin: float
    """Half the 95 % interval of `tokens`, as a share of it."""
    per_word: float
    """Tokens for one whitespace-separated word (fertility)."""
    unknown: float
    """Share of tokens that are the unknown token: text that the tokenizer cannot write."""


def count_tokens(corpus: Corpus, tokenizer: PreTrainedTokenizerBase, rows: int = SAMPLE_ROWS) -> dict[str, TokenCount]:
    """Tokens of every language, by tag.

    Rows are stored in the order of a hash, so the first ones of a split are a random sample of it; each split gives its share of `rows`.

    Args:
        corpus: Its foreign side is counted.
        tokenizer: A fast one.
        rows: Of each language, about.

    Raises:
        ModelError: the tokenizer is not a fast one.
        DataError: a part of the corpus cannot be read.
    """
    return {tag: _count(corpus, tag, tokenizer, rows) for tag in corpus.languages}


def _count(corpus: Corpus, tag: str, tokenizer: PreTrainedTokenizerBase, rows: int) -> TokenCount:
    available = {split: corpus.pairs(split)[tag] for split in SPLITS}
    total = sum(available.values())
    wanted = {split: math.ceil(count * min(1.0, rows / total)) for split, count in available.items()}
    texts = [text for split in SPLITS for text in corpus.head(tag, split, wanted[split], ("text",))["text"].to_pylist()]
    table = tokenize(tokenizer, texts, NO_LIMIT)
    row = np.repeat(np.arange(len(texts)), table.lengths)
    per_row = np.bincount(row, weights=table.content, minlength=len(texts))
    ids = table.ids[table.content]
    left_out = 1 - len(texts) / total  # of a finite corpus: nothing left out, nothing uncertain
    error = float(per_row.std(ddof=1)) / math.sqrt(len(texts)) * math.sqrt(left_out) if len(texts) > 1 else 0.0
    mean = float(per_row.mean())
    return TokenCount(
        rows=len(texts),
        tokens=round(mean * total),
        margin=1.96 * error / mean if mean else 0.0,
        per_word=float(per_row.sum() / sum(text.count(" ") + 1 for text in texts)),
        unknown=float(np.isin(ids, tokenizer.unk_token_id).mean()) if len(ids) and tokenizer.unk_token_id is not None else 0.0,
    )
