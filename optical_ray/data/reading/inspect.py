"""A group of files, looked at once in the driver: where its columns are, and the chunks that it is cut into."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass

from optical_ray.data.reading.chunks import CHUNK_BYTES, Column, Layout, Target
from optical_ray.data.reading.columns import looks_like_header, named_by_name, resolve_columns, resolve_places
from optical_ray.data.reading.cuts import count_pair, cut_at_lines, cut_pair, cut_row_groups
from optical_ray.data.reading.delimited import open_csv
from optical_ray.data.reading.discover import Group
from optical_ray.data.reading.json_lines import flat_keys
from optical_ray.data.reading.lines import LineNumbers, read_lines
from optical_ray.data.reading.moses import report_unknown_order
from optical_ray.data.reading.naming import split_name
from optical_ray.data.reading.places import FoundFile, is_remote
from optical_ray.data.reading.spec import SourceSpec
from optical_ray.data.reading.tables import DamagedFile, open_arrow, open_parquet, text_leaves
from optical_ray.data.reading.tally import BadRows, Tally
from optical_ray.errors import DataError

UNPACKED = {"gz": 3.0, "zst": 3.0, "xz": 4.0, "bz2": 4.0}
"""Bytes of text for one packed byte: what bitext of news and subtitles comes to; an estimate."""

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What a chunk of a group reads."""

    spans: list[Span] | None = None
    first_line: int | None = None
    row_groups: Span | None = None


@dataclass(frozen=True, slots=True)
class Inspected:
    """What is known of a group before it is read."""

    layout: Layout | None
    """None: it holds no row."""
    parts: list[Part]
    unpacked_bytes: int
    """Of the columns that are read, uncompressed; an estimate where the file is compressed."""


def inspect_group(group: Group, spec: SourceSpec, bad: BadRows) -> Inspected:
    """Find the columns of a group and cut it.

    Raises:
        DataError: it cannot be opened, a column is missing or, `refuse`, a Parquet file is empty or Moses halves are unequal.
    """
    file = group.files[-1]
    packed = [UNPACKED.get(split_name(half.name).compression or "", 1.0) for half in group.files]
    size = int(sum(factor * half.size for factor, half in zip(packed, group.files, strict=True)))
    if group.format == "parquet":
        return _inspect_parquet(group, spec, bad)
    if group.format == "moses":
        return Inspected(_plain("", spec.lang or group.code), list(_moses_parts(group.files, bad)), size)
    if group.format == "tmx":
        return Inspected(_plain("", *([spec.lang] if spec.lang else [])), [Part()], size)
    if group.format == "text":
        if columns := ",".join(f"{key}={value}" for key, value in (("text", spec.text), ("lang_column", spec.lang_column)) if value):
            raise DataError(f"{file.label}: {columns}, but a text file has no columns; say format=tsv if it has, or leave that out")
        return Inspected(_plain(None, spec.lang or group.code), _line_parts(group), size)
    if group.format == "arrow":
        try:
            with open_arrow(file.path, file.label) as (schema, _):
                names = text_leaves(schema, file.label, (spec.english, spec.text, spec.lang_column))
        except DamagedFile as error:
            return _unreadable(error, file, bad)
        return Inspected(resolve_columns(names, spec, group.code, group.code_is_key, file.label), [Part()], size)
    layout = _layout_of_lines(group, spec, bad)
    if layout is None:
        return Inspected(None, [], size)
    return Inspected(layout, _line_parts(group), size)


def _line_parts(group: Group) -> list[Part]:
    [file] = group.files
    if split_name(file.name).compression is not None or file.size <= CHUNK_BYTES:
        return [Part()]
    spans = cut_at_lines(file, quoted=group.format == "csv")
    return [Part([span], 1 if span[0] == 0 else None) for span in spans]


def _plain(english: Column | None, *codes: str | None) -> Layout:
    """A format without columns; without a target every row says its language, with None for a code the path should have said it."""
    return {
        "english": english,
        "targets": [{"column": "", "code": code, "tag": None} for code in codes],
        "lang_column": None,
        "source_lang_column": None,
        "header": False,
        "width": 0,
        "names": [],
    }


def _moses_parts(files: tuple[FoundFile, ...], bad: BadRows) -> Iterator[Part]:
    english, text = files
    labels = (english.label, text.label)
    if any(split_name(half.name).compression is not None or is_remote(half.path) for half in files):
        # `refuse`: compared while it is read, not to unpack (or fetch) it twice. `skip`: no row of unequal halves may be handed on.
        counted = count_pair(english, text) if bad.on_bad_row == "skip" else None
        if counted is None or not report_unknown_order(labels, counted, bad):
            yield Part()
        return
    cuts = cut_pair(english, text)
    if report_unknown_order(labels, cuts.lines, bad):
        return
    for spans, first_line in cuts.parts:
        yield Part(list(spans), first_line)


