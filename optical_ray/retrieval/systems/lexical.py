"""TF-IDF of characters: what shared names and loanwords alone reach.

Q queries, C documents of a block, P passages, V n-grams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optical_ray.retrieval.collection import DocumentBlock, Documents, Queries
from optical_ray.retrieval.references import tfidf_vectorizer
from optical_ray.retrieval.systems.passages import best_passages

TFIDF = "tfidf"


class LexicalSystem:
    """The lexical floor of retrieval/references.py, for any number of documents: n-grams are counted block by block.

    Memory grows with the different n-grams of all documents, about 100 bytes each.
    """

    name = "lexical"
    scorers = (TFIDF,)

    def __init__(self) -> None:
        self._known: tuple[str, Any] | None = None

    def prepare(self, queries: Queries, documents: Documents) -> TfidfScorer:
        """As `System.prepare`; the counts of the last documents are kept, for the next queries to be looked for among them."""
        if self._known is None or self._known[0] != documents.fingerprint:
            self._known = documents.fingerprint, _count(documents)
        vectorizer = self._known[1]
        return TfidfScorer(vectorizer, vectorizer.transform(queries.texts))


@dataclass(frozen=True, slots=True, eq=False)
class TfidfScorer:
    """Queries as weighted n-grams."""

    vectorizer: Any
    """A fitted `TfidfVectorizer`."""
    queries_QV: Any
    """Sparse, L2-normalised rows."""

    def scores(self, block: DocumentBlock) -> dict[str, NDArray[np.float32]]:
        """As `BlockScorer.scores`."""
        passages_PV = self.vectorizer.transform(block.passages)
        return {TFIDF: best_passages((self.queries_QV @ passages_PV.T).toarray(), block)}


def _count(documents: Documents) -> Any:
    """The vectorizer that `fit` on all passages at once would give, to the bit."""
    analyse = tfidf_vectorizer().build_analyzer()
    places: dict[str, int] = {}
    frequencies: list[int] = []
    count = 0
    for block in documents.blocks():
        for passage in block.passages:
            count += 1
            for gram in set(analyse(passage)):
                place = places.setdefault(gram, len(places))
                if place == len(frequencies):
                    frequencies.append(1)
                else:
                    frequencies[place] += 1
    order = sorted(places)
    found = tfidf_vectorizer(vocabulary={gram: place for place, gram in enumerate(order)})
    idf_V = np.log((1 + count) / (1 + np.array([frequencies[places[gram]] for gram in order], np.float64))) + 1.0
    found.idf_ = idf_V
    return found
