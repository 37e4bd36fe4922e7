"""What is diverse about a language set, in numbers: covariates that are recorded with every result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from optical_ray.errors import LanguageError
from optical_ray.languages.codes import canonical_tag
from optical_ray.languages.distances import Distance, language_distance, undescribed
from optical_ray.languages.metadata import UNRELATED_SHELVES, language_metadata, metadata_source
from optical_ray.languages.typology import typology_source

UNKNOWN = "unknown"
"""Stands for the family of a language that is not in the table."""


def describe_set(
    languages: Sequence[str], shares: Mapping[str, float], evaluation_languages: Sequence[str], distance: Distance = "mean"
) -> dict[str, Any]:
    """Diversity of a language set, and how far each evaluation language is from it.

    Args:
        languages: The set, any usual codes.
        shares: Sampling probability of each, by the same codes.
        evaluation_languages: Seen and unseen.
        distance: What the distances are.

    Returns:
        Plain data. Entropies in nats, distances in [0, 1]. `mean_distance` is over pairs of the set, `mean_distance_between_draws` is
        sum_ij p_i p_j d_ij (Rao's quadratic entropy 1982: the distance expected between two draws, equal languages included).
        A mean over languages is over the distances that are known, and None where none is; `unknown` names what was left out: languages
        without a distance, and pairs of others with too few features in common. An entropy over families is None if a family is unknown.

    Raises:
        LanguageError: a code is no language, or two of the set are the same one.
        DataError: distance `syntactic` without its extra.
    """
    share = {canonical_tag(code): shares[code] for code in languages}
    if len(share) != len(languages):
        raise LanguageError(f"describe_set: {', '.join(languages)} are only {len(share)} languages: {', '.join(share)}")
    tags, evaluation = tuple(share), tuple(canonical_tag(code) for code in evaluation_languages)
    everyone = tuple(dict.fromkeys((*tags, *evaluation)))
    by_family = _sum_by(share, {tag: _family(tag) for tag in tags})
    by_script = _sum_by(share, {tag: language_metadata(tag).script for tag in tags})
    missing = undescribed(everyone, distance)
    entropy = _entropy(share.values())
    between = {pair: language_distance(*pair, distance) for pair in combinations(tags, 2)}
    return {
        "languages": list(tags),
        "entropy_nats": entropy,
        "effective_languages": math.exp(entropy),
        "share_by_family": by_family,
        "family_entropy_nats": None if UNKNOWN in by_family else _entropy(by_family.values()),
        "share_by_script": by_script,
        "script_entropy_nats": _entropy(by_script.values()),
        "distance": distance,
        "mean_distance": _mean([(found, 1.0) for found in between.values()]),
        "mean_distance_between_draws": _mean(
            [(found, 2 * share[a] * share[b]) for (a, b), found in between.items()]
            + [(0.0, share[tag] ** 2) for tag in tags if tag not in missing]
        ),
        "evaluation": {tag: _from_set(tag, tags, distance) for tag in evaluation},
        "unknown": {
            "family": [tag for tag in everyone if language_metadata(tag).family is None],
            "place": [tag for tag in everyone if language_metadata(tag).latitude is None],
            "distance": missing,
            "pairs": [
                [tag, other]
                for tag in everyone
                for other in tags
                if tag not in missing and other not in missing and language_distance(tag, other, distance) is None
            ],
        },
        "sources": [metadata_source()] + ([typology_source()] if distance == "syntactic" else []),
    }


def _from_set(tag: str, languages: Sequence[str], distance: Distance) -> dict[str, Any]:
    """How far an evaluation language is from the languages of the set; a seen one counts itself, at 0."""
    found = {other: language_distance(tag, other, distance) for other in languages}
    known = {other: value for other, value in found.items() if value is not None}
    nearest = min(known, key=lambda other: (known[other], other), default=None)
    return {
        "seen": tag in languages,
        "mean_distance": _mean([(value, 1.0) for value in known.values()]),
        "nearest": nearest,
        "nearest_distance": None if nearest is None else known[nearest],
    }


def _family(tag: str) -> str:
    """The family; what stands on a shelf of unrelated languages (pidgins, artificial ones) is a family of its own, as an isolate is."""
    found = language_metadata(tag)
    return f"{found.family} ({tag})" if found.family in UNRELATED_SHELVES else found.family or UNKNOWN


def _sum_by(share: Mapping[str, float], group: Mapping[str, str]) -> dict[str, float]:
    """Shares summed by group, largest first (ties by name)."""
    sums = {name: math.fsum(share[tag] for tag in share if group[tag] == name) for name in sorted(group.values())}
    return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def _entropy(probabilities: Iterable[float]) -> float:
    return math.fsum(-p * math.log(p) for p in probabilities if p > 0) + 0.0  # never -0.0


def _mean(weighted: Sequence[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in weighted if value is not None]
    mass = math.fsum(weight for _, weight in known)
    return math.fsum(value * weight for value, weight in known) / mass if mass > 0 else None
