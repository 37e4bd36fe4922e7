"""JSON lines: one object a line, its texts under keys that may be dotted (`translation.sw`)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from optical_ray.data.reading.chunks import Chunk
from optical_ray.data.reading.lines import LineNumbers, read_lines
from optical_ray.data.reading.naming import split_name
from optical_ray.data.reading.rows import Rows, report_undecodable, rows_of, used_columns
from optical_ray.data.reading.spec import printable
from optical_ray.data.reading.tally import BadRows

JSON = "broken JSON"
KEYS = "missing key"
TYPES = "not a string"
"""Kinds of bad row."""

_TWO_OBJECTS = re.compile(rb"\}[ \t\r]*\{")
"""In one line; outside of a string no object has it."""


def read_jsonl(chunk: Chunk, bad: BadRows) -> Iterator[Rows]:
    """The rows of a chunk of a JSONL file; a null is an empty string, a blank line no row.

    Raises:
        DataError: it cannot be opened or, `refuse`, has a line that is not UTF-8, not an object, without a key or with another type there.
    """
    layout = chunk["layout"]
    span = chunk["spans"][0] if chunk["spans"] else None
    path, label = chunk["paths"][0], chunk["labels"][0]
    numbers = LineNumbers(label, path, span[0] if span else 0, chunk["first_line"])
    keys = [str(column) for column in used_columns(layout)]
    for lines in read_lines(path, label, split_name(path).compression, span, numbers, bad):
        report_undecodable(lines.undecodable, numbers.after(lines.first), bad)
        at = np.flatnonzero(np.asarray(pc.binary_length(lines.texts)))
        texts = lines.texts if len(at) == len(lines.texts) else lines.texts.take(pa.array(at))
        columns, good = _parse_all(texts, keys), np.ones(len(texts), bool)
        if columns is None:
            columns, good = _parse_each(texts, keys, numbers.of(at + lines.first), bad)
        yield rows_of(layout, dict(zip(keys, columns, strict=True)), numbers.of((at + lines.first)[good]))


def _parse_all(lines: pa.StringArray, keys: list[str]) -> list[pa.StringArray] | None:
    """A string array for each key, by Arrow's parser, which is four times as fast as `json`; None: some line needs a closer look.

    Arrow does not tell a null from a missing key, skips what is no row of its own, and lets a line hold two, so these need one too.
    """
    joined = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")[0].as_buffer()
    if _TWO_OBJECTS.search(joined):
        return None
    one_block = pj.ReadOptions(use_threads=False, block_size=len(joined) + 1)
    only = pj.ParseOptions(explicit_schema=_schema([key.split(".") for key in keys]), unexpected_field_behavior="ignore")
    try:
        table = pj.read_json(pa.BufferReader(joined), one_block, only).combine_chunks()
    except pa.ArrowInvalid:
        return None
    if len(table) != len(lines):
        return None
    columns = []
    for key in keys:
        top, *inner = key.split(".")
        column = table.column(top).combine_chunks()
        columns.append(pc.struct_field(column, inner) if inner else column)
    return None if any(column.null_count for column in columns) else columns


def _schema(paths: list[list[str]]) -> pa.Schema:
    def kind(tails: list[list[str]]) -> pa.DataType:
        return pa.struct(fields(tails)) if any(tails) else pa.string()

    def fields(paths: list[list[str]]) -> list[pa.Field]:
        return [pa.field(top, kind([path[1:] for path in paths if path[0] == top])) for top in dict.fromkeys(path[0] for path in paths)]

    return pa.schema(fields(paths))


def _parse_each(
    lines: pa.StringArray, keys: list[str], where: Callable[[int], str], bad: BadRows
) -> tuple[list[pa.StringArray], NDArray[np.bool_]]:
    """The same line by line, and which lines are in the arrays."""
    values = [_parse(line, keys, partial(where, row), bad) for row, line in enumerate(lines.to_pylist())]
    kept = [value for value in values if value is not None]
    columns = [pa.array([value[index] or "" for value in kept], pa.string()) for index in range(len(keys))]
    return columns, np.array([value is not None for value in values], bool)


def _pick(row: Any, key: str) -> Any:
    """The value of one key. A key with a dot that an object has as it is comes before the dotted path."""
    if "." not in key or key in row:
        return row[key]
    for part in key.split("."):
        row = row[part]
    return row


def _parse(line: str, keys: list[str], where: Callable[[], str], bad: BadRows) -> list[str | None] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        bad.add(JSON, where(), f"not JSON ({str(error) or type(error).__name__})", "fix the line")
        return None
    values: list[str | None] = []
    for key in keys:
        try:
            value = _pick(row, key)
        except (KeyError, TypeError):
            found = (
                f"it has {', '.join(flat_keys(row)[:10])}" if isinstance(row, dict) else f"it is a {type(row).__name__}, expected an object"
            )
            bad.add(KEYS, where(), f"no key {key!r}; {found}", "fix the line, or name the keys (english=, text=, lang_column=)")
            return None
        if not isinstance(value, str | None):
            bad.add(TYPES, where(), f"{key!r} is {type(value).__name__}, expected a string", "fix the line")
            return None
        if value is not None and not _is_encodable(value):
            bad.add(JSON, where(), f"{key!r} holds half of a surrogate pair (\\ud800-\\udfff)", "fix the line")
            return None
        values.append(value)
    return values


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def flat_keys(row: dict[str, Any]) -> list[str]:
    """The keys of an object, those of objects inside as `outer.inner`, as they can be written down."""
    return [
        name
        for key, value in row.items()
        for name in ([f"{printable(key)}.{inner}" for inner in flat_keys(value)] if isinstance(value, dict) and value else [printable(key)])
    ]
