"""Sentences and their translations: who asks for whom, which line is right, and which repeated lines are right as well."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from optical_ray.data.splits import split_key
from optical_ray.errors import ConfigError, DataError
from optical_ray.languages.codes import ENGLISH, canonical_tag, regional_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import Asked, build_collection, gather_queries
from optical_ray.retrieval.formats.documents import InMemoryDocuments
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.skips import MISSING_LANGUAGE, NO_COUNTERPART, Skips

EMPTY_SIDE = "pair with an empty side"


class Pair(NamedTuple):
    """One line and its English."""

    number: int
    """Of its line or row, from 1."""
    english: str
    text: str


@dataclass(frozen=True, slots=True)
class Bitext:
    """Lines of one language with their English."""

    name: str
    """In names of collections and ids: the canonical tag, or the file's own code where another file has that tag (fra-CA beside fra)."""
    language: str
    """Canonical tag, with its region where `name` is not the tag alone."""
    source: str
    """File or folder, for messages."""
    unit: str
    """What `Pair.number` counts: line, row."""
    pairs: tuple[Pair, ...]


class Side(NamedTuple):
    """One side of a search: language, and id and text of each line."""

    language: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]


def keep_pairs(rows: Iterator[Pair], where: Callable[[int], str], skips: Skips) -> tuple[Pair, ...]:
    """Pairs that have a text on both sides."""
    kept = []
    for pair in rows:
        if pair.english.strip() and pair.text.strip():
            kept.append(pair)
        else:
            side = "text" if pair.english.strip() else "English"
            skips.bad(EMPTY_SIDE, f"{where(pair.number)}: no {side}; take the pair out")
    return tuple(kept)


def choose_languages(found: Mapping[str, str], wanted: Sequence[str], where: str, hint: str, skips: Skips) -> dict[str, str]:
    """Files' codes of languages that are asked for.

    Args:
        found: Code as the files have it -> canonical tag.
        wanted: Codes as the user has them; empty: all that are found.
        where: Folder, for messages.
        hint: Where the missing ones come from.
        skips: Told of languages that have no file.

    Returns:
        Name of each (see `Bitext.name`) -> code as the files have it, in the order asked for, or of names.
    """
    names: dict[str, str] = {}
    tags = Counter(found.values())
    for code, tag in sorted(found.items(), key=lambda item: (len(item[0]), item[0])):
        plain = tags[tag] == 1 or ("-" not in code and tag not in names)
        names[tag if plain else code] = code
    if not wanted:
        return dict(sorted(names.items()))
    chosen: dict[str, str] = {}
    for code in wanted:
        tag = canonical_tag(code)
        fitting = (
            {name: own for name, own in names.items() if own == code}
            or {name: own for name, own in names.items() if tag != regional_tag(code) == regional_tag(own)}
            or {name: own for name, own in names.items() if name == tag}
            or {name: own for name, own in names.items() if found[own] == tag}
        )
        if not fitting:
            have = ", ".join(sorted(names)) or "none"
            skips.bad(MISSING_LANGUAGE, f"{where}: no file of language {code!r} (there are {have}); {hint}")
        chosen |= fitting
    if not chosen:
        raise DataError(f"{where}: no file of any language asked for ({', '.join(wanted)}); {hint}")
    return chosen


def language_of(name: str, code: str, tag: str) -> str:
    """What a file's language is called in rows: its tag, with the region where another file has that tag (fr-CA of fra-CA beside fra).

    Args:
        name: As `choose_languages` gives it.
        code: Likewise, as the files have it.
        tag: Canonical.
    """
    return tag if name == tag else regional_tag(code)


def list_pairs(names: Sequence[str], options: FormatOptions) -> list[tuple[str, str]]:
    """(who asks, who is searched) of each collection, in order; `en` stands for the English side of the other."""
    if options.pairs:
        sides = (pair.split(":") for pair in options.pairs)
        return [(_name(first, names), _name(second, names)) for first, second in sides]
    ordered = {
        "xx-en": [(name, ENGLISH) for name in names],
        "en-xx": [(ENGLISH, name) for name in names],
        "xx-yy": [(one, other) for one in names for other in names if one != other],
    }
    return [pair for direction in options.directions for pair in ordered[direction]]


def paired_languages(options: FormatOptions) -> tuple[str, ...]:
    """Languages that `pairs` or `languages` ask for, English apart, each once."""
    codes = [code for pair in options.pairs for code in pair.split(":")] if options.pairs else list(options.languages)
    found = tuple(dict.fromkeys(code for code in codes if canonical_tag(code) != ENGLISH))
    if codes and not found:
        raise ConfigError(f"languages {', '.join(codes)}: English alone makes no pair; name the other languages, or none to read all")
    return found


def _name(code: str, names: Sequence[str]) -> str:
    regional = [name for name in names if regional_tag(name) == regional_tag(code) != canonical_tag(code)]
    return code if code in names else [*regional, canonical_tag(code)][0]


