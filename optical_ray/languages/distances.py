"""How far apart two languages are: by descent, on the globe, in writing, in grammar. In [0, 1], symmetric, 0 to itself."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from optical_ray.languages.codes import ENGLISH
from optical_ray.languages.metadata import UNRELATED_SHELVES, Metadata, language_metadata
from optical_ray.languages.typology import syntactic_distance

Distance = Literal["mean", "genealogical", "geographic", "script", "syntactic"]


def language_distance(first: str, second: str, distance: Distance = "mean") -> float | None:
    """The distance between two languages, by any usual codes.

    `genealogical`: 1 - 2c / (m + n), for lineages of m and n nodes (family to language) that share their first c (the complement of Wu &
    Palmer's similarity, 1994). 1 between families; artificial and mixed languages and pidgins are related to nothing.
    `geographic`: great-circle distance between Glottolog's points, over half the circumference.
    `script`: 0 for the same ISO 15924 code, else 1.
    `syntactic`: share of the syntactic features known of both in which they differ (URIEL, the extra `typology`).
    `mean`: mean of the first three. Without a place it is the mean of the other two; without a lineage it is unknown.

    Returns:
        None where it is unknown: a language without a lineage, without a place (`geographic`), or with too few features in common.

    Raises:
        LanguageError: a code is no language.
        DataError: `syntactic` without the extra.
    """
    # Sorted: floating-point sums in the other order would break the symmetry in the last bit.
    a, b = sorted((language_metadata(first), language_metadata(second)), key=lambda metadata: metadata.tag)
    if distance == "genealogical":
        return _genealogical(a, b)
    if distance == "geographic":
        return _geographic(a, b)
    if distance == "script":
        return _script(a, b)
    if distance == "syntactic":
        return syntactic_distance(a, b)
    genealogical, geographic = _genealogical(a, b), _geographic(a, b)
    if genealogical is None:
        return None
    parts = [genealogical, _script(a, b)] + ([] if geographic is None else [geographic])
    return math.fsum(parts) / len(parts)


def undescribed(codes: Iterable[str], distance: Distance) -> list[str]:
    """Those of some languages of which this distance is known to no other, in their order.

    English has a lineage, a place and every feature: where a distance to it is unknown, the other side is.
    """
    return [code for code in codes if language_distance(code, ENGLISH, distance) is None]


def _genealogical(a: Metadata, b: Metadata) -> float | None:
    if a.tag == b.tag:
        return 0.0
    if not a.lineage or not b.lineage:
        return None
    if a.lineage == b.lineage:
        return 0.0
    if a.family in UNRELATED_SHELVES:
        return 1.0
    shared = 0
    while shared < min(len(a.lineage), len(b.lineage)) and a.lineage[shared] == b.lineage[shared]:
        shared += 1
    return 1.0 - 2.0 * shared / (len(a.lineage) + len(b.lineage))


def _geographic(a: Metadata, b: Metadata) -> float | None:
    """Haversine: exact enough for points close together, where the arc cosine is not."""
    if a.tag == b.tag:
        return 0.0
    if a.latitude is None or a.longitude is None or b.latitude is None or b.longitude is None:
        return None
    north_a, north_b = math.radians(a.latitude), math.radians(b.latitude)
    chord = math.sin((north_a - north_b) / 2) ** 2
    chord += math.cos(north_a) * math.cos(north_b) * math.sin(math.radians(a.longitude - b.longitude) / 2) ** 2
    return 2.0 * math.asin(min(1.0, math.sqrt(chord))) / math.pi


def _script(a: Metadata, b: Metadata) -> float:
    return float(a.script != b.script)
