"""The formats. Each reader goes through its files line by line and hands what it finds to a sink, which keeps no text."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.data.reading.lines import LineNumbers, read_lines
from optical_ray.data.reading.naming import split_name
from optical_ray.data.reading.places import FoundFile, reason
from optical_ray.data.reading.rows import report_undecodable
from optical_ray.data.reading.tally import BadRows
from optical_ray.data.relevance.rows import Judged, RowError, is_column, join_title, parse_row
from optical_ray.data.relevance.spec import RelevanceSource
from optical_ray.errors import DataError

IDS = {
    "documents": ("doc_id", "_id", "id", "docid", "corpus-id", "pid"),
    "queries": ("query_id", "_id", "id", "query-id", "qid"),
}
JUDGED = (("query_id", "query-id", "qid"), ("doc_id", "corpus-id", "docid", "pid"), ("relevance", "score", "rel"))
_BATCH_ROWS = 4096
_FIRST_LINES = 100
"""Of triples: the most common number of their columns is that of all lines."""


class Sink(Protocol):
    """Where rows go. All raise RowError."""

    def find(self, text: str) -> int | None:
        """The number of a document, if it is kept."""

    def document(self, text: str) -> int:
        """Keep a document; the number that it has from now on."""

    def add(self, judged: Judged) -> None:
        """Keep a query and its texts."""

    def judge(self, query: str, positives: Sequence[int], negatives: Sequence[int]) -> None:
        """Keep judgements of documents that are kept."""


def read_source(source: RelevanceSource, sink: Sink, bad: BadRows) -> None:
    """Hand all rows of a source to the sink.

    Raises:
        DataError: a file cannot be opened or lacks a column; and with `refuse`, for the first bad row.
    """
    if source.format == "jsonl":
        for file in source.files["rows"]:
            for where, row in _json_rows(file, bad):
                with _told(where, bad):
                    sink.add(parse_row(row, source.spec.query, source.spec.title == "yes"))
    elif source.format == "triples":
        for file in source.files["rows"]:
            _read_triples(file, sink, bad)
    elif "rows" in source.files:
        for file in source.files["rows"]:
            for where, row in _table_rows(file):
                with _told(where, bad):
                    sink.add(parse_row(row, source.spec.query, source.spec.title == "yes"))
    else:
        _read_collection(source, sink, bad)


@contextmanager
def _told(where: Callable[[], str], bad: BadRows) -> Iterator[None]:
    try:
        yield
    except RowError as error:
        bad.add(error.kind, where(), error.found, error.mend)


def _lines(file: FoundFile, bad: BadRows) -> Iterator[tuple[Callable[[], str], str]]:
    """(where, text) of the lines of a file that are not blank."""
    numbers = LineNumbers(file.label, file.path, 0, 1)
    for lines in read_lines(file.path, file.label, split_name(file.name).compression, None, numbers, bad):
        report_undecodable(lines.undecodable, numbers.after(lines.first), bad)
        for place, text in enumerate(lines.texts.to_pylist(), start=lines.first):
            if text.strip():
                yield (lambda place=place: numbers.where(place)), text  # type: ignore[misc]


def _json_rows(file: FoundFile, bad: BadRows) -> Iterator[tuple[Callable[[], str], Any]]:
    for where, text in _lines(file, bad):
        try:
            row = json.loads(text)
            text.encode()
        except (ValueError, RecursionError) as error:
            bad.add("broken JSON", where(), f"not JSON ({str(error) or type(error).__name__})", "fix the line")
            continue
        yield where, row


def _table_rows(file: FoundFile) -> Iterator[tuple[Callable[[], str], dict[str, Any]]]:
    """Rows of a Parquet file, numbered from 1."""
    place = 0
    with _readable(file):
        table = pq.ParquetFile(file.path)
        for batch in table.iter_batches(_BATCH_ROWS):
            for row in batch.to_pylist():
                place += 1
                yield (lambda place=place: f"{file.label}, row {place}"), row  # type: ignore[misc]


@contextmanager
def _readable(file: FoundFile) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file.label}: cannot be read as Parquet ({reason(error)}); copy the file again") from None


def _read_triples(file: FoundFile, sink: Sink, bad: BadRows) -> None:
    """Lines of query, relevant text and any number of others, as many in each line; a first line of known names is a header."""
    lines = _lines(file, bad)
    head = list(islice(lines, _FIRST_LINES))
    if head and "\t" in head[0][1] and all(map(is_column, head[0][1].split("\t"))):
        del head[0]
    widths = Counter(text.count("\t") + 1 for _, text in head if "\t" in text)
    columns = widths.most_common(1)[0][0] if widths else 2
    for where, text in chain(head, lines):
        fields = text.split("\t")
        with _told(where, bad):
            if len(fields) != columns:
                expected = "query<TAB>relevant text[<TAB>other text...], as many columns in every line"
                raise RowError("wrong columns", f"{len(fields)} columns, expected {columns} ({expected})", "fix the line")
            sink.add(Judged(fields[0], [fields[1]], fields[2:]))


# ---- documents, queries and judgements in files of their own


def _read_collection(source: RelevanceSource, sink: Sink, bad: BadRows) -> None:
    [documents], [queries], [judged] = (source.files[part] for part in ("documents", "queries", "judged"))
    number: dict[str, int] = {}
    for where, identity, text in _texts(source, documents, "documents", bad):
        if isinstance(text, str) and not text.strip() and identity not in number:
            continue  # collections have empty passages; a judgement that names one is told of
        with _told(where, bad):
            if identity not in number:
                number[identity] = sink.document(_string(text))
            elif sink.find(_string(text)) != number[identity]:
                raise _repeated(identity)
    asked: dict[str, str] = {}
    for where, identity, text in _texts(source, queries, "queries", bad):
        with _told(where, bad):
            if asked.setdefault(identity, _string(text)).strip() != text.strip():
                raise _repeated(identity)

    def look_up(known: dict[str, Any], identity: str, what: str, file: FoundFile) -> Any:
        if identity not in known:
            raise RowError(f"unknown {what}", f"names {what} {identity!r}, which {file.label} does not hold, or holds empty")
        return known[identity]

    for where, query, positive, negative in _judgements(source, judged, bad):
        with _told(where, bad):
            text = look_up(asked, query, "query", queries)
            rows = [[look_up(number, one, "document", documents)] if one else [] for one in (positive, negative)]
            sink.judge(text, rows[0], rows[1])


def _repeated(identity: str) -> RowError:
    return RowError("repeated id", f"id {identity!r} again, with another text; expected one text of each id", "take one of them out")


def _string(text: Any) -> str:
    if not isinstance(text, str):
        raise RowError("wrong type", f"its text is {type(text).__name__}, expected a string")
    return text


def _texts(source: RelevanceSource, file: FoundFile, part: str, bad: BadRows) -> Iterator[tuple[Callable[[], str], str, Any]]:
    """(where, id, text) of documents or queries."""
    if source.format == "msmarco":
        for where, line in _lines(file, bad):
            identity, tab, text = line.partition("\t")
            if not tab:
                bad.add("wrong columns", where(), "1 column, expected 2 (id<TAB>text)", "fix the line")
                continue
            yield where, identity, text
        return
    rows = _json_rows(file, bad) if source.format == "beir" else _table_rows(file)
    key = (source.spec.query if part == "queries" else None) or "text"
    for where, row in rows:
        named = next((row[name] for name in IDS[part] if row.get(name) is not None), None) if isinstance(row, dict) else None
        if named is None or key not in row:
            found = ", ".join(row) if isinstance(row, dict) else type(row).__name__
            bad.add("missing key", where(), f"has {found}; expected {' or '.join(IDS[part][:3])}, and {key}", "fix the row, or say query=")
            continue
        title = row.get("title") if part == "documents" and source.spec.title == "yes" else None
        yield where, str(named), join_title(title, row[key])


def _judgements(source: RelevanceSource, file: FoundFile, bad: BadRows) -> Iterator[tuple[Callable[[], str], str, str, str]]:
    """(where, query id, id of a relevant document or "", id of another or "")."""
    if source.format == "parquet":
        names = _judged_columns(file)
        for where, row in _table_rows(file):
            query, document, relevance = (1 if name is None else row[name] for name in names)
            if query is None or document is None or relevance is None or math.isnan(relevance):
                missing = next(name for name in names if name and (row[name] is None or row[name] != row[name]))
                bad.add("missing value", where(), f"its {missing} is {row[missing]}, expected a value", "fix the row")
                continue
            relevant = relevance > 0
            yield where, str(query), str(document) if relevant else "", "" if relevant else str(document)
        return
    triples, first = "triples" in file.name.lower(), True
    for where, line in _lines(file, bad):
        fields = line.split("\t") if "\t" in line else line.split()
        header, first = first and fields[0] in ("query-id", "query_id", "qid"), False
        if header:
            continue
        if triples and len(fields) == 3:
            yield where, fields[0], fields[1], fields[2]
            continue
        if not triples and len(fields) == 4:  # TREC: query, iteration, document, relevance
            fields = [fields[0], *fields[2:]]
        if len(fields) != 3 or triples or not fields[2].strip().lstrip("-").isdigit():
            expected = "query id, relevant id, other id" if triples else "query id, document id, a whole number"
            bad.add("wrong columns", where(), f"{len(fields)} columns ({line[:60]!r}), expected 3 ({expected})", "fix the line")
            continue
        relevant = int(fields[2]) > 0
        yield where, fields[0], fields[1] if relevant else "", "" if relevant else fields[1]


def _judged_columns(file: FoundFile) -> list[str | None]:
    """Columns of query, document and relevance in a Parquet file; None: it has no relevance, so all are relevant."""
    with _readable(file):
        schema = pq.read_schema(file.path)
    names = [next((name for name in keys if name in schema.names), None) for keys in JUDGED]
    if names[0] is None or names[1] is None:
        raise DataError(f"{file.label}: has {', '.join(schema.names)}; expected query_id, doc_id and relevance")
    if names[2] is not None:
        kind = schema.field(names[2]).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_boolean(kind)):
            raise DataError(f"{file.label}: column {names[2]} is {kind}, expected a number; cast it to int32")
    return names
