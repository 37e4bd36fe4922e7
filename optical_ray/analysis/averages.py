"""An evaluation's rows -> averages with intervals, by view (a task and a direction), language, system and scorer."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optical_ray.analysis.outcomes import Languages, System, asked_alike, count_sentences, index_rows
from optical_ray.artifacts import whole_file
from optical_ray.retrieval.intervals import Interval, QueryBootstrap
from optical_ray.runs.query_rows import read_query_rows

MEASURES = ("Success@1", "RR@10", "AP", "AP@20", "nDCG@10", "R@100")
ALL = "mean"
"""Stands for the mean over languages, each counted alike."""


@dataclass(frozen=True, slots=True)
class Average:
    """One system on the queries of one language, or the mean over languages."""

    system: System
    language: str
    """Or ALL."""
    queries: int
    asked_for: int
    """Different things that the queries ask for: independent draws."""
    values: dict[str, Interval]
    """By measure, with its 95 % bootstrap interval over queries."""


def average_rows(path: Path) -> list[Average]:
    """Every average of a queries.parquet, views and systems in the order of the file, the mean over languages first.

    Raises:
        RunFolderError: the file cannot be read.
    """
    rows = read_query_rows(path)
    order = list(dict.fromkeys(zip(rows["system"].to_pylist(), rows["scorer"].to_pylist(), strict=True)))
    found = index_rows(rows, MEASURES)
    averages: list[Average] = []
    bootstrap = QueryBootstrap()
    views = sorted({system.task for system in found})
    for view in views:
        own = sorted((system for system in found if system.task == view), key=lambda system: order.index((system.name, system.scorer)))
        for group in asked_alike({system: found[system] for system in own}):
            averages += _average_group(group, found, bootstrap)
    place = {pair: number for number, pair in enumerate(order)}
    return sorted(averages, key=lambda one: (one.system.task, one.language != ALL, one.language, place[one.system.name, one.system.scorer]))


def _average_group(systems: Sequence[System], found: Mapping[System, Languages], bootstrap: QueryBootstrap) -> list[Average]:
    outcomes = found[systems[0]]
    values = {language: np.concatenate([found[system][language].values_QM for system in systems], axis=1) for language in outcomes}
    relevant = {language: outcomes[language].relevant_Q for language in outcomes}
    averages = []
    for name, languages in ((ALL, sorted(outcomes)), *((language, [language]) for language in sorted(outcomes))):
        intervals = bootstrap.means_over_languages({one: values[one] for one in languages}, {one: relevant[one] for one in languages})
        queries, asked_for = sum(len(relevant[one]) for one in languages), count_sentences({one: relevant[one] for one in languages})
        for number, system in enumerate(systems):
            own = intervals[number * len(MEASURES) : (number + 1) * len(MEASURES)]
            averages.append(Average(system, name, queries, asked_for, dict(zip(MEASURES, own, strict=True))))
    return averages


def write_averages(path: Path, averages: Iterable[Average]) -> None:
    """As CSV, whole or not at all: one line for each view, language, system and scorer."""
    with whole_file(path) as scratch, scratch.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        bounds = [f"{measure} {part}" for measure in MEASURES for part in ("", "low", "high")]
        writer.writerow(["task", "language", "system", "scorer", "queries", "asked_for", *(name.strip() for name in bounds)])
        for one in averages:
            numbers = [f"{number:.6f}" for value in one.values.values() for number in (value.estimate, value.low, value.high)]
            writer.writerow([one.system.task, one.language, one.system.name, one.system.scorer, one.queries, one.asked_for, *numbers])
