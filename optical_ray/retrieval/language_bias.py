"""A pool of several languages: does a system find the answer whatever language it is in, or what is written like the question?

For LAReQA (Roy et al. 2020, arXiv 2004.05484), where every question has one relevant sentence in each language. Their En-En, X-X,
X-X-mono and X-Y are not parts of an evaluation but four ways of *training* (which languages stand in a batch together), all reported on the
whole pool. What tells such trainings apart are the three pools of Elmahdy et al. 2024 (arXiv 2408.10536), and how far apart the answers to
one question rank:

    multilingual   the whole pool: AP as in the LAReQA paper (no cut-off)
    monolingual    candidates in the question's language alone
    cross-lingual  candidates in one other language alone, mean over these languages

R relevant documents of all queries, D documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optical_ray.retrieval.collection import Ranked
from optical_ray.retrieval.document_names import Names
from optical_ray.retrieval.intervals import Floats
from optical_ray.retrieval.judge import Judge, measure_ranks


@dataclass(frozen=True, slots=True)
class LanguageBias:
    """Questions of one language; means over them. None: the search was not deep enough to tell, or there is nothing to compare."""

    query_language: str
    num_queries: int
    ap: float
    """Multilingual pool, all relevant documents."""
    ap20: float
    """Likewise with cut-off 20, divided by min(relevant, 20): XTREME-R's."""
    pool_ap: Mapping[str, float | None]
    """By document language: AP among the candidates of that language alone, over the questions that have an answer in it."""
    same_rank: float | None
    """In the whole pool, the relevant documents in the question's language: mean over questions of their mean rank."""
    cross_rank: float | None
    """Those in other languages."""
    rank_gap: float | None
    """`cross_rank` - `same_rank` over the questions that have both: above 0, the question's own language is preferred."""
    rank_distance: float | None
    """Worst less best rank among a question's relevant documents, mean over questions that have several (Elmahdy et al.: language bias)."""
    own_language_first: float
    """Share of questions whose best document is in their language."""

    @property
    def monolingual(self) -> float | None:
        return self.pool_ap.get(self.query_language)

    @property
    def cross_lingual(self) -> float | None:
        """Mean over the other languages; None where one of them is not known."""
        found = [value for language, value in self.pool_ap.items() if language != self.query_language]
        known = [value for value in found if value is not None]
        return float(np.mean(known)) if found and len(known) == len(found) else None


def language_bias(judge: Judge, ranked: Ranked) -> list[LanguageBias]:
    """One row for each query language, sorted. A mean over them counts languages alike.

    The pools of one language need `Ranked.top_QK` down to the last relevant document of every question: a depth of all candidates is always
    enough. Ranks need `Ranked.exact`, or the same depth.

    Raises:
        ValueError: the ranking is of other queries or judgements.
    """
    judge.require_own(ranked)
    queries = judge.collection.queries
    language_D = judge.names.all_languages()
    measured = measure_ranks(ranked.rank_R, judge.grade_R, judge.offsets_Q)
    inside_R = ranks_within_language(ranked, language_D)
    language_R = language_D[ranked.relevant_R]
    query_R = np.repeat(np.arange(len(queries)), np.diff(ranked.offsets_Q))
    asked_Q = np.array(queries.languages, dtype=np.object_)
    first_Q = judge.names.languages(ranked.top_QK[:, 0])
    rows = []
    for language in sorted(set(queries.languages)):
        own_Q = asked_Q == language
        own_R = own_Q[query_R]
        pools = {name: _pool_ap(inside_R, query_R, own_R & (language_R == name)) for name in sorted(set(language_R[own_R]))}
        same_Q = _mean_by_query(ranked.rank_R, query_R, own_R & (language_R == language), len(queries))[own_Q]
        cross_Q = _mean_by_query(ranked.rank_R, query_R, own_R & (language_R != language), len(queries))[own_Q]
        known = bool((ranked.rank_R[own_R] > 0).all())  # a mean over those that were found would be one over the easy ones
        rows.append(
            LanguageBias(
                query_language=language,
                num_queries=int(own_Q.sum()),
                ap=float(measured.ap_Q[own_Q].mean()),
                ap20=float(measured.ap20_Q[own_Q].mean()),
                pool_ap=pools,
                same_rank=_mean(same_Q) if known else None,
                cross_rank=_mean(cross_Q) if known else None,
                rank_gap=_mean(cross_Q - same_Q) if known else None,
                rank_distance=_mean(_distances(ranked)[own_Q]) if known else None,
                own_language_first=float((first_Q[own_Q] == language).mean()),
            )
        )
    return rows


def ranks_within_language(ranked: Ranked, language_D: Names) -> NDArray[np.int64]:
    """1-based rank of each relevant document among the candidates of its own language, int64 [R]; 0 where it lies beyond the depth.

    The order is that of the whole pool, so that ties count against us here as they do there.
    """
    names, code_D = np.unique(language_D.astype(np.str_), return_inverse=True)
    found_R = np.zeros(len(ranked.relevant_R), dtype=np.int64)
    for query, places_K in enumerate(ranked.top_QK):
        own = slice(ranked.offsets_Q[query], ranked.offsets_Q[query + 1])
        rank_own, code_own = ranked.rank_R[own], code_D[ranked.relevant_R[own]]
        within = (rank_own >= 1) & (rank_own <= len(places_K))
        places_K = places_K[: rank_own[within].max(initial=0)]
        code_K = np.where(places_K >= 0, code_D[places_K], len(names))
        for code in np.unique(code_own[within]):
            before_K = np.cumsum(code_K == code)
            chosen = within & (code_own == code)
            found_R[own][chosen] = before_K[rank_own[chosen] - 1]
    return found_R


def _pool_ap(inside_R: NDArray[np.int64], query_R: NDArray[np.int64], chosen_R: NDArray[np.bool_]) -> float | None:
    """Mean AP over the queries that have a chosen document; None where the rank of one is not known."""
    rank_R, query_R = inside_R[chosen_R], query_R[chosen_R]
    if not len(rank_R) or (rank_R == 0).any():
        return None
    offsets_Q = np.append(np.flatnonzero(np.diff(query_R, prepend=-1)), len(query_R))
    return float(measure_ranks(rank_R, np.ones_like(rank_R), offsets_Q).ap_Q.mean())


def _mean_by_query(rank_R: NDArray[np.int64], query_R: NDArray[np.int64], chosen_R: NDArray[np.bool_], count: int) -> Floats:
    """Mean rank of each query's chosen documents; NaN where it has none."""
    weights = np.bincount(query_R[chosen_R], minlength=count)
    total = np.bincount(query_R[chosen_R], rank_R[chosen_R], minlength=count)
    return np.where(weights > 0, total / np.maximum(weights, 1), np.nan)


def _distances(ranked: Ranked) -> Floats:
    """Worst less best rank of each query's relevant documents; NaN where there is one alone."""
    starts = ranked.offsets_Q[:-1]
    spread = np.maximum.reduceat(ranked.rank_R, starts) - np.minimum.reduceat(ranked.rank_R, starts)
    return np.where(np.diff(ranked.offsets_Q) > 1, spread.astype(np.float64), np.nan)


def _mean(values_Q: Floats) -> float | None:
    """Over the queries that have a value; None where none has."""
    told = values_Q[~np.isnan(values_Q)]
    return float(told.mean()) if len(told) else None
