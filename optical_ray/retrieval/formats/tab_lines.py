"""What lines of columns hold: documents, queries, judgements of TREC, MS MARCO, BEIR and Wikipedia collections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from optical_ray.data.relevance.rows import join_title
from optical_ray.retrieval.formats.assemble import Asked, Judgement
from optical_ray.retrieval.formats.lines import BadRow, decode_text, parse_object, read_lines, read_objects, string_field
from optical_ray.retrieval.formats.records import Document
from optical_ray.retrieval.formats.skips import BROKEN_ROW, Skips

TEXT_KEYS = ("text", "contents", "body")
DOCUMENT_IDS = ("_id", "doc_id", "docid", "id")
QUERY_IDS = ("_id", "query_id", "qid", "id", "topic_id")


@dataclass(frozen=True, slots=True)
class TabDocument:
    """A document of a line `id<TAB>text` or `id<TAB>title<TAB>text`."""

    language: str
    """Canonical tag."""
    columns: int = 2
    """2 or 3."""
    encoding: str = "utf-8"

    def __call__(self, raw: bytes) -> Document:
        """Raises BadRow."""
        fields = decode_text(raw, self.encoding).split("\t")
        if len(fields) != self.columns:
            expected = "id<TAB>text" if self.columns == 2 else "id<TAB>title<TAB>text"
            raise BadRow(BROKEN_ROW, f"{len(fields)} columns, expected {self.columns} ({expected}); fix the line")
        return Document(fields[0], self.language, fields[1] if self.columns == 2 else join_title(fields[1], fields[2]))


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """A document of a JSON object: id, perhaps a title, text (BEIR, HC4, NeuCLIR, Pyserini)."""

    language: str
    """Canonical tag."""

    def __call__(self, raw: bytes) -> Document:
        """Raises BadRow."""
        row = parse_object(decode_text(raw))
        title = None if row.get("title") is None else string_field(row, "title")
        return Document(string_field(row, *DOCUMENT_IDS), self.language, join_title(title, string_field(row, *TEXT_KEYS)))


def tab_queries(path: Path, tag: str, skips: Skips, columns: int = 2, encoding: str = "utf-8") -> Iterator[Asked]:
    """Queries of lines whose first column is the id and whose last is the text."""
    for line in read_lines(path, skips, encoding):
        fields = line.text.split("\t")
        if len(fields) != columns:
            expected = "id<TAB>text" if columns == 2 else "id<TAB>title<TAB>text"
            skips.bad(BROKEN_ROW, f"{path}, line {line.number}: {len(fields)} columns, expected {columns} ({expected}); fix the line")
            continue
        yield Asked(fields[0], fields[-1], tag, fields[0], f"{path}, line {line.number}")


def json_queries(path: Path, tag: str, skips: Skips) -> Iterator[Asked]:
    """Queries of JSON objects with an id and a text (BEIR)."""
    for number, row in read_objects(path, skips):
        try:
            identity, text = string_field(row, *QUERY_IDS), string_field(row, "text", "query")
        except BadRow as bad:
            skips.bad(bad.reason, f"{path}, line {number}: {bad.found}")
            continue
        yield Asked(identity, text, tag, identity, f"{path}, line {number}")


def judgement_lines(path: Path, skips: Skips) -> Iterator[Judgement]:
    """Judgements of TREC (query, iteration, document, grade) or of three columns (query, document, grade); a header line is passed over.

    Columns are parted by tabs where the line has one, else by spaces.
    """
    for line in read_lines(path, skips):
        fields = [field.strip() for field in line.text.split("\t")] if "\t" in line.text else line.text.split()
        is_header = line.number == 1 and len(fields) == 3 and fields[0].lower().startswith("q") and not _is_number(fields[2])
        if len(fields) == 4:
            fields = [fields[0], *fields[2:]]
        grade = fields[-1].removeprefix("-")
        if len(fields) == 3 and grade.isascii() and grade.isdigit():
            yield Judgement(line.number, fields[0], fields[1], int(fields[2]))
        elif not is_header:
            expected = "query [iteration] document grade, the grade a whole number"
            skips.bad(BROKEN_ROW, f"{path}, line {line.number}: found {line.text[:60]!r}, expected {expected}; fix the line")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