def _inspect_parquet(group: Group, spec: SourceSpec, bad: BadRows) -> Inspected:
    [file] = group.files
    if file.size == 0:
        bad.add("empty file", file.label, "0 bytes, not a Parquet file", "copy it again", unit="files")
        return Inspected(None, [], 0)
    try:
        return _inspect_row_groups(group, spec)
    except DamagedFile as error:
        return _unreadable(error, file, bad)


def _unreadable(error: DamagedFile, file: FoundFile, bad: BadRows) -> Inspected:
    found, _, mend = str(error).removeprefix(f"{file.label}: ").rpartition("; ")
    bad.add("damaged file", file.label, found, mend, unit="files")
    return Inspected(None, [], 0)


def _inspect_row_groups(group: Group, spec: SourceSpec) -> Inspected:
    [file] = group.files
    with open_parquet(file.path, file.label) as parquet:
        names = text_leaves(parquet.schema_arrow, file.label, (spec.english, spec.text, spec.lang_column))
        layout = resolve_columns(names, spec, group.code, group.code_is_key, file.label)
        wanted = {
            layout["english"],
            layout["lang_column"],
            layout["source_lang_column"],
            *(target["column"] for target in layout["targets"]),
        }
        sizes = [
            sum(column.total_uncompressed_size for column in map(rows.column, range(rows.num_columns)) if column.path_in_schema in wanted)
            for rows in map(parquet.metadata.row_group, range(parquet.metadata.num_row_groups))
        ]
    return Inspected(layout, [Part(row_groups=span) for span in cut_row_groups(sizes)], sum(sizes))


class _BadFirstLine(DataError):
    """Damage where the columns should be read; the next line may do."""


def _layout_of_lines(group: Group, spec: SourceSpec, bad: BadRows) -> Layout | None:
    """Of TSV, CSV and JSONL: from the first line that is not blank (`skip`: that can be read); None: the file holds no line."""
    [file] = group.files
    compression = split_name(file.name).compression
    numbers = LineNumbers(file.label, file.path, 0, 1)
    unreported = BadRows("skip", Tally())  # what is damaged further down is met again when the file is read
    first_error = None
    for lines in read_lines(file.path, file.label, compression, None, numbers, unreported):
        texts, undecodable = lines.texts.to_pylist(), dict(lines.undecodable)
        for at, text in enumerate(texts):
            where = numbers.where(lines.first + at)
            try:
                if at in undecodable:
                    raise _BadFirstLine(f"{where}: {undecodable[at]}; convert the file to UTF-8")
                if text:
                    return _layout_of_first(texts[at:], group, spec, where)
            except _BadFirstLine as error:
                first_error = first_error or DataError(str(error))
                if bad.on_bad_row == "refuse":
                    raise first_error from None
    if first_error is not None:
        raise first_error
    for _ in read_lines(file.path, file.label, compression, None, numbers, bad):
        pass  # no row, or packed bytes that cannot be unpacked from the first: `bad` is told
    return None


def _layout_of_first(texts: list[str], group: Group, spec: SourceSpec, where: str) -> Layout:
    if group.format == "jsonl":
        try:
            row = json.loads(texts[0])
        except (ValueError, RecursionError) as error:
            raise _BadFirstLine(f"{where}: not JSON ({error}); expected one object a line") from None
        if not isinstance(row, dict):
            raise _BadFirstLine(f"{where}: a JSON {type(row).__name__}, expected one object a line; `jq -c .[]` turns a list into lines")
        return resolve_columns(flat_keys(row), spec, group.code, group.code_is_key, where)
    try:
        fields = texts[0].split("\t") if group.format == "tsv" else next(open_csv(f"{text}\n" for text in texts))
    except csv.Error as error:
        raise _BadFirstLine(f"{where}: not CSV ({error}); the first line says what the columns are") from None
    has_header = spec.header == "yes" or (spec.header == "auto" and (named_by_name(spec) or looks_like_header(fields, spec)))
    if not has_header:
        return resolve_places(len(fields), spec, group.code, where) | {"width": len(fields)}
    layout = resolve_columns(fields, spec, group.code, group.code_is_key, where)
    targets: list[Target] = [{**target, "column": fields.index(str(target["column"]))} for target in layout["targets"]]
    places = {
        key: None if layout[key] is None else fields.index(str(layout[key])) for key in ("english", "lang_column", "source_lang_column")
    }
    return layout | places | {"targets": targets, "header": True, "width": len(fields)}  # type: ignore[return-value]
