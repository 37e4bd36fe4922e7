"""What crosses processes: a chunk (plain data, one part of a source that is read alone), and what reading one gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypedDict

import pyarrow as pa

Kind = Literal["bitext", "text"]
"""What the rows of a corpus are: English sentences with their translations, or text of one language alone."""
Format = Literal["moses", "tsv", "csv", "jsonl", "tmx", "parquet", "arrow", "catalogs", "text"]
OnBadRow = Literal["refuse", "skip"]
UnknownLanguages = Literal["refuse", "skip"]
Column = str | int
"""A name (dotted inside a struct or JSON object), or a 0-based place where a file has no header."""

BATCH_ROWS = 16384
"""Rows that are in memory at a time."""

CHUNK_BYTES = 32 << 20
"""Bytes of a splittable file that one task reads."""


class Target(TypedDict):
    """One foreign column of a file; of text alone: its text."""

    column: Column
    """Empty where the format has no columns (Moses, TMX, catalogs, text)."""
    code: str | None
    """The language as the source writes it; None: every row says its own."""
    tag: str | None
    """Canonical, with `code`."""


class Layout(TypedDict):
    """Where a row's parts stand."""

    english: Column | None
    """None: text alone."""
    targets: list[Target]
    """One for each foreign column. For TMX empty: every language in the file."""
    lang_column: Column | None
    """The foreign language of a row."""
    source_lang_column: Column | None
    """The language of a row's source side, which must be English."""
    header: bool
    """TSV and CSV: the first line names the columns."""
    width: int
    """TSV and CSV: columns of every line; 0 elsewhere."""
    names: list[str]
    """Columns by place, where the format has them by place; as said in messages."""


class Chunk(TypedDict):
    """Everything needed to read one part of a source alone."""

    order: int
    """Number of the chunk: of two rows with the same English the one of the earlier chunk wins, then the earlier row."""
    format: Format
    source: str
    """Name that licences are kept under."""
    paths: list[str]
    """Absolute, or a URI. Moses: the English half, then the foreign one. Otherwise one."""
    labels: list[str]
    """The same as the user wrote them, for messages."""
    layout: Layout
    spans: list[tuple[int, int]] | None
    """Bytes [start, end) of each path, cut at row ends; None: whole files."""
    first_line: int | None
    """1-based number of the chunk's first line; None: counted when a message needs it."""
    row_groups: tuple[int, int] | None
    """Parquet: [start, stop)."""
    unknown_languages: UnknownLanguages


@dataclass(frozen=True, slots=True)
class RawBatch:
    """Up to BATCH_ROWS rows of one language as the source has them; a null counts as an empty string."""

    tag: str
    """Canonical."""
    code: str
    """As the source writes it."""
    source: str
    english: pa.StringArray | None
    """Valid UTF-8, no nulls, [rows]; None: text alone."""
    text: pa.StringArray
    """The foreign side, or the text, likewise."""
    first_row: int
    """Rows that this chunk gave before this batch, of any language: a place in the chunk that is unique and grows in reading order."""
