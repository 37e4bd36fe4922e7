"""The same queries of several systems side by side, or the reason why they are not the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optical_ray.analysis.outcomes import Languages, is_same
from optical_ray.analysis.phrases import plural
from optical_ray.errors import ConfigError, RunFolderError
from optical_ray.retrieval.intervals import Floats, Strings

NAMED = 3
"""Queries that a message names."""
Side = tuple[str, Sequence[Languages]]
"""What an entry is called, and the outcomes of each of its trainings."""


@dataclass(frozen=True, slots=True)
class Aligned:
    """Two entries on the queries that all of their trainings have."""

    first: list[dict[str, Floats]]
    """Of each training: by language, [Q, M]."""
    second: list[dict[str, Floats]]
    relevant: dict[str, Strings]
    """By language, what each query asks for, [Q]."""
    dropped: dict[str, int]
    """By language, queries that not all have."""
    notes: list[str]

    @property
    def first_mean(self) -> dict[str, Floats]:
        """Mean over trainings of each query's outcome."""
        return {name: np.mean([side[name] for side in self.first], axis=0) for name in self.relevant}

    @property
    def second_mean(self) -> dict[str, Floats]:
        return {name: np.mean([side[name] for side in self.second], axis=0) for name in self.relevant}


def align(first: Side, second: Side, task: str, common: bool) -> Aligned:
    """Put two entries side by side.

    Args:
        first: One entry on the task.
        second: The other.
        task: For messages.
        common: Leave out what not all trainings have; False: refuse.

    Raises:
        ConfigError: a query is missing in one of them (without `common`), or none is in both.
        RunFolderError: a query that both have does not ask for the same, by its text or by its judgements.
    """
    sides = [*first[1], *second[1]]
    aligned = Aligned([{} for _ in first[1]], [{} for _ in second[1]], {}, {}, [])
    elsewhere: list[str] = []
    for language in sorted({name for side in sides for name in side}):
        ids = [side[language].query_Q if language in side else np.empty(0, np.str_) for side in sides]
        shared = ids[0]
        for other in ids[1:]:
            shared = shared if np.array_equal(shared, other) else np.intersect1d(shared, other)
        if any(len(own) > len(shared) for own in ids):
            aligned.dropped[language] = len(np.unique(np.concatenate(ids))) - len(shared)
        if not len(shared):
            continue
        places = [np.searchsorted(own, shared) for own in ids]
        relevant = [side[language].relevant_Q[place] for side, place in zip(sides, places, strict=True)]
        for own in relevant[1:]:
            if len(wrong := np.flatnonzero(own != relevant[0])):
                raise RunFolderError(
                    f"{first[0]} and {second[0]}, {task}: query {shared[wrong[0]]} ({language}) asks for {relevant[0][wrong[0]]} in one "
                    f"and for {own[wrong[0]]} in the other; they were not evaluated on the same data"
                )
        asked = [side[language].asked_Q[place] for side, place in zip(sides, places, strict=True)]
        for name_Q in asked[1:]:
            if len(wrong := np.flatnonzero(~is_same(asked[0], name_Q))):
                raise RunFolderError(
                    f"{first[0]} and {second[0]}, {task}: query {shared[wrong[0]]} ({language}) has another text, or other judgements, in "
                    f"the other ({len(wrong):,} of {len(shared):,} do); they were not evaluated on the same data"
                )
        aligned.relevant[language] = relevant[0]
        for target, side, place in zip([*aligned.first, *aligned.second], sides, places, strict=True):
            target[language] = side[language].values_QM[place]
        chances = {f"{side[language].chance:.3g}" for side in sides}
        if len(chances) > 1 and language not in aligned.dropped:
            elsewhere.append(f"{language}: a random order finds {' or '.join(sorted(chances))} at rank 1")
        elif len({side[language].among for side in sides} - {0}) > 1:
            elsewhere.append(language)
    if elsewhere:
        aligned.notes.append(
            f"{task}: {first[0]} and {second[0]} did not search among the same candidates ({'; '.join(elsewhere)}): part of the difference "
            "may be theirs."
        )
    if not aligned.relevant:
        raise ConfigError(f"{first[0]} and {second[0]}, {task}: no query in common; evaluate both on the same data")
    if aligned.dropped:
        count = sum(len(ids) for ids in aligned.relevant.values())
        if not common:
            raise ConfigError(_differences(first, second, task, count))
        left = plural(sum(aligned.dropped.values()), "query")
        aligned.notes.append(f"{task}: {first[0]} and {second[0]} are compared on {count:,} common queries; {left} left out.")
    return aligned


def _differences(first: Side, second: Side, task: str, shared: int) -> str:
    """One line: how many are common, what only one has, what to do."""
    found = []
    for (label, own), (_, other) in ((first, second), (second, first)):
        only = [
            f"{language} {query}"
            for language in sorted({name for side in own for name in side})
            for query in sorted(_ids(own, language) - _ids(other, language))
        ]
        if only:
            found.append(f"{len(only):,} only in {label} ({', '.join(only[:NAMED])}{', ...' if len(only) > NAMED else ''})")
    why = "; ".join(found) or "trainings of one setting have different ones"
    return (
        f"{first[0]} and {second[0]}, {task}: different queries: {shared:,} common, {why}; evaluate both on the same queries, or compare "
        "on the common ones with --common"
    )


def _ids(sides: Sequence[Languages], language: str) -> set[str]:
    return {query for side in sides if language in side for query in side[language].query_Q.tolist()}
