"""Where documents are stored: files of lines or of other records, Parquet files; each document has a place that reading can go on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.lines import BadRow, open_bytes, raw_lines

_FILE = 44
"""A place is a file's number times 2**44 (17 TB), plus the byte or row where a document begins in it."""
_BATCH_ROWS = 4096


class Document(NamedTuple):
    """One candidate."""

    id: str
    language: str
    """Canonical tag."""
    text: str


class Record(NamedTuple):
    """What stands at one place."""

    place: int
    number: int
    """From 1, counted from where reading began in this file."""
    found: Document | BadRow


class DocumentFiles(Protocol):
    """Where documents are stored, and how they are read. Picklable."""

    @property
    def unit(self) -> str:
        """What `Record.number` counts: line, row, document."""

    def label(self, place: int) -> str:
        """The file of a place, for messages."""

    def records(self, start: int = 0) -> Iterator[Record]:
        """All from a place on, in order."""


@dataclass(frozen=True, slots=True)
class LineFiles:
    """Documents in files of lines (or of other records that are found by their bytes)."""

    paths: tuple[Path, ...]
    parse: Callable[[bytes], Document]
    """Raises BadRow."""
    cut: Callable[[IO[bytes], int], Iterator[tuple[int, bytes]]] = raw_lines
    """(byte it begins at, record) from a byte on."""
    unit: str = "line"

    def label(self, place: int) -> str:
        """As `DocumentFiles.label`."""
        return str(self.paths[place >> _FILE])

    def records(self, start: int = 0) -> Iterator[Record]:
        """As `DocumentFiles.records`."""
        first, offset = start >> _FILE, start & ((1 << _FILE) - 1)
        for index in range(first, len(self.paths)):
            path = self.paths[index]
            with open_bytes(path) as stream:
                for number, (at, raw) in enumerate(self.cut(stream, offset if index == first else 0), start=1):
                    if raw.strip():
                        yield Record(index << _FILE | at, number, self._parse(raw))

    def _parse(self, raw: bytes) -> Document | BadRow:
        try:
            return self.parse(raw)
        except BadRow as bad:
            return bad


@dataclass(frozen=True, slots=True)
class ParquetFiles:
    """Documents in Parquet files, one a row."""

    paths: tuple[Path, ...]
    columns: tuple[str, ...]
    parse: Callable[[dict[str, Any]], Document]
    """Of the values of `columns`. Raises BadRow."""
    unit: str = "row"

    def label(self, place: int) -> str:
        """As `DocumentFiles.label`."""
        return str(self.paths[place >> _FILE])

    def records(self, start: int = 0) -> Iterator[Record]:
        """As `DocumentFiles.records`."""
        first, skip = start >> _FILE, start & ((1 << _FILE) - 1)
        for index in range(first, len(self.paths)):
            path = self.paths[index]
            try:
                yield from self._file(path, index << _FILE, skip if index == first else 0)
            except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
                raise DataError(f"{path}: cannot be read as Parquet ({str(error).partition(chr(10))[0]}); copy the file again") from None

    def _file(self, path: Path, place: int, skip: int) -> Iterator[Record]:
        with pq.ParquetFile(path) as file:
            row = 0
            for group in range(file.num_row_groups):
                held = file.metadata.row_group(group).num_rows
                if row + held <= skip:
                    row += held
                    continue
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=list(self.columns)):
                    values = [batch.column(name).to_pylist() for name in self.columns]
                    for each in zip(*values, strict=True):
                        if row >= skip:
                            yield Record(place | row, row + 1, self._parse(dict(zip(self.columns, each, strict=True))))
                        row += 1

    def _parse(self, row: dict[str, Any]) -> Document | BadRow:
        try:
            return self.parse(row)
        except BadRow as bad:
            return bad
