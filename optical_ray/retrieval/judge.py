"""A ranking and the relevance judgements -> per-query rows (schema QUERIES).

Ties count against us: among documents of one score, the relevant ones stand last (`Ranked`). Every measure follows from the ranks of the
relevant documents alone; those of trec_eval on the run that trec.py writes are the same (tests, and `trec.check_files` on every run that is
written). A relevant document that a search has not found counts as never found: AP is then that of a run of the search's depth, as
everywhere. Two of the definitions differ between tools:

    AP@20     divided by min(relevant, 20), as XTREME-R divides; trec_eval divides by all relevant ones (map_cut_20)
    nDCG@10   gains are the grades themselves, discounted by log2(1 + rank), as in trec_eval

Q queries, R relevant documents of all queries (query i owns offsets[i] up to offsets[i + 1]).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_ray.errors import DataError
from optical_ray.retrieval.collection import Collection, Ranked
from optical_ray.retrieval.document_names import DocumentNames
from optical_ray.retrieval.intervals import Floats
from optical_ray.retrieval.questions import name_candidates, name_question
from optical_ray.runs.schemas import QUERIES

SEVERAL_LANGUAGES = "mul"
"""ISO 639-2's tag for multiple languages."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Measures of each query, [Q]."""

    rank_Q: NDArray[np.int64]
    """Of the first relevant document; 0: none was found."""
    ap_Q: Floats
    ap20_Q: Floats
    ndcg10_Q: Floats
    r100_Q: Floats


def measure_ranks(rank_R: NDArray[np.int64], grade_R: NDArray[np.int64], offsets_Q: NDArray[np.int64]) -> Measured:
    """Measures from the ranks of all relevant documents.

    Args:
        rank_R: 1-based, each rank once within a query; 0: not found.
        grade_R: Above 0.
        offsets_Q: int64 [Q + 1]; every query owns at least one.
    """
    count_Q = np.diff(offsets_Q)
    query_R = np.repeat(np.arange(len(count_Q)), count_Q)
    found_R = rank_R > 0
    # By query and rank, what was not found last: the j-th found document of a query then stands at its j-th place.
    order_R = np.lexsort((np.where(found_R, rank_R, np.iinfo(np.int64).max), query_R))
    rank_R, grade_R, found_R = rank_R[order_R], grade_R[order_R], found_R[order_R]
    nth_R = np.arange(1, len(rank_R) + 1) - offsets_Q[query_R]
    precision_R = np.where(found_R, nth_R / np.maximum(rank_R, 1), 0.0)
    discount_R = np.where(found_R & (rank_R <= 10), 1.0 / np.log2(1.0 + np.maximum(rank_R, 1)), 0.0)
    best_R = grade_R[np.lexsort((-grade_R, query_R))]  # grades of each query, best first: its ideal ranking
    ideal_R = np.where(nth_R <= 10, best_R / np.log2(1.0 + nth_R), 0.0)

    def total(values_R: Floats) -> NDArray[np.float64]:
        return np.asarray(np.bincount(query_R, values_R, minlength=len(count_Q)), dtype=np.float64)

    return Measured(
        rank_Q=rank_R[offsets_Q[:-1]],
        ap_Q=total(precision_R) / count_Q,
        ap20_Q=total(np.where(rank_R <= 20, precision_R, 0.0)) / np.minimum(count_Q, 20),
        ndcg10_Q=total(grade_R.astype(np.float64) * discount_R) / total(ideal_R),
        r100_Q=total((found_R & (rank_R <= 100)).astype(np.float64)) / count_Q,
    )


