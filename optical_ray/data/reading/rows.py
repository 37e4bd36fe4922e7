"""What a format's reader gives: the columns of some rows, before they are told apart by language."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_ray.data.reading.chunks import Column, Layout
from optical_ray.data.reading.lines import Undecodable, decode
from optical_ray.data.reading.tally import BadRows

ENCODING = "not UTF-8"
"""Kind of bad row."""


class Rows(NamedTuple):
    """Good rows of one chunk, in order; strings are valid UTF-8 without nulls."""

    english: pa.StringArray | None
    """None: text alone."""
    texts: list[pa.StringArray]
    """One for each target of the layout."""
    langs: pa.StringArray | None
    """Foreign language of each row, where the rows say it."""
    source_langs: pa.StringArray | None
    where: Callable[[int], str]
    """Index in these arrays -> file and place, for messages."""


def used_columns(layout: Layout) -> list[Column]:
    """The columns that are read, each once."""
    wanted = [layout["english"], *(target["column"] for target in layout["targets"]), layout["lang_column"], layout["source_lang_column"]]
    return list(dict.fromkeys(column for column in wanted if column is not None))


def rows_of(layout: Layout, columns: Mapping[Column, pa.StringArray], where: Callable[[int], str]) -> Rows:
    """The parts of a row by what they are, from the columns that `used_columns` names."""
    english, by_row, source_lang = (
        None if column is None else columns[column] for column in (layout["english"], layout["lang_column"], layout["source_lang_column"])
    )
    return Rows(english, [columns[target["column"]] for target in layout["targets"]], by_row, source_lang, where)


def keep(columns: Sequence[pa.Array | None], good: NDArray[np.bool_]) -> list[pa.Array | None]:
    """The columns' rows where `good`; the columns themselves where all are."""
    if good.all():
        return list(columns)
    mask = pa.array(good)
    return [None if column is None else column.filter(mask) for column in columns]


def report_undecodable(undecodable: Sequence[Undecodable], where: Callable[[int], str], bad: BadRows) -> None:
    """Tell `bad` of each."""
    for line in undecodable:
        bad.add(ENCODING, where(line.at), line.found, "convert the file to UTF-8")


def as_strings(column: pa.Array) -> tuple[pa.StringArray, list[Undecodable]]:
    """A column of any kind of string (dictionary, large, view, null) as plain strings; a null is empty.

    Raises:
        pa.ArrowInvalid: it is of another type, or damaged: its strings lie outside of it.
    """
    if pa.types.is_dictionary(column.type):
        column.indices.validate(full=True)
        _check_bounds(column.dictionary)
        column = column.dictionary_decode()
    _check_bounds(column)
    undecodable: list[Undecodable] = []
    if not pa.types.is_string(column.type):
        column = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
        column, undecodable = decode(column.cast(pa.binary()))
    else:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            column, undecodable = decode(column.cast(pa.binary()))
    return (column.fill_null("") if column.null_count else column), undecodable


def _check_bounds(column: pa.Array) -> None:
    """Look at the places of the strings before any is read: broken ones lead outside of the memory. Their UTF-8 is not looked at."""
    for text, raw in ((pa.string(), pa.binary()), (pa.large_string(), pa.large_binary()), (pa.string_view(), pa.binary_view())):
        if column.type == text:
            column.view(raw).validate(full=True)


def is_text(kind: pa.DataType) -> bool:
    """True for the types that `as_strings` reads."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind))
