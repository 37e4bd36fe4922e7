"""Parquet files and Arrow IPC files (what Hugging Face `save_to_disk` writes): columns of any string type, also inside a struct."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from optical_ray.data.reading.chunks import BATCH_ROWS, Chunk, Column, Layout
from optical_ray.data.reading.places import open_file, reason
from optical_ray.data.reading.rows import Rows, as_strings, is_text, keep, report_undecodable, rows_of, used_columns
from optical_ray.data.reading.tally import BadRows
from optical_ray.errors import DataError

CORRUPT = "corrupt row group"
"""Kind of bad row."""

_MEND = "copy or write the file again"
_STREAM_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_OLD_STREAM_END = bytes(4)
"""Of Arrow before 0.15, whose messages begin without ff ff ff ff."""
_DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


class DamagedFile(DataError):
    """A file that cannot be opened as what it is: `label: what was found; what to do`."""


@contextmanager
def open_parquet(path: str, label: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file, opened by itself: `lang` may be a column and a key of the path at once, which a data set refuses.

    Raises:
        DamagedFile: it is no whole Parquet file.
        DataError: it cannot be opened.
    """
    with open_file(path, label) as stream:
        try:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
        except _DAMAGE as error:
            raise DamagedFile(f"{label}: not a readable Parquet file ({reason(error)}); {_MEND}") from None
        yield file


def text_leaves(schema: pa.Schema, label: str, wanted: tuple[str | None, ...]) -> list[str]:
    """The string columns, those inside structs as `struct.field`; one whose name another column has too, of whatever type, more than once.

    Raises:
        DataError: a column that the user named is there, and is no string.
    """
    leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type)]
    for name, kind in leaves:
        if name in wanted and not is_text(kind):
            raise DataError(f"{label}: column {name!r} is {kind}, expected strings")
    texts, tops = [name for name, kind in leaves if is_text(kind)], Counter(schema.names)
    return texts + [name for name in texts if tops[name if name in tops else name.partition(".")[0]] > 1]


def _leaves(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    if pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type)
    else:
        yield name, kind


def read_parquet(chunk: Chunk, bad: BadRows) -> Iterator[Rows]:
    """The rows of a chunk's row groups.

    Raises:
        DataError: it cannot be opened or, `refuse`, has a row group that cannot be read or a string that is not UTF-8.
    """
    label = chunk["labels"][0]
    assert chunk["row_groups"] is not None, "Parquet is planned by row groups"
    columns = [str(column) for column in used_columns(chunk["layout"])]
    with open_parquet(chunk["paths"][0], label) as file:
        for group in range(*chunk["row_groups"]):
            done = 0
            try:
                for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                    yield _rows(batch, chunk["layout"], _places(f"{label}, row group {group}, row ", done), bad)
                    done += len(batch)
            except _DAMAGE as error:
                lost = file.metadata.row_group(group).num_rows - done
                bad.add(CORRUPT, f"{label}, row group {group}", f"cannot be read ({reason(error)})", _MEND, lost)


@contextmanager
def open_arrow(path: str, label: str) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
    """Schema and record batches of an Arrow IPC stream or file.

    Raises:
        DamagedFile: it is neither.
        DataError: it cannot be opened.
    """
    with open_file(path, label) as stream:
        start = stream.read(6)
        is_file = start == b"ARROW1"
        end = _STREAM_END if start.startswith(_STREAM_END[:4]) else _OLD_STREAM_END
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - len(end)))
        is_ended = stream.read() == end
        stream.seek(0)
        try:
            reader = pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)
        except _DAMAGE as error:
            raise DamagedFile(f"{label}: not a readable Arrow file ({reason(error)}); {_MEND}") from None
        yield (
            reader.schema,
            (reader.get_batch(index) for index in range(reader.num_record_batches))
            if is_file
            else _stream(reader, is_ended, lambda: size - stream.tell()),
        )


def _stream(reader: Any, is_ended: bool, left: Callable[[], int]) -> Iterator[pa.RecordBatch]:
    """The batches; pyarrow takes a stream that stops between two of them for whole, and does not look at what comes behind its end."""
    yield from reader
    if not is_ended:
        raise OSError("the mark at the end of the stream is missing")
    if left():
        raise OSError(f"{left()} bytes stand behind the end of the stream")


def read_arrow(chunk: Chunk, bad: BadRows) -> Iterator[Rows]:
    """The rows of an Arrow IPC file.

    Raises:
        DataError: it cannot be opened or, `refuse`, is cut short, or has a string that is not UTF-8.
    """
    label, done = chunk["labels"][0], 0
    with open_arrow(chunk["paths"][0], label) as (_, batches):
        try:
            for batch in batches:
                for start in range(0, len(batch), BATCH_ROWS):
                    part = batch.slice(start, BATCH_ROWS)
                    yield _rows(part, chunk["layout"], _places(f"{label}, row ", done), bad)
                    done += len(part)
        except _DAMAGE as error:
            bad.add("damaged file", f"{label}, after row {done}", f"damaged or cut short ({reason(error)})", _MEND)


def _places(prefix: str, first: int) -> Callable[[int], str]:
    return lambda row: f"{prefix}{first + row + 1}"


def _rows(batch: pa.RecordBatch, layout: Layout, where: Callable[[int], str], bad: BadRows) -> Rows:
    good = np.ones(len(batch), bool)

    def strings(column: Column) -> pa.StringArray:
        values, undecodable = as_strings(_leaf(batch, str(column)))
        new = [line for line in undecodable if good[line.at]]  # a row is bad once
        report_undecodable(new, lambda at: f"{where(at)}, column {column}", bad)
        good[[line.at for line in new]] = False
        return values

    columns = used_columns(layout)
    kept = keep([strings(column) for column in columns], good)
    places = np.flatnonzero(good)
    return rows_of(layout, dict(zip(columns, kept, strict=True)), lambda row: where(int(places[row])))


def _leaf(batch: pa.RecordBatch, name: str) -> pa.Array:
    if name in batch.schema.names:
        return batch.column(name)
    top, *path = name.split(".")
    return pc.struct_field(batch.column(top), path)
