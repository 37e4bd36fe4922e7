"""BM25, by the library bm25s (Lù 2024, arXiv 2407.03618): what shared words alone reach.

Q queries, C documents of a block, P passages, V words.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import regex
from numpy.typing import NDArray

from optical_ray.retrieval.collection import DocumentBlock, Documents, Queries
from optical_ray.retrieval.systems.passages import best_passages

BM25 = "bm25"
K1, B = 0.9, 0.4
"""Anserini's and Pyserini's defaults, so that rows can be held against published ones of theirs."""
_WORD = regex.compile(
    r"(?P<unspaced>[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}][\p{Han}\p{Hiragana}\p{Katakana}"
    r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}\p{M}]*)|[\p{L}\p{N}][\p{L}\p{N}\p{M}--[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}"
    r"\p{Khmer}\p{Myanmar}\p{Tibetan}]]*",
    regex.V1,
)


def split_words(text: str) -> list[str]:
    """Casefolded words (NFKC): letters, digits and their marks; of scripts that are written without spaces, overlapping pairs.

    No stemming and no stop words: no language has an advantage by what a library knows of it.
    """
    words: list[str] = []
    for found in _WORD.finditer(unicodedata.normalize("NFKC", text).casefold()):
        word = found.group()
        if found.group("unspaced") is None:
            words.append(word)
        else:
            words += [word] if len(word) < 2 else [word[place : place + 2] for place in range(len(word) - 1)]
    return words


class Bm25System:
    """Every passage is a document of the index, which is kept in memory: about 12 bytes for each different word of each passage."""

    name = "bm25"
    scorers = (BM25,)

    def __init__(self) -> None:
        self._known: tuple[str, _Index] | None = None

    def prepare(self, queries: Queries, documents: Documents) -> Bm25Scorer:
        """As `System.prepare`; the index of the last documents is kept, for the next queries to be looked for among them."""
        if self._known is None or self._known[0] != documents.fingerprint:
            self._known = documents.fingerprint, _index(documents)
        index = self._known[1]
        return Bm25Scorer(index, _count_words(queries.texts, index.vocabulary))


@dataclass(frozen=True, slots=True, eq=False)
class _Index:
    vocabulary: dict[str, int]
    weights_PV: Any
    """Sparse rows: what each word adds to a passage's score."""
    starts: dict[str, int]
    """Id of each document -> its first passage."""


@dataclass(frozen=True, slots=True, eq=False)
class Bm25Scorer:
    """Queries as counts of words, and the index."""

    index: _Index
    queries_QV: Any

    def scores(self, block: DocumentBlock) -> dict[str, NDArray[np.float32]]:
        """As `BlockScorer.scores`."""
        first_C = np.array([self.index.starts[name] for name in block.ids], np.int64)
        inside_P = np.arange(len(block.passages)) - np.searchsorted(block.owner, block.owner)
        weights_PV = self.index.weights_PV[first_C[block.owner] + inside_P]
        return {BM25: best_passages((self.queries_QV @ weights_PV.T).toarray(), block)}


def _index(documents: Documents) -> _Index:
    import bm25s  # here: only this row needs it
    from scipy.sparse import csc_array

    vocabulary: dict[str, int] = {}
    passages: list[list[int]] = []
    starts: dict[str, int] = {}
    for block in documents.blocks():
        firsts = np.searchsorted(block.owner, np.arange(len(block))) + len(passages)
        starts |= dict(zip(block.ids, firsts.tolist(), strict=True))
        passages += [[vocabulary.setdefault(word, len(vocabulary)) for word in split_words(passage)] for passage in block.passages]
    if not vocabulary:  # bm25s cannot index texts without a single word
        return _Index({}, csc_array((len(passages), 1), dtype=np.float32).tocsr(), starts)
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to tell every step
    engine = bm25s.BM25(method="lucene", k1=K1, b=B)
    engine.index(bm25s.tokenization.Tokenized(passages, vocabulary), create_empty_token=False, show_progress=False)
    columns = (engine.scores["data"], engine.scores["indices"], engine.scores["indptr"])
    return _Index(vocabulary, csc_array(columns, shape=(len(passages), len(vocabulary))).tocsr(), starts)


def _count_words(texts: Sequence[str], vocabulary: dict[str, int]) -> Any:
    from scipy.sparse import coo_array

    pairs = [(query, vocabulary[word]) for query, text in enumerate(texts) for word in split_words(text) if word in vocabulary]
    rows, columns = zip(*pairs, strict=True) if pairs else ((), ())
    shape = (len(texts), max(1, len(vocabulary)))
    return coo_array((np.ones(len(pairs), np.float32), (np.array(rows, np.int64), np.array(columns, np.int64))), shape=shape).tocsr()
