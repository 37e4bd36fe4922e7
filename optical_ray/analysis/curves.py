"""Quality of the grid's cells, seeds averaged: what the figures over k and over languages draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from optical_ray.analysis.design import Cell
from optical_ray.analysis.outcomes import SUCCESS, Outcomes, count_sentences, relevant_ids
from optical_ray.analysis.sources import REMOVED, STUDENT, Sources
from optical_ray.analysis.summary import IN_TRAINING, LANGUAGE, SMALLEST, UNSEEN, group_languages
from optical_ray.retrieval.intervals import Interval, QueryBootstrap
from optical_ray.runs import predictions

FLOOR, MEMORY, UNTRAINED = predictions.LEXICAL_FLOOR, predictions.TRANSLATION_MEMORY, predictions.UNTRAINED
REFERENCES = (FLOOR, MEMORY, UNTRAINED)


@dataclass(frozen=True, slots=True)
class Point:
    """Mean Success@1 of one system on one group of languages at one k."""

    series: str
    """An arm (with what else varies), or one of REFERENCES on the same languages."""
    arm: str
    k: int
    group: str
    language: str | None
    languages: tuple[str, ...]
    num_queries: int
    num_sentences: int
    """Different relevant sentences behind the queries: what is resampled."""
    num_trials: int
    """Training seeds behind the point; 0 for a reference."""
    interval: Interval


def curve_points(sources: Sources, cells: Iterable[Cell], smallest: frozenset[str], bootstrap: QueryBootstrap) -> list[Point]:
    """Points over k for the groups `smallest set`, `in training` and `unseen`, with the floors on the very same languages."""
    points: list[Point] = []
    seen: set[tuple[str, int, str, tuple[str, ...]]] = set()
    untrained = sources.untrained()
    for cell in cells:
        student = sources.student(cell.trials)
        floors: list[tuple[str, Mapping[str, Outcomes]]] = [
            (FLOOR, sources.lexical(cell.trials)),
            (MEMORY, sources.memory(cell.trials)),
            (UNTRAINED, untrained),
        ]
        groups = group_languages(student, cell.trained, cell.ever_trained, smallest)
        for group in (SMALLEST, IN_TRAINING, UNSEEN):
            members = groups.get(group, ())
            points += _point(cell.series, cell.arm, cell.k, group, None, members, student, len(cell.trials), bootstrap)
            for name, outcomes in floors:
                key = (name, cell.k, group, members)
                if key not in seen:
                    seen.add(key)
                    points += _point(name, "none", cell.k, group, None, members, outcomes, 0, bootstrap)
    return points


def language_points(sources: Sources, cells: Iterable[Cell], bootstrap: QueryBootstrap) -> list[Point]:
    """One point per language for the cells at the largest k of each series, the lexical floor and the untrained student."""
    chosen = list(largest_cells(cells))
    points: list[Point] = []
    for cell in chosen:
        student = sources.student(cell.trials)
        for name in sorted(student):
            points += _point(cell.series, cell.arm, cell.k, LANGUAGE, name, (name,), student, len(cell.trials), bootstrap)
    for series, outcomes in ((FLOOR, sources.lexical()), (MEMORY, sources.memory()), (UNTRAINED, sources.untrained())):
        for name in sorted(outcomes):
            points += _point(series, "none", 0, LANGUAGE, name, (name,), outcomes, 0, bootstrap)
    return points


@dataclass(frozen=True, slots=True)
class ScorerRow:
    """One system at the largest k under one scorer, on its languages in training."""

    series: str
    k: int
    system: str
    scorer: str
    interval: Interval


def scorer_rows(sources: Sources, cells: Iterable[Cell], bootstrap: QueryBootstrap) -> list[ScorerRow]:
    """The arms at the largest k under every stored scorer, as they are and with what tells languages apart removed."""
    rows = []
    for cell in largest_cells(cells):
        for system in sources.systems:
            if system.name == STUDENT or system.name in REMOVED:
                outcomes = sources.student(cell.trials, system.scorer, system.name)
                values = {name: found.at(SUCCESS) for name, found in outcomes.items() if name in cell.trained}
                if values:
                    interval = bootstrap.mean_over_languages(values, relevant_ids(outcomes, values))
                    rows.append(ScorerRow(cell.series, cell.k, system.name, system.scorer, interval))
    return rows


def largest_cells(cells: Iterable[Cell]) -> Iterable[Cell]:
    """The cells at the largest k that any series has, so that all of them learned from the same number of languages."""
    found = list(cells)
    largest = max((cell.k for cell in found), default=0)
    return (cell for cell in found if cell.k == largest)


def _point(
    series: str, arm: str, k: int, group: str, language: str | None, members: tuple[str, ...], outcomes: Mapping[str, Outcomes],
    num_trials: int, bootstrap: QueryBootstrap,
) -> list[Point]:  # fmt: skip
    """The point, or none: a mean over a part of the members would be a mean over other languages."""
    if not members or any(name not in outcomes for name in members):
        return []
    values = {name: outcomes[name].at(SUCCESS) for name in members}
    relevant = relevant_ids(outcomes, members)
    num_queries, num_sentences = sum(len(value) for value in values.values()), count_sentences(relevant)
    interval = bootstrap.mean_over_languages(values, relevant)
    return [Point(series, arm, k, group, language, members, num_queries, num_sentences, num_trials, interval)]
