"""CLIRMatrix (Sun & Duh 2020): titles of Wikipedia articles in one language ask for articles in another.

A line of `<query>.<document>.<split>*.jl.gz` is one question with the documents that it is judged with (grades 0 to 6, from BM25 in the
question's language): `{"src_id": ..., "src_query": ..., "tgt_results": [[id, grade], ...]}`. The paper re-ranks those documents:
`candidates=judged`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from optical_ray.languages.codes import canonical_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import Asked, Grades, build_collection, gather_queries
from optical_ray.retrieval.formats.bitext import known_tags
from optical_ray.retrieval.formats.downloads import SOURCES, missing
from optical_ray.retrieval.formats.lines import BadRow, read_objects, string_field
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.records import LineFiles
from optical_ray.retrieval.formats.skips import BROKEN_ROW, MISSING_LANGUAGE, Skips
from optical_ray.retrieval.formats.stored import StoredOpener
from optical_ray.retrieval.formats.tab_lines import TabDocument

SPLITS = {"test": "test1", "valid": "dev"}


def read_clirmatrix(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection for each pair of languages that has both files (of `pairs`, or of `languages` and `document_language`).

    Raises:
        DataError: files are missing, two variants (base, full, MULTI-8) are below one folder or, `refuse`, a line is bad.
    """
    folder = next((each / "DOCS" for each in (path, path.parent, path.parent.parent) if (each / "DOCS").is_dir()), path / "DOCS")
    collections = {file.name.partition(".")[0]: file for file in sorted(folder.glob("*.tsv*"))}
    if not collections:
        raise missing("clirmatrix", path, "no DOCS/<code>.tsv in it, or up to two folders above it" if path.is_dir() else "no such folder")
    judged: dict[tuple[str, str], Path] = {}
    for file in sorted(path.rglob(f"*.*.{SPLITS[options.split]}*.jl*")):
        first, second = file.name.split(".")[:2]
        if other := judged.get((first, second)):
            message = f"{other} beside it has the same languages; name a folder with one of BI-139/base, BI-139/full and MULTI-8"
            raise missing("clirmatrix", file, message)
        judged[first, second] = file
    if not judged:
        raise missing("clirmatrix", path, f"no file <query>.<document>.{SPLITS[options.split]}*.jl below it")
    skips = Skips(options.on_bad)
    tags = known_tags(sorted({code for pair in judged for code in pair}), options.pairs or options.languages, str(path), skips)
    openers: dict[str, StoredOpener] = {}
    for first, second in _pairs(path, judged, tags, options, skips):
        if second not in collections:
            skips.bad(MISSING_LANGUAGE, f"{folder}: no {second}.tsv; {SOURCES['clirmatrix']}")
            continue
        if second not in openers:
            openers[second] = StoredOpener(LineFiles((collections[second],), TabDocument(tags[second])), options.max_documents)
        own = skips.fork()
        grades: Grades = {}
        source = judged[first, second]
        questions = gather_queries(_rows(source, tags[first], grades, own), str(source), own)
        name = f"{tags[first]}-{tags[second]}"
        yield build_collection("clirmatrix", name, options, questions, grades, openers[second].open, str(source), own)


def _pairs(
    path: Path, judged: dict[tuple[str, str], Path], tags: dict[str, str], options: FormatOptions, skips: Skips
) -> list[tuple[str, str]]:
    known = [pair for pair in judged if pair[0] in tags and pair[1] in tags]
    if not options.pairs:
        asks = {canonical_tag(code) for code in options.languages} or set(tags.values())
        searched = {canonical_tag(options.document_language)} if options.document_language else set(tags.values())
        return [pair for pair in known if tags[pair[0]] in asks and tags[pair[1]] in searched]
    chosen = []
    for pair in options.pairs:
        wanted = [canonical_tag(code) for code in pair.split(":")]
        fitting = [each for each in known if [tags[each[0]], tags[each[1]]] == wanted]
        if not fitting:
            skips.bad(MISSING_LANGUAGE, f"{path}: no file of questions {pair}; {SOURCES['clirmatrix']}")
        chosen += fitting[:1]
    return chosen


def _rows(path: Path, tag: str, grades: Grades, skips: Skips) -> Iterator[Asked]:
    """Questions; their judgements go to `grades`."""
    for number, row in read_objects(path, skips):
        try:
            identity, text = string_field(row, "src_id"), string_field(row, "src_query")
            judged = dict(_graded(each) for each in _results(row))
        except BadRow as bad:
            skips.bad(bad.reason, f"{path}, line {number}: {bad.found}")
            continue
        grades.setdefault(identity, judged)
        yield Asked(identity, text, tag, identity, f"{path}, line {number}")


def _results(row: dict[str, Any]) -> list[Any]:
    if not isinstance(row.get("tgt_results"), list):
        raise BadRow(BROKEN_ROW, "no list tgt_results; fix the line")
    found: list[Any] = row["tgt_results"]
    return found


def _graded(value: Any) -> tuple[str, int]:
    try:
        document, grade = value
        return str(document), int(grade)
    except (TypeError, ValueError):
        raise BadRow(BROKEN_ROW, f"{value!r} is no pair of document and grade; fix the line") from None
