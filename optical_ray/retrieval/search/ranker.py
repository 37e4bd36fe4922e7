"""Scores, block by block -> what ranks best, and where the relevant documents rank.

Q queries, C documents of a block, K = depth, N documents in all, R relevant documents in all, P pairs of a query and a document to re-rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from optical_ray.retrieval.collection import Ranked
from optical_ray.retrieval.search.order import MOST_DOCUMENTS, NEVER, form_keys, is_relevant, keep_best, keep_best_of, places_of, scores_of
from optical_ray.retrieval.search.sharing import share_out

EXACT_SCORES = 2**28
"""All scores are kept, and every relevant document's rank is known, up to this many: 1 GiB of float32. Beyond, the best K of each query
alone are. LAReQA in one search has 13,090 x 13,014 = 0.64 of it."""
QUERIES_AT_ONCE = 64  # whose scores are put together at the end


class Ranker:
    """Ranks the documents of every query. Blocks may come in any order, and be shared by several rankers: the same result, bit for bit.

    Scores are rounded to multiples of 2^-20 (as far as they are below 8), so that rounding in an encoder's batch rarely parts documents of
    equal texts. Of equal scores, relevant documents stand behind all others (ties count against us), then stored order. NaN is -inf.

    Args:
        relevant: Of each query, places of its relevant documents.
        depth: K.
        num_documents: N.
        candidates: Of each query, places of the documents to re-rank; others are not ranked. None: all documents.

    Raises:
        ValueError: a place is not in 0 .. N - 1, or there are more documents than 2^31.
    """

    def __init__(
        self,
        relevant: Sequence[NDArray[np.int64]],
        depth: int,
        num_documents: int,
        candidates: Sequence[NDArray[np.int64]] | None = None,
    ) -> None:
        if num_documents > MOST_DOCUMENTS:
            raise ValueError(f"ranker: {num_documents} documents, at most {MOST_DOCUMENTS} can be ranked")
        self._depth, self._num_documents = depth, num_documents
        self._relevant_R, self._offsets_Q = _join(relevant, num_documents)
        self._spans: list[tuple[int, int]] = []  # documents seen: first, and behind the last
        self._pieces: list[NDArray[np.float32]] = []  # of each span: scores [Q, C], or of its pairs
        self._heap_QK: NDArray[np.int64] | None = None
        self._by_place_P: NDArray[np.int64] | None = None
        if candidates is not None:
            self._places_P, self._pair_offsets_Q = _join(candidates, num_documents)
            self._by_place_P = np.argsort(self._places_P, kind="stable")
            self._sorted_places_P = self._places_P[self._by_place_P]
            self._query_P = np.repeat(np.arange(len(candidates)), np.diff(self._pair_offsets_Q))[self._by_place_P]
        elif len(self) * num_documents > EXACT_SCORES and depth < num_documents:
            self._heap_QK = np.full((len(self), depth), NEVER)

    def __len__(self) -> int:
        """Q."""
        return len(self._offsets_Q) - 1

    def add(self, first: int, scores_QC: NDArray[np.float32]) -> None:
        """Take the scores of documents `first` onwards. Each document once.

        Raises:
            ValueError: not a row for each query, or documents beyond the last.
        """
        stop = first + scores_QC.shape[1]
        if len(scores_QC) != len(self) or first < 0 or stop > self._num_documents:
            raise ValueError(
                f"ranker: scores of {len(scores_QC)} queries, documents {first} to {stop - 1}; expected {len(self)} queries, "
                f"documents 0 to {self._num_documents - 1}"
            )
        self._spans.append((first, stop))
        if self._heap_QK is not None:
            self._offer(first, np.ascontiguousarray(scores_QC, np.float32))
        elif self._by_place_P is None:
            self._pieces.append(np.array(scores_QC, np.float32, order="C"))
        else:
            pairs = self._pairs(first, stop)
            self._pieces.append(scores_QC[self._query_P[pairs], self._sorted_places_P[pairs] - first].astype(np.float32))

    def merge(self, other: Ranker) -> None:
        """Take what another ranker of the same queries saw of other blocks. It may not be used any more.

        Raises:
            ValueError: it ranks otherwise.
        """
        same = (self._depth, self._num_documents, self._heap_QK is None) == (other._depth, other._num_documents, other._heap_QK is None)
        if not same or not np.array_equal(self._offsets_Q, other._offsets_Q) or not np.array_equal(self._relevant_R, other._relevant_R):
            raise ValueError("ranker: cannot be merged with one of other queries, other documents or another depth")
        self._spans += other._spans
        self._pieces += other._pieces
        if self._heap_QK is not None and self._depth:
            keep_best_of(self._heap_QK, other._heap_QK)

    def finish(self) -> Ranked:
        """What was found, once every document has been seen.

        Raises:
            ValueError: a block is missing, or came twice.
        """
        self._check_spans()
        top_QK = np.full((len(self), self._depth), -1, np.int64)
        scores_QK = np.full((len(self), self._depth), -np.inf, np.float32)
        rank_R = np.zeros(len(self._relevant_R), np.int64)
        for q, keys in enumerate(self._keys()):
            best = keys[len(keys) - min(self._depth, len(keys)) :][::-1]
            top_QK[q, : len(best)], scores_QK[q, : len(best)] = places_of(best), scores_of(best)
            at = np.flatnonzero(is_relevant(keys))
            own = slice(self._offsets_Q[q], self._offsets_Q[q + 1])
            rank_R[own][np.searchsorted(self._relevant_R[own], places_of(keys[at]))] = len(keys) - at
        counts = np.full(len(self), self._num_documents) if self._by_place_P is None else np.diff(self._pair_offsets_Q)
        return Ranked(top_QK, scores_QK, self._relevant_R, self._offsets_Q, rank_R, counts.astype(np.int64), exact=self._heap_QK is None)

    def _offer(self, first: int, scores_QC: NDArray[np.float32]) -> None:
        heap_QK = self._heap_QK
        if heap_QK is not None and self._depth:
            share_out(
                lambda begin, end: keep_best(heap_QK, scores_QC, first, self._relevant_R, self._offsets_Q, begin, end),
                np.arange(len(self) + 1) * scores_QC.shape[1],
            )

    def _pairs(self, first: int, stop: int) -> slice:
        """Pairs to re-rank, in the order of documents, whose document is one of `first` .. `stop` - 1."""
        return slice(*np.searchsorted(self._sorted_places_P, [first, stop]).tolist())

    def _check_spans(self) -> None:
        behind = 0
        for first, stop in [*sorted(self._spans), (self._num_documents, self._num_documents)]:
            if first != behind:
                what = f"documents {behind} to {first - 1} are missing" if first > behind else f"document {first} came twice"
                raise ValueError(f"ranker: {what}; every block must be added once, by one of the rankers that are merged")
            behind = stop

    def _keys(self) -> Iterator[NDArray[np.int64]]:
        """Of each query, what is known of its documents, ascending."""
        if self._heap_QK is not None:
            for heap in self._heap_QK:
                yield np.sort(heap[heap != NEVER])
            return
        for q, (places, scores) in enumerate(self._all_scores() if self._by_place_P is None else self._pair_scores()):
            keys = np.empty(len(scores), np.int64)
            form_keys(scores, places, self._relevant_R[self._offsets_Q[q] : self._offsets_Q[q + 1]], keys)
            keys.sort()
            yield keys

    def _all_scores(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Of each query, places and scores of all documents."""
        order = sorted(range(len(self._spans)), key=lambda index: self._spans[index])
        places = np.arange(self._num_documents)
        for start in range(0, len(self), QUERIES_AT_ONCE):
            parts = [self._pieces[index][start : start + QUERIES_AT_ONCE] for index in order]
            count = min(QUERIES_AT_ONCE, len(self) - start)
            for scores in np.concatenate([np.empty((count, 0), np.float32), *parts], axis=1):
                yield places, scores

    def _pair_scores(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Of each query, places and scores of the documents to re-rank."""
        assert self._by_place_P is not None
        scores_P = np.empty(len(self._places_P), np.float32)
        for (first, stop), piece in zip(self._spans, self._pieces, strict=True):
            scores_P[self._by_place_P[self._pairs(first, stop)]] = piece
        for start, end in zip(self._pair_offsets_Q[:-1], self._pair_offsets_Q[1:], strict=True):
            yield self._places_P[start:end], scores_P[start:end]


def _join(places: Sequence[NDArray[np.int64]], num_documents: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of all queries, each query's ascending and different, and where each query's begin."""
    each = [np.unique(np.asarray(own, np.int64)) for own in places]
    joined = np.concatenate([np.empty(0, np.int64), *each])
    if len(joined) and (joined.min() < 0 or joined.max() >= num_documents):
        raise ValueError(f"ranker: place {joined.min() if joined.min() < 0 else joined.max()}; expected 0 to {num_documents - 1}")
    return joined, np.concatenate([[0], np.cumsum([len(own) for own in each], dtype=np.int64)]).astype(np.int64)
