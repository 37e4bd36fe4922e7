"""Parquet tables of queries, documents and judgements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.data.relevance.readers import IDS, JUDGED
from optical_ray.data.relevance.rows import join_title
from optical_ray.errors import DataError
from optical_ray.languages.codes import ENGLISH, canonical_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import (
    Asked,
    Judgement,
    build_collection,
    gather_grades,
    gather_queries,
    read_tag,
    wanted_tags,
)
from optical_ray.retrieval.formats.downloads import missing
from optical_ray.retrieval.formats.lines import BadRow, string_field
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.records import Document, ParquetFiles
from optical_ray.retrieval.formats.skips import BROKEN_ROW, Skips
from optical_ray.retrieval.formats.stored import StoredOpener

LANGUAGE = ("lang", "language")
CLUSTER = ("cluster", "xling_id", "source_doc")
SPLITS = {"valid": frozenset({"valid", "validation", "dev"}), "test": frozenset({"test"})}
"""What a column `split` of the queries calls them."""


@dataclass(frozen=True, slots=True)
class RowParser:
    """A document of a row."""

    id: str
    texts: tuple[str | None, str | None]
    """Columns that `join` joins; one may be missing."""
    join: Callable[[Any, Any], str]
    language: str | None
    """Column; None: `default`."""
    default: str
    """Canonical tag."""

    def __call__(self, row: dict[str, Any]) -> Document:
        """Raises BadRow."""
        first, second = (None if column is None or row[column] is None else string_field(row, column) for column in self.texts)
        tag = self.default if self.language is None else read_tag(string_field(row, self.language))
        return Document(string_field(row, self.id), tag, self.join(first, second) or "")


def read_tables(
    task: str,
    path: Path,
    options: FormatOptions,
    texts: tuple[str, str] = ("title", "text"),
    join: Callable[[Any, Any], str] = join_title,
) -> Iterator[Collection]:
    """One collection of queries.parquet, corpus.parquet (or parts in a folder corpus/) and qrels.parquet.

    Args:
        task: As `Collection.task`.
        path: Folder.
        options: Languages of the queries, split, limits.
        texts: Columns of the corpus that make up a document.
        join: What it is made of them; of columns that are missing or null, None.

    Raises:
        DataError: a table is missing, lacks a column or, `refuse`, has a bad row.
    """
    queries, corpus, judged = (path / f"{name}.parquet" for name in ("queries", "corpus", "qrels"))
    parts = (corpus,) if corpus.is_file() else tuple(sorted((path / "corpus").glob("*.parquet")))
    for file in (queries, corpus, judged):
        if not (parts if file is corpus else file.is_file()):
            raise missing(task, file, "no such file")
    skips = Skips(options.on_bad)
    others: set[str] = set()
    questions = gather_queries(_queries(queries, options, others, skips), str(queries), skips, wanted_tags(options))
    questions.seen.update(others)
    grades = gather_grades(_judgements(judged, skips), questions, str(judged), "row", skips)
    names = _names(parts[0])
    has = [column if column in names else None for column in texts]
    parser = RowParser(
        _column(parts[0], names, IDS["documents"]),
        (has[0], has[1]),
        join,
        next((column for column in LANGUAGE if column in names), None),
        canonical_tag(options.document_language or ENGLISH),
    )
    if texts[1] not in names and texts[0] not in names:
        _column(parts[0], names, (texts[1],))
    columns = tuple(column for column in (parser.id, *parser.texts, parser.language) if column is not None)
    files = ParquetFiles(parts, tuple(dict.fromkeys(columns)), parser)
    yield build_collection(task, path.name, options, questions, grades, StoredOpener(files, options.max_documents).open, str(judged), skips)


def _queries(path: Path, options: FormatOptions, others: set[str], skips: Skips) -> Iterator[Asked]:
    """Queries of the split; ids of other splits, and of unknown languages where some are named, go to `others`."""
    names = _names(path)
    identity = _column(path, names, IDS["queries"])
    text, default = _column(path, names, ("text", "query")), canonical_tag(options.query_language or ENGLISH)
    language, cluster = (next((column for column in columns if column in names), None) for columns in (LANGUAGE, CLUSTER))
    splits = set()
    for number, row in _rows(path):
        if row.get("split") is not None:
            splits.add(row["split"])
            if row["split"] not in SPLITS[options.split]:
                others.add(str(row[identity]))
                continue
        try:
            own = string_field(row, identity)
            tag = default if language is None else _tag(string_field(row, language), options)
            if tag is None:
                others.add(own)
                continue
            said = "" if row[text] is None else string_field(row, text)
            yield Asked(own, said, tag, own if cluster is None else string_field(row, cluster), f"{path}, row {number}")
        except BadRow as bad:
            skips.bad(bad.reason, f"{path}, row {number}: {bad.found}")
    if splits and not splits & SPLITS[options.split]:
        have = ", ".join(map(str, sorted(splits)))
        fitting = [name for name, spellings in SPLITS.items() if splits & spellings]
        advice = f"ask for --split {fitting[0]}" if fitting else f"expected {' or '.join(SPLITS)}, as --split names them"
        raise DataError(f"{path}: no query of the {options.split} split; its column split has {have}; {advice}")


def _tag(code: str, options: FormatOptions) -> str | None:
    try:
        return read_tag(code)
    except BadRow:
        if not options.languages:
            raise
        return None


def _judgements(path: Path, skips: Skips) -> Iterator[Judgement]:
    names = _names(path)
    query, document = (_column(path, names, columns) for columns in JUDGED[:2])
    grade = next((column for column in JUDGED[2] if column in names), None)
    for number, row in _rows(path):
        try:
            value = 1 if grade is None else row[grade]
            if value is None or value != int(value):
                raise BadRow(BROKEN_ROW, f"its {grade} is {value}, expected a whole number; fix it")
            yield Judgement(number, string_field(row, query), string_field(row, document), int(value))
        except BadRow as bad:
            skips.bad(bad.reason, f"{path}, row {number}: {bad.found}")
        except (TypeError, ValueError, OverflowError):
            skips.bad(BROKEN_ROW, f"{path}, row {number}: its {grade} is {row[grade or '']!r}, expected a whole number; fix it")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _readable(path):
        rows = pq.ParquetFile(path).read().to_pylist()
    yield from enumerate(rows, start=1)


def _names(path: Path) -> list[str]:
    with _readable(path):
        names: list[str] = pq.read_schema(path).names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: has more than one column {', '.join(twice)}; expected one of each; rename the others")
    return names


def _column(path: Path, names: list[str], usual: tuple[str, ...]) -> str:
    found = next((name for name in usual if name in names), None)
    if found is None:
        raise DataError(f"{path}: has columns {', '.join(names)}; expected {' or '.join(usual)}; rename one")
    return found


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({str(error).partition(chr(10))[0]}); copy the file again") from None
