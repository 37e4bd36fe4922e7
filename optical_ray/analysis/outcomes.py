"""Per-query rows -> arrays, aligned by query, so that systems can be compared on the same queries.

Q queries, M measures.
"""

from __future__ import annotations

import hashlib
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
ID_COLUMNS = ("query_id", "relevant_id")
KEY_COLUMNS = ("system", "scorer", *Search._fields, *ID_COLUMNS)


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


class OutcomeIndex:
    """Outcomes by trial id, system and query language, added trial by trial.

    Trials of a run are asked the same: what does not depend on the answers (ids, languages, the order of both) is kept once. A row of a
    trial takes 4 bytes for each measure then, of single precision.

    Args:
        measures: What `values_QM` holds.
        dtype: Of the values; float32 holds what is stored, and what follows from a rank to seven digits.
    """

    def __init__(self, measures: Sequence[str] = MEASURES, dtype: npt.DTypeLike = np.float64) -> None:
        self._measures, self._dtype = tuple(measures), dtype
        self._layouts: dict[bytes, tuple[_Part, ...]] = {}
        self._found: dict[str, list[tuple[_Part, Floats]]] = {}

    def add(self, trial_id: str, rows: pa.Table) -> None:
        """Take one trial's rows (`runs.query_rows.ROWS`). A query that stands twice for one system counts once (the first row)."""
        if rows.num_rows == 0:
            return
        columns = {name: _dictionary(rows[name]) for name in KEY_COLUMNS}
        numbers = {name: rows[name].fill_null(0).to_numpy() for name in ("asked", "among", "num_relevant", "num_candidates")}
        digest = _digest(columns, numbers)
        if digest not in self._layouts:
            self._layouts[digest] = _lay_out(columns, numbers)
        values = np.stack([values_of(rows, measure) for measure in self._measures], axis=1).astype(self._dtype, copy=False)
        self._found[trial_id] = [(part, values[part.rows]) for part in self._layouts[digest]]

    def outcomes(self) -> dict[str, dict[System, dict[str, Outcomes]]]:
        """Of all that was added: which directions a task has is known now."""
        views = view_searches(part.search for layout in self._layouts.values() for part in layout)
        found: dict[str, dict[System, dict[str, Outcomes]]] = {}
        for trial_id, parts in self._found.items():
            systems = found.setdefault(trial_id, {})
            for part, values in parts:
                view = views[part.search]
                outcomes = Outcomes(part.query_Q, part.relevant_Q, values, part.asked_Q, part.among, part.chance)
                systems.setdefault(System(view.task, part.system, part.scorer), {})[view.language] = outcomes
        return found


def index_rows(rows: pa.Table, measures: Sequence[str] = MEASURES) -> dict[System, dict[str, Outcomes]]:
    """By system and query language: one trial's rows (`runs.query_rows.ROWS`), in double precision."""
    index = OutcomeIndex(measures)
    index.add("", rows)
    return index.outcomes().get("", {})


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
                    first,
                    query_Q=shared,
                    relevant_Q=first.relevant_Q[places],
                    values_QM=stacked.mean(0, dtype=np.float64),
                    asked_Q=first.asked_Q[places],
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


def asked_alike(found: Mapping[System, Languages]) -> list[list[System]]:
    """Systems that were asked for the same in the same order, together: they share their resamples."""
    groups: dict[tuple[tuple[str, bytes], ...], list[System]] = {}
    for system, languages in found.items():
        groups.setdefault(tuple((name, own.relevant_Q.tobytes()) for name, own in sorted(languages.items())), []).append(system)
    return list(groups.values())


def count_sentences(relevant: Mapping[str, Strings]) -> int:
    """Different relevant sentences of all languages together: the number of independent draws that an interval rests on."""
    return len(set().union(*[ids.tolist() for ids in relevant.values()]))


def _places(outcomes: Outcomes, query_Q: Strings) -> npt.NDArray[np.intp] | slice:
    """Where these queries, all of them among the outcomes, stand."""
    if len(query_Q) == len(outcomes.query_Q):
        return slice(None)
    return np.searchsorted(outcomes.query_Q, query_Q)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """The rows of one system and search, without their values."""

    system: str
    scorer: str
    search: Search
    rows: npt.NDArray[np.intp]
    """Of the table, by query id."""
    query_Q: Strings
    relevant_Q: Strings
    asked_Q: Names
    among: int
    chance: float


def _digest(columns: Mapping[str, tuple[Names, list[str]]], numbers: Mapping[str, Names]) -> bytes:
    """Equal for tables that differ in outcomes alone."""
    found = hashlib.blake2b(digest_size=16)
    for codes, names in columns.values():
        found.update(codes.tobytes())
        found.update("\0".join(names).encode())
    for values in numbers.values():
        found.update(values.tobytes())
    return found.digest()


def _lay_out(columns: Mapping[str, tuple[Names, list[str]]], numbers: Mapping[str, Names]) -> tuple[_Part, ...]:
    keys = {name: _sorted_codes(*columns[name]) for name in KEY_COLUMNS if name not in ID_COLUMNS}
    query, relevant = (np.array(columns[name][1], dtype=np.str_)[columns[name][0]] for name in ID_COLUMNS)
    chance = numbers["num_relevant"] / np.maximum(numbers["num_candidates"], 1)
    codes = [own for own, _ in keys.values()]
    order = np.lexsort(codes[::-1])  # stable: rows of one system and language stay in file order
    changed = np.any([np.diff(own[order]) != 0 for own in codes], axis=0)
    parts = []
    for rows in np.split(order, np.flatnonzero(changed) + 1):
        system, scorer, *search = (names[own[rows[0]]] for own, names in keys.values())
        query_Q, first = np.unique(query[rows], return_index=True)
        kept = rows[first]
        pools = np.unique(numbers["among"][kept])
        pool = int(pools[0]) if len(pools) == 1 else 0
        asked_Q, mean = numbers["asked"][kept], float(chance[kept].mean())
        parts.append(_Part(system, scorer, Search(*search), kept, query_Q, relevant[kept], asked_Q, pool, mean))
    return tuple(parts)


def _sorted_codes(codes: Names, names: list[str]) -> tuple[Names, list[str]]:
    """Codes that sort like the text, and the text of each code."""
    place = np.empty(len(names), dtype=np.int64)
    place[np.argsort(np.array(names, dtype=object))] = np.arange(len(names))
    return place[codes], sorted(names)


def _dictionary(column: pa.ChunkedArray) -> tuple[Names, list[str]]:
    encoded = column.unify_dictionaries().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0)
    return np.asarray(encoded.indices.to_numpy(), dtype=np.int64), [str(name) for name in encoded.dictionary.to_pylist()]
