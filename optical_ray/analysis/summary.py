"""Averages with intervals over relevant sentences, per trial, system, scorer and group of languages: the rows of summary.parquet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from optical_ray.analysis.design import PartView, common_languages, view_parts
from optical_ray.analysis.load import Run, Trial
from optical_ray.analysis.outcomes import MEASURES, Languages, System, asked_alike, count_sentences, relevant_ids
from optical_ray.analysis.sources import Sources, open_sources
from optical_ray.analysis.views import is_pair
from optical_ray.retrieval.intervals import Floats, Interval, QueryBootstrap, Strings
from optical_ray.retrieval.linear import LinearIntervals

SMALLEST, IN_TRAINING, UNSEEN, ALL, LANGUAGE = "smallest set", "in training", "unseen", "all", "language"
"""Groups of query languages; `language` is one language by itself."""

Members = tuple[str, ...]
"""The languages of a group, sorted."""

Method = Literal["bootstrap", "linear"]
BOOTSTRAP: Method = "bootstrap"
LINEAR: Method = "linear"
MOST_BOOTSTRAPPED = 100
"""Trials. A bootstrap of every average takes a tenth to a half of a second for each; curves and comparisons, which are few, keep theirs."""

TOGETHER = 16
"""Trials whose averages are taken in one product, where they were asked the same."""

SUMMARY = pa.schema(
    [
        pa.field("trial_id", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("k", pa.int32()),  # bitext languages in training (of pre-training, where the sweep varies only those); null: untrained
        pa.field("seed", pa.int64()),
        pa.field("task", pa.string(), nullable=False),  # with the direction or collection where a task has several (analysis/views.py)
        pa.field("system", pa.string(), nullable=False),
        pa.field("scorer", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),  # smallest set | in training | unseen | all | language
        pa.field("language", pa.string()),  # of group `language`
        pa.field("seen_in_pretraining", pa.bool_()),  # of group `language`; null: not known
        pa.field("num_languages", pa.int32(), nullable=False),
        pa.field("num_queries", pa.int32(), nullable=False),
        pa.field("num_sentences", pa.int32(), nullable=False),  # different relevant sentences behind the queries: what is resampled
        pa.field("measure", pa.string(), nullable=False),  # Success@1 | MRR@10 | AP | nDCG@10 | AP@20
        pa.field("estimate", pa.float64(), nullable=False),  # mean over languages of the mean over queries
        pa.field("low", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("method", pa.string(), nullable=False),  # of the interval over relevant sentences: bootstrap (percentile) | linear
    ]
)


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """One average; the fields are the columns of SUMMARY."""

    trial_id: str
    part: str
    arm: str
    k: int | None
    seed: int | None
    task: str
    system: str
    scorer: str
    group: str
    language: str | None
    seen_in_pretraining: bool | None
    num_languages: int
    num_queries: int
    num_sentences: int
    measure: str
    estimate: float
    low: float
    high: float
    method: str

    @property
    def interval(self) -> Interval:
        return Interval(self.estimate, self.low, self.high)


def summarise(run: Run, bootstrap: QueryBootstrap | None = None) -> pa.Table:
    """Every finished trial's averages, by trial id, schema SUMMARY."""
    return summarise_trials(open_sources(run), view_parts(run), bootstrap or QueryBootstrap())


def summarise_trials(sources: Sources, parts: Iterable[PartView], bootstrap: QueryBootstrap) -> pa.Table:
    """As `summarise`, from what is open already; beyond MOST_BOOTSTRAPPED trials the intervals are linear ones of the same confidence."""
    found_parts = list(parts)
    smallest = common_languages(found_parts)
    part_of = {trial.trial_id: part.name for part in found_parts for trial in part.trials}
    trials = [trial for trial in sources.run.trials if sources.index.get(trial.trial_id)]
    method: Method = LINEAR if len(trials) > MOST_BOOTSTRAPPED else BOOTSTRAP
    alike: dict[Any, list[Trial]] = {}
    plans: dict[Any, _Plan] = {}
    for trial in trials:
        found, trained = sources.index[trial.trial_id], trial.languages or frozenset()
        seen = {name: trial.saw_in_pretraining(name) for languages in found.values() for name in languages}
        # Arrays of ids are shared by the trials that were asked the same, and outlive this loop.
        asked = tuple((system, *((name, id(own.relevant_Q)) for name, own in languages.items())) for system, languages in found.items())
        key = (asked, trained, tuple(sorted(seen.items())))
        if key not in plans:
            plans[key] = _Plan(found, trained, smallest, seen, method, bootstrap)
        alike.setdefault(key, []).append(trial)
    tables: dict[str, pa.Table] = {}
    for key, own in alike.items():
        for start in range(0, len(own), TOGETHER):
            together = own[start : start + TOGETHER]
            numbers = plans[key].numbers([sources.index[trial.trial_id] for trial in together])
            for trial, bounds in zip(together, numbers, strict=True):
                tables[trial.trial_id] = plans[key].fill(trial, part_of.get(trial.trial_id, ""), bounds)
    return pa.concat_tables([tables[trial.trial_id] for trial in trials]) if trials else SUMMARY.empty_table()


