"""Topics as TREC, CLEF, HC4 and NeuCLIR release them."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from optical_ray.errors import DataError
from optical_ray.languages.codes import ENGLISH, canonical_tag
from optical_ray.retrieval.formats.assemble import Asked, read_tag
from optical_ray.retrieval.formats.downloads import missing
from optical_ray.retrieval.formats.lines import BadRow, check_text, decode_text, open_bytes, read_objects, string_field
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.skips import BAD_TEXT, BROKEN_ROW, Skips
from optical_ray.retrieval.formats.tab_lines import QUERY_IDS, tab_queries

_FIELD = re.compile(r"<(?:[A-Za-z]{2}-)?(num|title|desc|narr)>", re.I)
"""CLEF puts the language before the name: `<FR-title>`."""
_LABEL = re.compile(r"^\s*(?:number|topic|description|narrative)\s*:", re.I)
"""What older TREC topics repeat inside a field."""
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_NAMES = {"title": "title", "description": "desc", "narrative": "narr"}
_XML_NAMES = {"title": ("title", "query"), "description": ("description", "desc", "question"), "narrative": ("narrative", "narr")}


def read_topics(path: Path, options: FormatOptions, skips: Skips) -> Iterator[Asked]:
    """Queries of a file of topics, their fields joined by a space.

    Read by what the file is: JSON lines (HC4's and NeuCLIR's lists of translations too), XML with `<topic number="1">`, TREC's and CLEF's
    `<top>` with `<num>` and `<title>`, or `id<TAB>text`.

    Raises:
        DataError: the file cannot be read or, `refuse`, has a bad topic.
    """
    tag = canonical_tag(options.query_language or ENGLISH)
    name = path.name.removesuffix(".gz").removesuffix(".bz2")
    if name.endswith((".jsonl", ".json")):
        yield from _json_topics(path, tag, options, skips)
    elif name.endswith(".tsv"):
        yield from tab_queries(path, tag, skips, encoding=options.encoding)
    else:
        with open_bytes(path) as stream:
            raw = stream.read()
        try:
            text = decode_text(raw, options.encoding)
        except BadRow as bad:
            raise DataError(f"{path}: {bad.found}, or name its encoding (encoding=latin-1)") from None
        if re.search(r"<top>", text, re.I):
            yield from _tagged_topics(path, text, tag, options, skips)
        elif text.lstrip().startswith("<"):
            yield from _xml_topics(path, raw, tag, options, skips)
        elif "\t" in text:
            yield from tab_queries(path, tag, skips, encoding=options.encoding)
        else:
            raise missing("trec", path, "neither <top>, XML nor id<TAB>text")


def _tagged_topics(path: Path, text: str, tag: str, options: FormatOptions, skips: Skips) -> Iterator[Asked]:
    """`<top> <num> Number: 301 <title> ... <desc> Description: ...`: an end tag may be missing, a field ends where the next begins."""
    for number, topic in enumerate(re.split(r"<top>", text, flags=re.I)[1:], start=1):
        parts = _FIELD.split(re.split(r"</top>", topic, flags=re.I)[0])
        found = {name.lower(): _plain(value) for name, value in zip(parts[1::2], parts[2::2], strict=True)}
        where = f"{path}, topic {number}"
        if not found.get("num"):
            skips.bad(BROKEN_ROW, f"{where}: no <num>, expected one; fix it")
            continue
        said = " ".join(found.get(_NAMES[name], "") for name in options.topic_fields).strip()
        yield Asked(found["num"], said, tag, found["num"], where)


def _plain(value: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", _LABEL.sub("", value))).split())


def _xml_topics(path: Path, raw: bytes, tag: str, options: FormatOptions, skips: Skips) -> Iterator[Asked]:
    try:
        root = ElementTree.fromstring(raw)
    except ElementTree.ParseError as error:
        raise DataError(f"{path}, line {error.position[0]}: not XML ({error}); fix it") from None
    for number, topic in enumerate(root.iter("topic"), start=1):
        identity = topic.get("number") or topic.get("id") or topic.findtext("num") or topic.findtext("number")
        where = f"{path}, topic {number}"
        if identity is None:
            skips.bad(BROKEN_ROW, f"{where}: no number, expected <topic number=...>; fix it")
            continue
        said = [_xml_text(topic, _XML_NAMES[name]) for name in options.topic_fields]
        if not len(topic):
            said = [topic.text or ""]
        text = " ".join(" ".join(said).split())
        yield Asked(identity.strip(), text, tag, identity.strip(), where)


def _xml_text(topic: ElementTree.Element, names: tuple[str, ...]) -> str:
    element = next((found for name in names if (found := topic.find(name)) is not None), None)
    return "" if element is None else "".join(element.itertext())


def _json_topics(path: Path, tag: str, options: FormatOptions, skips: Skips) -> Iterator[Asked]:
    for number, row in read_objects(path, skips):
        where = f"{path}, line {number}"
        try:
            identity = string_field(row, *QUERY_IDS)
            if isinstance(row.get("topics"), list):
                yield Asked(identity, _translation(row["topics"], tag, options), tag, identity, where)
            else:
                yield Asked(identity, _fields(row, options), tag, identity, where)
        except BadRow as bad:
            skips.bad(bad.reason, f"{where}: {bad.found}")


def _translation(topics: list[Any], tag: str, options: FormatOptions) -> str:
    """HC4: `topics` lists the same topic in several languages; of one language the human translation, else the first."""
    fitting = [each for each in topics if isinstance(each, Mapping) and each.get("lang") and read_tag(str(each["lang"])) == tag]
    if not fitting:
        have = ", ".join(sorted({str(each.get("lang")) for each in topics if isinstance(each, Mapping)}))
        raise BadRow(BROKEN_ROW, f"no topic in {tag} (there are {have}); name another query_language")
    fitting.sort(key=lambda each: "human" not in str(each.get("source", "")))
    return _fields({name.removeprefix("topic_"): value for name, value in fitting[0].items()}, options)


def _fields(row: Mapping[str, Any], options: FormatOptions) -> str:
    if "title" not in row and ("text" in row or "query" in row):
        return string_field(dict(row), "text", "query")
    parts = [row.get(name) for name in options.topic_fields]
    if not all(part is None or isinstance(part, str) for part in parts):
        raise BadRow(BAD_TEXT, "a field is no string; fix it")
    return check_text(" ".join(part for part in parts if part))