def pair_collections(
    task: str, options: FormatOptions, names: Sequence[str], read: Callable[[str, Skips], Bitext], skips: Skips
) -> Iterator[Collection]:
    """One collection for each pair of languages that the options name.

    Args:
        task: As `Collection.task`.
        options: Directions or pairs, duplicates, limits.
        names: Of the languages that are there.
        read: Reads one of them; called once for each.
        skips: What was left out before; each collection goes on counting for itself.
    """
    kept: dict[str, tuple[Bitext, Skips]] = {}

    def bitext(name: str, counted: Skips) -> Bitext:
        if name not in kept:
            own = Skips(skips.on_bad)
            kept[name] = read(name, own), own
        counted.counts.update(kept[name][1].counts)
        return kept[name][0]

    for query, document in list_pairs(names, options):
        if query == document:
            raise DataError(f"{query}:{document}: a language does not ask for itself; name two")
        if not {query, document} <= {*names, ENGLISH}:
            continue  # missing, and the user was told
        counted = skips.fork()
        if document == ENGLISH:
            asks = bitext(query, counted)
            sides, gold = (_foreign(asks), _english(asks)), list(range(len(asks.pairs)))
        elif query == ENGLISH:
            asks = bitext(document, counted)
            sides, gold = (_english(asks), _foreign(asks)), list(range(len(asks.pairs)))
        else:
            asks, searched = bitext(query, counted), bitext(document, counted)
            sides, gold = (_foreign(asks), _foreign(searched)), _align(asks, searched)
        yield _build(task, f"{query}-{document}", options, asks, sides, gold, counted)


def _foreign(bitext: Bitext) -> Side:
    return Side(bitext.language, tuple(f"{bitext.name}-{pair.number}" for pair in bitext.pairs), tuple(pair.text for pair in bitext.pairs))


def _english(bitext: Bitext) -> Side:
    return Side(ENGLISH, tuple(f"en-{pair.number}" for pair in bitext.pairs), tuple(pair.english for pair in bitext.pairs))


def _align(asks: Bitext, searched: Bitext) -> list[int]:
    """Place of each line's translation in the other language, by their English; -1: none. The second line of the same English goes with the
    second one there."""
    places: dict[tuple[str, int], int] = {}
    for place, key in enumerate(_occurrences(searched)):
        places[key] = place
    gold = [places.get(key, -1) for key in _occurrences(asks)]
    if max(gold) < 0:
        raise DataError(f"{asks.source} and {searched.source}: no English sentence in common, so they are not parallel; ask xx-en instead")
    return gold


def _occurrences(bitext: Bitext) -> list[tuple[str, int]]:
    seen: dict[str, int] = defaultdict(int)
    keys = []
    for pair in bitext.pairs:
        keys.append((pair.english, seen[pair.english]))
        seen[pair.english] += 1
    return keys


def _build(
    task: str, name: str, options: FormatOptions, asks: Bitext, sides: tuple[Side, Side], gold: list[int], skips: Skips
) -> Collection:
    query, document = sides
    rows = [
        Asked(
            query.ids[i],
            query.texts[i],
            query.language,
            cluster_of(asks.pairs[i].english),
            f"{asks.source}, {asks.unit} {asks.pairs[i].number}",
        )
        for i in range(len(gold))
        if gold[i] >= 0
    ]
    skips.leave_out(NO_COUNTERPART, len(gold) - len(rows))
    own = {query.ids[i]: gold[i] for i in range(len(gold)) if gold[i] >= 0}
    grades = {identity: {document.ids[place]: 1} for identity, place in own.items()}
    if options.duplicates == "all":
        same_text, same_query = defaultdict(list), defaultdict(list)
        for identity, text in zip(document.ids, document.texts, strict=True):
            same_text[text].append(identity)
        for row in rows:
            same_query[row.text].append(document.ids[own[row.id]])
        for row in rows:
            equal = [*same_text[document.texts[own[row.id]]], *same_query[row.text]]
            grades[row.id] |= dict.fromkeys(equal, 1)

    def open_documents(wanted: frozenset[str], _: Skips) -> InMemoryDocuments:
        limit = len(document.ids) if options.max_documents is None else options.max_documents
        kept = [i for i, identity in enumerate(document.ids) if i < limit or identity in wanted]
        return InMemoryDocuments([document.ids[i] for i in kept], [document.language] * len(kept), [document.texts[i] for i in kept])

    return build_collection(task, name, options, gather_queries(rows, asks.source, skips), grades, open_documents, asks.source, skips)


def cluster_of(english: str) -> str:
    """Names what a sentence says: 16 hex digits, the same for sentences that differ only in case, punctuation or spaces."""
    return hashlib.sha256((split_key(english) or english).encode()).hexdigest()[:16]
