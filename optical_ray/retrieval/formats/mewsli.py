"""Mewsli-X (Ruder et al. 2021): a mention in a news article asks for its entity among 1,003,893 descriptions in 50 languages.

Texts are made as the benchmark's baseline makes them (google-research/xtreme, third_party/utils_mewslix.py): of a mention, its sentence
with the mention between braces and once more in front; of an entity, its sentences. One entity is right, so the mean average precision at
20 that XTREME-R reports is the mean reciprocal rank at 20, of each language, then over the languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optical_ray.errors import DataError
from optical_ray.languages.codes import canonical_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import Asked, Grades, build_collection, gather_queries, read_tag
from optical_ray.retrieval.formats.beir import find_file
from optical_ray.retrieval.formats.downloads import SOURCES, missing
from optical_ray.retrieval.formats.lines import BadRow, check_text, decode_text, parse_object, read_objects, string_field
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.records import Document, LineFiles
from optical_ray.retrieval.formats.skips import BROKEN_ROW, WITHHELD, Skips
from optical_ray.retrieval.formats.stored import StoredOpener

XTREME_R = tuple(["ar", "de", "en", "es", "fa", "ja", "pl", "ro", "ta", "tr", "uk"])
"""Languages of the mentions."""
SPLITS = {"test": "test", "valid": "dev"}
_BRACES = re.compile(r"\{(.*?)\}")


def read_mewsli(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection, `all`: mentions of all languages (or of `languages`) among all entities.

    Raises:
        DataError: a file is missing, has no texts or no entities or, `refuse`, a bad line.
    """
    split = SPLITS[options.split]
    names = ("candidate_set_entities.jsonl", f"wikinews_mentions-{split}.jsonl")
    entities, mentions = (find_file(path, name) for name in names)
    for name, file in zip(names, (entities, mentions), strict=True):
        if file is None:
            bare = find_file(path, f"wikinews_mentions_no_text-{split}.jsonl")
            found = "no such file" if bare is None or name == names[0] else f"no such file ({bare.name} has no texts: run get-mewsli-x.sh)"
            raise missing("mewsli-x", path / name, found)
    assert entities and mentions
    skips = Skips(options.on_bad)
    wanted = options.languages or (XTREME_R if options.language_set == "xtreme-r" else ())
    grades: Grades = {}
    languages = frozenset(canonical_tag(code) for code in wanted) or None
    questions = gather_queries(_mentions(mentions, grades, skips), str(mentions), skips, languages)
    opener = StoredOpener(LineFiles((entities,), parse_entity), options.max_documents)
    yield build_collection("mewsli-x", "all", options, questions, grades, opener.open, str(mentions), skips)


def parse_entity(raw: bytes) -> Document:
    """A line of the candidate set. Raises BadRow."""
    row = parse_object(decode_text(raw))
    description = string_field(row, "description")
    said = " ".join(description[start:end] for start, end in _spans(row, description))
    return Document(string_field(row, "entity_id"), read_tag(string_field(row, "description_language")), _one_line(said))


def _one_line(text: str) -> str:
    """As the baseline does it: double spaces once, not until none is left."""
    return " ".join(text.splitlines()).replace("  ", " ").strip()


def _spans(row: dict[str, Any], text: str) -> list[tuple[int, int]]:
    spans = row.get("sentence_spans")
    if not isinstance(spans, list):
        raise BadRow(BROKEN_ROW, "no list sentence_spans; fetch the file again")
    return [_span(each, text) for each in spans]


def _span(value: Any, text: str) -> tuple[int, int]:
    start, end = (value.get("start"), value.get("end")) if isinstance(value, dict) else (None, None)
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text)):
        raise BadRow(BROKEN_ROW, f"span {value!r} does not fit its text of {len(text)} characters; fetch the file again")
    return start, end


def _mentions(path: Path, grades: Grades, skips: Skips) -> Iterator[Asked]:
    """Mentions of all articles; their entities go to `grades`."""
    for number, row in read_objects(path, skips):
        where = f"{path}, line {number}"
        context, mentions = row.get("context"), row.get("mentions")
        if not isinstance(context, dict) or not isinstance(mentions, list):
            skips.bad(BROKEN_ROW, f"{where}: no context and mentions; expected an article of Mewsli-X, fetch the file again")
            continue
        if mentions and not context.get("text"):
            raise DataError(f"{where}: its article has no text, so the news texts are still to be put in; {SOURCES['mewsli-x']}")
        for mention in mentions:
            try:
                yield _mention(mention, context, where, grades)
            except BadRow as bad:
                skips.bad(bad.reason, f"{where}: {bad.found}")


def _mention(mention: Any, context: dict[str, Any], where: str, grades: Grades) -> Asked:
    if not isinstance(mention, dict):
        raise BadRow(BROKEN_ROW, f"a mention is a {type(mention).__name__}, expected an object; fetch the file again")
    identity = string_field(mention, "example_id")
    if not mention.get("entity_id"):
        raise BadRow(WITHHELD, f"mention {identity!r} has no entity_id; fetch the file with labels")
    entity, tag = string_field(mention, "entity_id"), read_tag(string_field(context, "language"))
    text = mention_text(mention, context)
    grades.setdefault(identity, {entity: 1})
    return Asked(identity, text, tag, entity, where)


def mention_text(mention: dict[str, Any], context: dict[str, Any]) -> str:
    """`Smith: The verdict came back for { Smith }, who stepped down.`

    Raises:
        BadRow: offsets do not fit the text, or the mention lies in no one sentence.
    """
    text = string_field(context, "text")
    start, end = _span(mention.get("mention_span"), text)
    name = text[start:end]
    if name != mention["mention_span"].get("text", name):
        raise BadRow(
            BROKEN_ROW, f"mention {mention['mention_span']['text']!r} is not where its offsets say ({name!r}); restore the texts again"
        )
    sentence = next(((first, last) for first, last in _spans(context, text) if first <= start < last and end <= last), None)
    if sentence is None:
        raise BadRow(BROKEN_ROW, f"mention {name!r} lies in no one sentence; restore the texts again")
    left, right = (_BRACES.sub(r"(\1)", part) for part in (text[sentence[0] : start], text[end : sentence[1]]))
    return check_text(_one_line(f"{name}: {left} {{ {name} }} {right}"))
