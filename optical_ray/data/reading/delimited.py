"""TSV (a tab always separates, quotes are letters) and CSV (RFC 4180). A blank line holds no row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optical_ray.data.reading.chunks import BATCH_ROWS, Chunk, Layout
from optical_ray.data.reading.lines import MAX_LINE_BYTES, LineNumbers, Lines, read_lines
from optical_ray.data.reading.naming import split_name
from optical_ray.data.reading.rows import Rows, report_undecodable, rows_of, used_columns
from optical_ray.data.reading.tally import BadRows

COLUMNS = "number of columns"
QUOTES = "broken quotes"
"""Kinds of bad row."""


def read_tsv(chunk: Chunk, bad: BadRows) -> Iterator[Rows]:
    """The rows of a chunk of a TSV file.

    Raises:
        DataError: it cannot be opened or, `refuse`, has a line that is not UTF-8 or of another number of columns.
    """
    layout, numbers = chunk["layout"], _numbers(chunk)
    for lines in _lines(chunk, numbers, bad):
        report_undecodable(lines.undecodable, numbers.after(lines.first), bad)
        texts, at = lines.texts, np.arange(len(lines.texts))
        good = np.array(pc.binary_length(texts)) > 0
        if layout["header"] and _is_top(chunk) and lines.first == 0 and good.any():
            good[good.argmax()] = False  # the header is the first line that is not blank
        if not good.all():  # blank or not UTF-8: neither has columns to count
            texts, at = texts.filter(pa.array(good)), at[good]
        fields = pc.split_pattern(texts, "\t")
        widths = np.asarray(pc.list_value_length(fields))
        good = widths == layout["width"]
        if not good.all():
            where = numbers.after(lines.first)
            for row in np.flatnonzero(~good):
                _report_width(int(widths[row]), layout, where(int(at[row])), "<TAB>", bad)
            fields, at = fields.filter(pa.array(good)), at[good]
        flat, starts = fields.flatten(), np.arange(len(fields)) * layout["width"]
        columns = {column: flat.take(pa.array(starts + int(column))) for column in used_columns(layout)}
        yield rows_of(layout, columns, numbers.of(at + lines.first))


def open_csv(lines: Iterable[str], strict: bool = False) -> Any:
    """The standard library's reader, with fields as long as lines may be: what is too long is cleaning's business."""
    csv.field_size_limit(MAX_LINE_BYTES)
    return csv.reader(lines, strict=strict)


def read_csv(chunk: Chunk, bad: BadRows) -> Iterator[Rows]:
    """The rows of a chunk of a CSV file; a quoted field may hold line ends.

    Raises:
        DataError: as `read_tsv`, or with quotes that do not close.
    """
    layout, numbers = chunk["layout"], _numbers(chunk)
    reader = open_csv(_feed(chunk, numbers, bad), strict=True)
    if layout["header"] and _is_top(chunk):
        next((record for record in reader if record), None)
    records: list[list[str]] = []
    places: list[int] = []
    while True:
        try:
            for record in reader:
                if len(record) == layout["width"]:
                    records.append(record)
                    places.append(reader.line_num - 1)
                    if len(records) == BATCH_ROWS:
                        break
                elif record:
                    _report_width(len(record), layout, numbers.where(reader.line_num - 1), ",", bad)
            else:
                break
        except csv.Error as error:
            bad.add(QUOTES, numbers.where(reader.line_num - 1), f"not CSV ({error})", 'close the quotes and double those inside ("")')
            continue
        yield _rows_of_records(layout, records, numbers, places)
        records, places = [], []
    if records:
        yield _rows_of_records(layout, records, numbers, places)


def _rows_of_records(layout: Layout, records: list[list[str]], numbers: LineNumbers, places: list[int]) -> Rows:
    columns = {column: pa.array([record[int(column)] for record in records], pa.string()) for column in used_columns(layout)}
    return rows_of(layout, columns, numbers.of(places))


def _feed(chunk: Chunk, numbers: LineNumbers, bad: BadRows) -> Iterator[str]:
    for lines in _lines(chunk, numbers, bad):
        report_undecodable(lines.undecodable, numbers.after(lines.first), bad)
        for text in lines.texts.to_pylist():
            yield f"{text}\n"


def _lines(chunk: Chunk, numbers: LineNumbers, bad: BadRows) -> Iterator[Lines]:
    span = chunk["spans"][0] if chunk["spans"] else None
    return read_lines(chunk["paths"][0], chunk["labels"][0], split_name(chunk["paths"][0]).compression, span, numbers, bad)


def _numbers(chunk: Chunk) -> LineNumbers:
    start = chunk["spans"][0][0] if chunk["spans"] else 0
    return LineNumbers(chunk["labels"][0], chunk["paths"][0], start, chunk["first_line"])


def _is_top(chunk: Chunk) -> bool:
    return chunk["spans"] is None or chunk["spans"][0][0] == 0


def _report_width(found: int, layout: Layout, where: str, separator: str, bad: BadRows) -> None:
    pair = layout["width"] == 2 and layout["english"] is not None
    columns = separator.join(layout["names"]) if layout["header"] else f"english{separator}text" if pair else "as in line 1"
    bad.add(COLUMNS, where, f"{found} column{'s' * (found != 1)}, expected {layout['width']} ({columns})", "fix the line")