class Judge:
    """A collection's judgements by place, looked up once and compared with any number of rankings.

    A judged document that is not among the documents does not count; readers refuse such judgements, or skip them where that is allowed.

    Raises:
        DataError: a query without a relevant document that is there.
    """

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.names = DocumentNames(collection.documents)
        qrels = collection.qrels
        grades = [{name: grade for name, grade in qrels.get(query, {}).items() if grade > 0} for query in collection.queries.ids]
        place_of = collection.documents.places(frozenset(name for judged in grades for name in judged))
        found = [sorted((place_of[name], grade) for name, grade in judged.items() if name in place_of) for judged in grades]
        for query, pairs in zip(collection.queries.ids, found, strict=True):
            if not pairs:
                raise DataError(
                    f"{collection.task} {collection.name}: query {query!r} has no relevant document among the {len(collection.documents)} "
                    "candidates; a query that cannot be answered measures nothing: leave it out"
                )
        queries = collection.queries
        self._asked = list(map(name_question, queries.texts, queries.languages, grades))
        self._among = name_pools(collection)
        self.offsets_Q = np.concatenate([[0], np.cumsum([len(pairs) for pairs in found], dtype=np.int64)]).astype(np.int64)
        self.relevant_R = np.array([place for pairs in found for place, _ in pairs], dtype=np.int64)
        self.grade_R = np.array([grade for pairs in found for _, grade in pairs], dtype=np.int64)

    @property
    def relevant(self) -> list[NDArray[np.int64]]:
        """Places of each query's relevant documents, ascending: what a `Ranker` asks for."""
        return np.split(self.relevant_R, self.offsets_Q[1:-1])

    def rows(self, ranked: Ranked, system: str, scorer: str) -> pa.Table:
        """One row per query, schema QUERIES.

        Raises:
            ValueError: the ranking is of other queries or other judgements.
        """
        self.require_own(ranked)
        collection, queries, count = self.collection, self.collection.queries, len(self.collection.queries)
        measured = measure_ranks(ranked.rank_R, self.grade_R, self.offsets_Q)
        languages = collection.documents.languages
        columns = {
            "system": [system] * count,
            "task": [collection.task] * count,
            "collection": [collection.name] * count,
            "split": [collection.split] * count,
            "scorer": [scorer] * count,
            "query_language": list(queries.languages),
            "document_language": [languages[0] if len(languages) == 1 else SEVERAL_LANGUAGES] * count,
            "query_id": list(queries.ids),
            "relevant_id": list(queries.clusters),
            "rank": pa.array(measured.rank_Q.astype(np.int32), mask=measured.rank_Q == 0),
            "num_relevant": np.diff(self.offsets_Q).astype(np.int32),
            "num_candidates": ranked.num_candidates_Q.astype(np.int32),
            "AP": measured.ap_Q.astype(np.float32),
            "AP@20": measured.ap20_Q.astype(np.float32),
            "nDCG@10": measured.ndcg10_Q.astype(np.float32),
            "R@100": measured.r100_Q.astype(np.float32),
            "asked": self._asked,
            "among": self._among,
            "top_candidate_id": list(self.names.ids(ranked.top_QK[:, 0])),
        }
        return pa.table(columns, schema=QUERIES)

    def require_own(self, ranked: Ranked) -> None:
        """Raises ValueError where a ranking is not of these queries and judgements."""
        if not (np.array_equal(ranked.offsets_Q, self.offsets_Q) and np.array_equal(ranked.relevant_R, self.relevant_R)):
            raise ValueError(
                f"{self.collection.task} {self.collection.name}: the ranking was made for {len(ranked.relevant_R)} relevant documents of "
                f"{len(ranked.offsets_Q) - 1} queries; these judgements have {len(self.relevant_R)} of {len(self.offsets_Q) - 1}, or others"
            )


def name_pools(collection: Collection) -> list[int]:
    """What each query is looked for among: all documents, or its own candidates of them."""
    documents = collection.documents.fingerprint
    if collection.candidates is None:
        return [name_candidates([documents])] * len(collection.queries)
    return [name_candidates([documents, *sorted(collection.candidates.get(query, ()))]) for query in collection.queries.ids]


def judge(collection: Collection, ranked: Ranked, system: str, scorer: str) -> pa.Table:
    """Per-query rows of one ranking, schema QUERIES. Who judges several rankings of a collection keeps a `Judge`.

    Raises:
        DataError, ValueError: as `Judge` and `Judge.rows`.
    """
    return Judge(collection).rows(ranked, system, scorer)
