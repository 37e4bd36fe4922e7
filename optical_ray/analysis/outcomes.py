"""Per-query rows -> arrays, aligned by query, so that systems can be compared on the same queries.

Q queries, M measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from optical_ray.analysis.views import Search, view_searches
from optical_ray.retrieval.intervals import Floats, Strings
from optical_ray.retrieval.values import values_of

Names = npt.NDArray[np.int64]
MEASURES = ("Success@1", "MRR@10", "AP", "nDCG@10", "AP@20")
"""Success@1 and MRR@10 (the reciprocal rank, 0 beyond rank 10) come from the rank; with one relevant candidate AP is the reciprocal rank
at any depth."""
SUCCESS = 0


class System(NamedTuple):
    """What was scored, and how."""

    task: str
    """With the direction or the collection where a task has several: `analysis.views.View.task`."""
    name: str
    """student | mean-removed | lexical | random | ..."""
    scorer: str


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One system on the queries of one language."""

    query_Q: Strings
    """Ids, sorted."""
    relevant_Q: Strings
    """What each query asks for; equal ids, also in other languages, are not independent and are resampled together."""
    values_QM: Floats
    """By MEASURES (or what was asked for), each in [0, 1]."""
    asked_Q: Names
    """Names each query and its judgements, int64; 0: not kept."""
    among: int
    """Names the candidates; 0: not kept, or not the same for all queries."""
    chance: float
    """Success@1 of a random order: mean of relevant / candidates."""

    def at(self, measure: int) -> Floats:
        """One measure, float [Q]."""
        return self.values_QM[:, measure]


Languages = Mapping[str, Outcomes]
"""Outcomes by query language."""


def index_outcomes(queries: pa.Table, measures: Sequence[str] = MEASURES) -> dict[str, dict[System, dict[str, Outcomes]]]:
    """By trial id, system and query language. A query that stands twice for one system counts once (the first row).

    Args:
        queries: `trial_id` and the columns of `runs.query_rows.ROWS`.
        measures: What `values_QM` holds.
    """
    if queries.num_rows == 0:
        return {}
    text = {name: _codes(queries[name]) for name in ("trial_id", "system", "scorer", *Search._fields)}
    query = _strings(queries["query_id"])
    relevant = _strings(queries["relevant_id"])
    values = np.stack([values_of(queries, measure) for measure in measures], axis=1)
    chance = queries["num_relevant"].to_numpy() / np.maximum(queries["num_candidates"].to_numpy(), 1)
    asked, among = (queries[name].fill_null(0).to_numpy() for name in ("asked", "among"))
    keys = [codes for codes, _ in text.values()]
    order = np.lexsort(keys[::-1])  # stable: rows of one system and language stay in file order
    changed = np.any([np.diff(codes[order]) != 0 for codes in keys], axis=0)
    parts = np.split(order, np.flatnonzero(changed) + 1)
    named = [[names[codes[rows[0]]] for codes, names in text.values()] for rows in parts]
    views = view_searches(Search(*names[3:]) for names in named)
    found: dict[str, dict[System, dict[str, Outcomes]]] = {}
    for rows, (trial_id, system, scorer, *search) in zip(parts, named, strict=True):
        view = views[Search(*search)]
        names_Q, first = np.unique(query[rows], return_index=True)
        kept = rows[first]
        pools = np.unique(among[kept])
        pool = int(pools[0]) if len(pools) == 1 else 0
        outcomes = Outcomes(names_Q, relevant[kept], values[kept], asked[kept], pool, float(chance[kept].mean()))
        found.setdefault(trial_id, {}).setdefault(System(view.task, system, scorer), {})[view.language] = outcomes
    return found


def index_rows(rows: pa.Table, measures: Sequence[str] = MEASURES) -> dict[System, dict[str, Outcomes]]:
    """As `index_outcomes`, of one trial's rows (`runs.query_rows.ROWS`)."""
    trial_id = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows.num_rows, np.int32)), pa.array([""]))
    return index_outcomes(rows.add_column(0, "trial_id", trial_id), measures).get("", {})