def summary_rows(table: pa.Table) -> list[SummaryRow]:
    """Rows of a part of the summary, one by one."""
    return [SummaryRow(**row) for row in table.to_pylist()]


def group_languages(
    evaluated: Iterable[str], trained: frozenset[str], ever_trained: frozenset[str], smallest: frozenset[str]
) -> dict[str, Members]:
    """The groups that are not empty, each a sorted tuple of the languages that were evaluated."""
    names = sorted(evaluated)
    groups = {
        SMALLEST: tuple(name for name in names if name in smallest),
        IN_TRAINING: tuple(name for name in names if name in trained),
        UNSEEN: tuple(name for name in names if name not in ever_trained and not is_pair(name)),
        ALL: tuple(names),
    }
    return {group: members for group, members in groups.items() if members}


class _Plan:
    """The rows of every trial that was asked the same and trained on the same languages, but for its own columns and its numbers."""

    def __init__(
        self,
        found: Mapping[System, Languages],
        trained: frozenset[str],
        smallest: frozenset[str],
        seen: Mapping[str, bool | None],
        method: Method,
        bootstrap: QueryBootstrap,
    ) -> None:
        self._order: list[tuple[System, Members]] = []
        rows: list[dict[str, Any]] = []
        for system, languages in sorted(found.items()):
            groups: list[tuple[str, str | None, Members]] = [
                (group, None, members) for group, members in group_languages(languages, trained, trained, smallest).items()
            ]
            groups += [(LANGUAGE, name, (name,)) for name in sorted(languages)]
            for group, name, members in groups:
                relevant = relevant_ids(languages, members)
                row = {
                    "task": system.task,
                    "system": system.name,
                    "scorer": system.scorer,
                    "group": group,
                    "language": name,
                    "seen_in_pretraining": None if name is None else seen[name],
                    "num_languages": len(members),
                    "num_queries": sum(len(ids) for ids in relevant.values()),
                    "num_sentences": count_sentences(relevant),
                    "method": method,
                }
                rows += [row | {"measure": measure} for measure in MEASURES]
                self._order.append((system, members))
        self._columns = {name: pa.array([row[name] for row in rows], SUMMARY.field(name).type) for name in rows[0]}
        self._num_rows = len(rows)
        self._alike = [
            _Alike(systems, sorted({members for system, members in self._order if system in systems}), found[systems[0]], method, bootstrap)
            for systems in asked_alike(found)
        ]

    def numbers(self, found: Sequence[Mapping[System, Languages]]) -> list[Floats]:
        """Estimate, low and high of the rows of each trial, [3, rows]."""
        numbers: dict[tuple[System, Members], Floats] = {}
        for alike in self._alike:
            numbers |= alike.numbers(found)
        return list(np.concatenate([numbers[key] for key in self._order], axis=2))

    def fill(self, trial: Trial, part: str, bounds: Floats) -> pa.Table:
        """The rows of one trial, schema SUMMARY, from its `numbers`."""
        estimate, low, high = bounds
        seed = trial.fields.get("seed")
        own = {"trial_id": trial.trial_id, "part": part, "arm": trial.arm, "k": trial.k, "seed": seed if isinstance(seed, int) else None}
        repeated = {name: pa.repeat(pa.scalar(value, SUMMARY.field(name).type), self._num_rows) for name, value in own.items()}
        columns = repeated | self._columns | {"estimate": estimate, "low": low, "high": high}
        return pa.table({name: columns[name] for name in SUMMARY.names}, schema=SUMMARY)


class _Alike:
    """Systems that answered the same queries, in the order of which their measures stand side by side."""

    def __init__(
        self, systems: Sequence[System], groups: Sequence[Members], languages: Languages, method: Method, bootstrap: QueryBootstrap
    ) -> None:
        self._systems, self._groups, self._names = systems, groups, sorted(languages)
        self._relevant: dict[str, Strings] = relevant_ids(languages, self._names)
        self._bootstrap = bootstrap
        self._linear = LinearIntervals(self._relevant, bootstrap.confidence) if method == LINEAR else None

    def numbers(self, found: Sequence[Mapping[System, Languages]]) -> dict[tuple[System, Members], Floats]:
        """Estimate, low and high of MEASURES for each of T trials, [T, 3, M], by system and languages."""
        values = {
            name: np.concatenate([own[system][name].values_QM for own in found for system in self._systems], axis=1) for name in self._names
        }
        if self._linear is not None:
            bounds = np.clip(self._linear.means(values, self._groups), 0.0, 1.0)  # every measure is a share
        else:
            bounds = np.stack([self._resample(values, members) for members in self._groups])
        by_trial = bounds.reshape(len(self._groups), 3, len(found), len(self._systems), len(MEASURES)).transpose(0, 3, 2, 1, 4)
        return {
            (system, members): by_trial[row, place]
            for row, members in enumerate(self._groups)
            for place, system in enumerate(self._systems)
        }

    def _resample(self, values: Mapping[str, Floats], members: Members) -> Floats:
        found = self._bootstrap.means_over_languages({name: values[name] for name in members}, self._relevant)
        return np.array([[one.estimate, one.low, one.high] for one in found]).T
