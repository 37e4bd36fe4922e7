"""The order in which a strategy takes languages from a pool. A set of size k is the first k, which is what nests the sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optical_ray.errors import LanguageError
from optical_ray.languages.distances import Distance, language_distance, undescribed
from optical_ray.languages.metadata import language_metadata
from optical_ray.seeding import derive_seed

STRATEGIES = {
    "given": "as the pool is given",
    "largest": "most training pairs first",
    "smallest": "fewest training pairs first",
    "random": "shuffled by languages.seed",
    "diverse": "always the one farthest from those taken",
    "similar": "closest to languages.target first; also similar:CODE",
    "family": "family:NAME, languages of one family or branch, as the pool is given",
    "explicit": "explicit:CODE,CODE,..., these and no other",
}


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy as it is written in a recipe, taken apart."""

    name: str
    argument: str = ""

    @classmethod
    def parse(cls, text: str) -> Strategy:
        """Read `largest`, `similar:sw`, `family:Atlantic-Congo`, `explicit:sw,hi`.

        Raises:
            ValueError: no such strategy, or its argument is missing or superfluous.
        """
        name, colon, argument = (part.strip() for part in text.partition(":"))
        if name not in STRATEGIES:
            known = "; ".join(f"{known} ({meaning})" for known, meaning in STRATEGIES.items())
            raise ValueError(f"no strategy {name!r}; there are {known}")
        if name in ("family", "explicit") and not argument:
            raise ValueError(f"strategy {name} needs an argument: {STRATEGIES[name]}")
        if colon and (not argument or name not in ("family", "explicit", "similar")):
            raise ValueError(f"strategy {name} was given the argument {argument!r}; expected {name}, {STRATEGIES[name]}")
        if name == "explicit" and not all(code.strip() for code in argument.split(",")):
            raise ValueError(f"strategy explicit: an empty code in {argument!r}")
        return cls(name, argument)


def by_size(pool: Sequence[str], pairs: Mapping[str, int], largest_first: bool) -> list[str]:
    """By number of training pairs; ties by tag."""
    sign = -1 if largest_first else 1
    return sorted(pool, key=lambda tag: (sign * pairs[tag], tag))


def shuffled(pool: Sequence[str], seed: int) -> list[str]:
    """Each language at a place of its own that depends on the seed alone, so a larger pool keeps the order of a smaller one."""
    return sorted(pool, key=lambda tag: derive_seed(seed, "language-set", tag))


def by_similarity(pool: Sequence[str], target: str, distance: Distance) -> list[str]:
    """Closest to the target first (the target itself at 0); ties by tag.

    Raises:
        LanguageError: the distance of a language to the target is unknown.
    """
    unknown = [tag for tag in sorted(pool) if language_distance(tag, target, distance) is None]
    if unknown:
        raise _unknown_distance(f"similar:{target}", unknown, distance)
    return sorted(pool, key=lambda tag: (_known(tag, target, distance), tag))


def by_diversity(pool: Sequence[str], anchors: Sequence[str], seed: int, distance: Distance) -> list[str]:
    """Farthest-point order (Gonzalez 1985): always the language whose nearest among those taken is farthest; ties by tag.

    Args:
        pool: Languages to order, the anchors not among them.
        anchors: Languages that are taken already; empty: one that the seed chooses is taken first.

    Raises:
        LanguageError: a distance that is needed is unknown.
    """
    unknown = undescribed(sorted([*pool, *anchors]), distance)
    if unknown:
        raise _unknown_distance("diverse", unknown, distance)
    start = [] if anchors else shuffled(pool, seed)[:1]
    rest = sorted(tag for tag in pool if tag not in start)
    order = list(start)
    taken = [*anchors, *start]
    nearest = {tag: min(_known(tag, other, distance) for other in taken) for tag in rest}
    while nearest:
        farthest = min(nearest, key=lambda tag: (-nearest[tag], tag))
        del nearest[farthest]
        order.append(farthest)
        for tag in nearest:
            nearest[tag] = min(nearest[tag], _known(tag, farthest, distance))
    return order


def of_family(pool: Sequence[str], name: str) -> list[str]:
    """Languages of a family or of one of its branches (`Atlantic-Congo`, `Germanic`), in the order of the pool.

    Args:
        pool: Languages to choose from.
        name: As Glottolog calls it; in its table no two branches share a name. Case does not matter.

    Raises:
        LanguageError: no language of the pool is of it; the families of the pool are listed.
    """
    wanted = name.casefold()
    found = [tag for tag in pool if wanted in (branch.casefold() for branch in language_metadata(tag).lineage)]
    if not found:
        families = sorted({language_metadata(tag).family or "unknown" for tag in pool})
        raise LanguageError(f"languages.strategy=family:{name}: no language of the pool is of it; its families are {', '.join(families)}")
    return found


def _known(first: str, second: str, distance: Distance) -> float:
    found = language_distance(first, second, distance)
    if found is None:  # each has features, the two too few in common
        raise _unknown_distance("diverse", [f"{first} and {second}"], distance)
    return found


def _unknown_distance(strategy: str, tags: Sequence[str], distance: Distance) -> LanguageError:
    return LanguageError(
        f"languages.strategy={strategy}: the {distance} distance of {', '.join(tags)} is unknown (no lineage, place or features on record)"
        "; leave them out of languages.pool, put them into languages.unseen, or choose another languages.distance"
    )
