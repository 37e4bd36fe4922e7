"""Two systems on the same queries: means, paired difference, tests, and the correction for their number. What `optical compare` shows.

The first entry is compared with each of the others, task by task (view by view: analysis/views.py), for every language and for the mean
over languages. Holm's correction is over the rows of one measure that answer one kind of question: over all means of the table, and apart
from them over all of its languages.

M measures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optical_ray.analysis.align import Aligned, align
from optical_ray.analysis.entries import Entry
from optical_ray.analysis.outcomes import Languages, OutcomeIndex, count_sentences
from optical_ray.analysis.seeds import seed_interval
from optical_ray.errors import ConfigError, RunFolderError
from optical_ray.retrieval.intervals import Floats, Interval, QueryBootstrap, adjust_holm
from optical_ray.retrieval.significance import PairedComparison, PairedTest
from optical_ray.retrieval.values import canonical_measure, values_of

ALL_MEASURES = ("Success@1", "RR@10", "RR@20", "AP", "AP@20", "nDCG@10", "R@100")
"""What a table holds beside the measures that were asked for."""


@dataclass(frozen=True, slots=True)
class VersusRow:
    """`first` against `second` by one measure, on one language or on the mean over several, each counting alike."""

    first: str
    second: str
    task: str
    measure: str
    languages: tuple[str, ...]
    is_mean: bool
    """Over all languages of the task that both sides have; of a task with one language, that language."""
    num_queries: int
    num_sentences: int
    """Different relevant sentences behind the queries: what is resampled and exchanged."""
    dropped: int
    """Queries that only one side has: left out."""
    test: PairedTest
    p_bootstrap_holm: float = 1.0
    p_randomisation_holm: float = 1.0


@dataclass(frozen=True, slots=True)
class SeedRow:
    """Trainings of one setting, or their differences from `second` where it is named: one mean for each seed."""

    first: str
    second: str | None
    task: str
    measure: str
    seeds: tuple[str, ...]
    means: tuple[float, ...]
    interval: Interval | None
    """Over seeds; None under five."""


@dataclass(frozen=True, slots=True)
class Versus:
    """A table of comparisons."""

    rows: tuple[VersusRow, ...]
    """By pair, task, languages and, last of them, their mean; by measure."""
    seeds: tuple[SeedRow, ...]
    notes: tuple[str, ...]
    """What must be known of the data to read the numbers."""
    asked: tuple[str, ...]
    """Measures that were asked for."""


def compare_entries(
    entries: Sequence[Entry],
    tasks: Sequence[str] = (),
    measures: Sequence[str] = (),
    common: bool = False,
    bootstrap: QueryBootstrap | None = None,
) -> Versus:
    """Compare the first entry with each of the others.

    Args:
        entries: Two or more.
        tasks: Tasks to compare; empty: all that both sides have.
        measures: To compare, beside ALL_MEASURES.
        common: Compare on the queries that both have, and count the others; False: refuse where one side lacks a query.
        bootstrap: Resamples and seed of intervals and tests.

    Raises:
        ConfigError: fewer than two entries, an unknown measure, a task that is not there, or queries that one side lacks.
        RunFolderError: a value is not a number, or a query does not ask for the same on both sides.
    """
    if len(entries) < 2:
        raise ConfigError(f"one system ({', '.join(entry.label for entry in entries)}) has nothing to be compared with; name another")
    asked = tuple(dict.fromkeys(canonical_measure(name) for name in measures))
    entries = [_only_tasks(entry, tasks) for entry in entries]
    known = _known_measures(entries, asked)
    compare = PairedComparison(bootstrap)
    first, *others = _index(entries, known)
    rows: list[VersusRow] = []
    seeds: list[SeedRow] = []
    notes: list[str] = []
    for entry, other in zip(entries[1:], others, strict=True):
        shared = sorted(set(first) & set(other))
        if not shared:
            raise ConfigError(
                f"{entries[0].label} has {', '.join(sorted(first))}, {entry.label} has {', '.join(sorted(other))}: no task in common; "
                "evaluate both on one"
            )
        for task in sorted(set(first) ^ set(other)):
            notes.append(f"{task}: only {(entries[0] if task in first else entry).label} has it, so it is left out.")
        for task in shared:
            aligned = align((entries[0].label, first[task]), (entry.label, other[task]), task, common)
            notes += aligned.notes
            rows += _rows(entries[0], entry, task, aligned, known, compare)
            seeds += _seeds(entries[0], entry, task, aligned, known)
    return Versus(tuple(_correct(rows)), tuple(dict.fromkeys(seeds)), tuple(dict.fromkeys(notes)), asked)


def _only_tasks(entry: Entry, tasks: Sequence[str]) -> Entry:
    if not tasks:
        return entry
    kept = []
    for replicate in entry.replicates:
        column = replicate.rows["task"].cast(pa.string())
        found = set(column.unique().to_pylist())
        if missing := sorted(set(tasks) - found):
            raise ConfigError(f"{entry.label}: no row of task {', '.join(missing)}; it has {', '.join(sorted(found))}")
        kept.append(replace(replicate, rows=replicate.rows.filter(pc.is_in(column, pa.array(tasks)))))
    return replace(entry, replicates=tuple(kept))


def _known_measures(entries: Sequence[Entry], asked: Sequence[str]) -> tuple[str, ...]:
    """Those that every entry knows of every query."""
    unknown: set[str] = set()
    for entry in entries:
        for replicate in entry.replicates:
            for measure in dict.fromkeys((*ALL_MEASURES, *asked)):
                values = values_of(replicate.rows, measure)
                bad = np.flatnonzero(~np.isfinite(values))
                if not len(bad):
                    continue
                row = replicate.rows.slice(int(bad[0]), 1).to_pylist()[0]
                kept = row.get(measure, 0.0) is not None
                if kept or measure in asked:
                    what = "not a number: the file is damaged" if kept else "not kept: the file was written before it was; evaluate again"
                    raise RunFolderError(f"{entry.label}: {measure} of query {row['query_id']} ({row['task']}) is {what}")
                unknown.add(measure)
    return tuple(name for name in dict.fromkeys((*ALL_MEASURES, *asked)) if name not in unknown)


def _index(entries: Sequence[Entry], measures: Sequence[str]) -> list[dict[str, list[Languages]]]:
    """Of each entry: by task view, the outcomes of each of its trainings. All are indexed together, so that views mean the same in all."""
    index, names = OutcomeIndex(measures), {}
    for number, entry in enumerate(entries):
        for place, replicate in enumerate(entry.replicates):
            names[f"{number}:{place}"] = number
            index.add(f"{number}:{place}", replicate.rows)
    outcomes = index.outcomes()
    found: list[dict[str, list[Languages]]] = [{} for _ in entries]
    for name, number in names.items():
        for system, languages in outcomes.get(name, {}).items():
            found[number].setdefault(system.task, []).append(languages)
    return found


def _rows(first: Entry, second: Entry, task: str, aligned: Aligned, measures: Sequence[str], compare: PairedComparison) -> list[VersusRow]:
    names = sorted(aligned.relevant)
    groups = [(name,) for name in names] if len(names) > 1 else []
    rows = []
    for languages in [*groups, tuple(names)]:
        one, two = ({name: side[name] for name in languages} for side in (aligned.first_mean, aligned.second_mean))
        relevant = {name: aligned.relevant[name] for name in languages}
        sizes = (sum(len(ids) for ids in relevant.values()), count_sentences(relevant))
        dropped = sum(aligned.dropped.get(name, 0) for name in languages)
        is_mean = len(languages) == len(names)
        if is_mean:
            dropped = sum(aligned.dropped.values())
        for measure, test in zip(measures, compare.test(one, two, relevant), strict=True):
            rows.append(VersusRow(first.label, second.label, task, measure, languages, is_mean, *sizes, dropped, test))
    return rows


def _seeds(first: Entry, second: Entry, task: str, aligned: Aligned, measures: Sequence[str]) -> list[SeedRow]:
    """Each side's trainings, and their differences where both sides have the same seeds, or one side is one system."""
    one, two = _means(aligned.first), _means(aligned.second)
    seeds = [tuple(replicate.seed for replicate in entry.replicates) for entry in (first, second)]
    found: list[tuple[str, str | None, tuple[str, ...], Floats]] = []
    for entry, names, means_SM in ((first, seeds[0], one), (second, seeds[1], two)):
        if len(names) > 1:
            found.append((entry.label, None, names, means_SM))
    if max(map(len, seeds)) > 1:
        if 1 in map(len, seeds):
            found.append((first.label, second.label, max(seeds, key=len), one - two))
        elif sorted(seeds[0]) == sorted(seeds[1]):
            order = [seeds[1].index(name) for name in seeds[0]]
            found.append((first.label, second.label, seeds[0], one - two[order]))
    rows = []
    for label, other, names, means_SM in found:
        for place, measure in enumerate(measures):
            means = tuple(float(mean) for mean in means_SM[:, place])
            rows.append(SeedRow(label, other, task, measure, names, means, seed_interval(means)))
    return rows


def _means(sides: Sequence[dict[str, Floats]]) -> Floats:
    """Mean over languages of each training, float64 [S, M]."""
    return np.array([np.mean([values_QM.mean(0) for values_QM in side.values()], axis=0) for side in sides])


def _correct(rows: Sequence[VersusRow]) -> list[VersusRow]:
    """With Holm's correction over the rows of one measure, means and languages apart."""
    corrected = list(rows)
    for family in sorted({(row.measure, row.is_mean) for row in rows}):
        places = [place for place, row in enumerate(rows) if (row.measure, row.is_mean) == family]
        bootstrap = adjust_holm([rows[place].test.difference.p_value for place in places])
        randomisation = adjust_holm([rows[place].test.p_randomisation for place in places])
        for place, one, two in zip(places, bootstrap, randomisation, strict=True):
            corrected[place] = replace(rows[place], p_bootstrap_holm=one, p_randomisation_holm=two)
    return corrected