def average(replicates: Iterable[Languages]) -> dict[str, Outcomes]:
    """Mean outcome of each query over training seeds, on the languages and queries that all of them have."""
    found = list(replicates)
    if len(found) <= 1:
        return dict(found[0]) if found else {}
    averaged = {}
    for language in found[0]:
        if all(language in other for other in found):
            first, *rest = [other[language] for other in found]
            shared = first.query_Q
            for outcomes in rest:
                shared = np.intersect1d(shared, outcomes.query_Q)
            if len(shared):
                stacked = np.stack([outcomes.values_QM[_places(outcomes, shared)] for outcomes in (first, *rest)])
                places = _places(first, shared)
                averaged[language] = replace(
                    first, query_Q=shared, relevant_Q=first.relevant_Q[places], values_QM=stacked.mean(0), asked_Q=first.asked_Q[places]
                )
    return averaged


@dataclass(frozen=True, slots=True)
class Paired:
    """Two systems on the same queries."""

    first: dict[str, Floats]
    """By language, [Q, M]."""
    second: dict[str, Floats]
    relevant: dict[str, Strings]
    """By language, what each query asks for, [Q]."""
    num_queries: int
    unmatched: int
    """Queries that only one of the two has, in the languages asked for: left out, and said."""


def pair(first: Languages, second: Languages, languages: Iterable[str]) -> Paired:
    """Align two systems on the queries that both have, in the languages asked for that both have. Equal ids of other data do not match."""
    paired = Paired({}, {}, {}, 0, 0)
    num_queries = unmatched = 0
    for language in languages:
        a, b = first.get(language), second.get(language)
        if a is None or b is None:
            unmatched += sum(len(side.query_Q) for side in (a, b) if side is not None)
            continue
        shared = a.query_Q if np.array_equal(a.query_Q, b.query_Q) else np.intersect1d(a.query_Q, b.query_Q)
        shared = shared[is_same(a.asked_Q[_places(a, shared)], b.asked_Q[_places(b, shared)])]
        unmatched += len(a.query_Q) + len(b.query_Q) - 2 * len(shared)
        if len(shared):
            in_a, in_b = _places(a, shared), _places(b, shared)
            paired.first[language], paired.second[language] = a.values_QM[in_a], b.values_QM[in_b]
            paired.relevant[language] = a.relevant_Q[in_a]
            num_queries += len(shared)
    return Paired(paired.first, paired.second, paired.relevant, num_queries, unmatched)


def is_same(first_Q: Names, second_Q: Names) -> npt.NDArray[np.bool_]:
    """Whether rows of one query id are of one question, [Q]; where a row does not say, they are taken to be."""
    return np.asarray((first_Q == second_Q) | (first_Q == 0) | (second_Q == 0))


def relevant_ids(outcomes: Languages, languages: Iterable[str]) -> dict[str, Strings]:
    """By language, what each query asks for."""
    return {name: outcomes[name].relevant_Q for name in languages}


def count_sentences(relevant: Mapping[str, Strings]) -> int:
    """Different relevant sentences of all languages together: the number of independent draws that an interval rests on."""
    return len(set().union(*[ids.tolist() for ids in relevant.values()]))


def _places(outcomes: Outcomes, query_Q: Strings) -> npt.NDArray[np.intp] | slice:
    """Where these queries, all of them among the outcomes, stand."""
    if len(query_Q) == len(outcomes.query_Q):
        return slice(None)
    return np.searchsorted(outcomes.query_Q, query_Q)


def _codes(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Codes that sort like the text, and the text of each code."""
    indices, names = _dictionary(column)
    place = np.empty(len(names), dtype=np.int64)
    place[np.argsort(np.array(names, dtype=object))] = np.arange(len(names))
    return place[indices], sorted(names)


def _strings(column: pa.ChunkedArray) -> Strings:
    indices, names = _dictionary(column)
    return np.array(names, dtype=np.str_)[indices]


def _dictionary(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int64], list[str]]:
    encoded = column.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    return np.asarray(encoded.indices.to_numpy(), dtype=np.int64), [str(name) for name in encoded.dictionary.to_pylist()]
