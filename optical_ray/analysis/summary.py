"""Averages with intervals over relevant sentences, per trial, system, scorer and group of languages: the rows of summary.parquet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from optical_ray.analysis.design import PartView, common_languages, view_parts
from optical_ray.analysis.load import Run, Trial
from optical_ray.analysis.outcomes import MEASURES, Languages, System, count_sentences, relevant_ids
from optical_ray.analysis.sources import Sources, open_sources
from optical_ray.analysis.views import is_pair
from optical_ray.retrieval.intervals import Interval, QueryBootstrap, Strings

SMALLEST, IN_TRAINING, UNSEEN, ALL, LANGUAGE = "smallest set", "in training", "unseen", "all", "language"
"""Groups of query languages; `language` is one language by itself."""

Members = tuple[str, ...]
"""The languages of a group, sorted."""

SUMMARY = pa.schema(
    [
        pa.field("trial_id", pa.string(), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("arm", pa.string(), nullable=False),
        pa.field("k", pa.int32()),  # bitext languages in training; null: untrained
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
        pa.field("low", pa.float64(), nullable=False),  # percentile bootstrap over relevant sentences
        pa.field("high", pa.float64(), nullable=False),
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

    @property
    def interval(self) -> Interval:
        return Interval(self.estimate, self.low, self.high)


def summarise(run: Run, bootstrap: QueryBootstrap | None = None) -> list[SummaryRow]:
    """Every finished trial's averages, by trial id."""
    parts = view_parts(run)
    return list(summarise_trials(open_sources(run), parts, bootstrap or QueryBootstrap()))


def summarise_trials(sources: Sources, parts: list[PartView], bootstrap: QueryBootstrap) -> Iterable[SummaryRow]:
    """As `summarise`, from what is open already. Yields trial by trial: memory does not grow with their number."""
    smallest = common_languages(parts)
    part_of = {trial.trial_id: part.name for part in parts for trial in part.trials}
    for trial in sources.run.trials:
        yield from _summarise_trial(trial, part_of.get(trial.trial_id, ""), sources, smallest, bootstrap)


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


def summary_table(rows: Iterable[SummaryRow]) -> pa.Table:
    """The rows in the schema of summary.parquet."""
    found = list(rows)
    return pa.table({name: [getattr(row, name) for row in found] for name in SUMMARY.names}, schema=SUMMARY)


def _summarise_trial(
    trial: Trial, part: str, sources: Sources, smallest: frozenset[str], bootstrap: QueryBootstrap
) -> Iterable[SummaryRow]:
    trained = trial.languages or frozenset()
    seed = trial.fields.get("seed")
    found = sources.index.get(trial.trial_id, {})
    members_of = {system: group_languages(languages, trained, trained, smallest) for system, languages in found.items()}
    intervals = _intervals(found, members_of, bootstrap)
    for system, languages in sorted(found.items()):
        groups: list[tuple[str, str | None, Members]] = [(group, None, members) for group, members in members_of[system].items()]
        groups += [(LANGUAGE, name, (name,)) for name in sorted(languages)]
        for group, name, members in groups:
            relevant = relevant_ids(languages, members)
            seen = None if name is None else trial.saw_in_pretraining(name)
            num_queries, num_sentences = sum(len(ids) for ids in relevant.values()), count_sentences(relevant)
            for measure, interval in zip(MEASURES, intervals[system, members], strict=True):
                yield SummaryRow(
                    trial.trial_id, part, trial.arm, trial.k, seed if isinstance(seed, int) else None, *system, group, name, seen,
                    len(members), num_queries, num_sentences, measure, interval.estimate, interval.low, interval.high,
                )  # fmt: skip


def _intervals(
    found: Mapping[System, Languages], members_of: Mapping[System, Mapping[str, Members]], bootstrap: QueryBootstrap
) -> dict[tuple[System, Members], list[Interval]]:
    """Intervals of MEASURES by system and languages, each computed once; systems on the same queries share their matrix products."""
    alike: dict[tuple[tuple[str, bytes], ...], list[System]] = {}
    for system, languages in found.items():
        alike.setdefault(tuple((name, languages[name].relevant_Q.tobytes()) for name in sorted(languages)), []).append(system)
    intervals: dict[tuple[System, Members], list[Interval]] = {}
    for systems in alike.values():
        first = found[systems[0]]
        stacked = {name: np.concatenate([found[system][name].values_QM for system in systems], axis=1) for name in first}
        relevant: dict[str, Strings] = relevant_ids(first, first)
        for members in {*members_of[systems[0]].values(), *((name,) for name in first)}:
            row = iter(bootstrap.means_over_languages({name: stacked[name] for name in members}, relevant))
            for system in systems:
                intervals[system, members] = [next(row) for _ in MEASURES]
    return intervals
