"""Blocks of bytes -> batches of lines, as Arrow strings that are valid UTF-8. Lines end at \\n alone; a \\r before it goes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from optical_ray.data.reading.chunks import BATCH_ROWS
from optical_ray.data.reading.streams import StreamDamage, read_blocks
from optical_ray.data.reading.tally import BadRows
from optical_ray.errors import DataError

MAX_LINE_BYTES = 64 << 20
"""A longer line is no text file's."""

_BOM = b"\xef\xbb\xbf"


class Undecodable(NamedTuple):
    """A line that is not UTF-8."""

    at: int
    """Its place in the batch, from 0."""
    found: str
    """`byte 17 is 0xff, not UTF-8`; bytes of a line count from 1."""


class Lines(NamedTuple):
    """Up to BATCH_ROWS lines in a row."""

    texts: pa.StringArray
    """Without line ends; empty where a line is not UTF-8."""
    first: int
    """Place of the first one among the lines read, from 0."""
    undecodable: list[Undecodable]


@dataclass(slots=True)
class LineNumbers:
    """Says where a line stands. The number of a chunk's first line is counted only when a message needs it."""

    label: str
    path: str
    start: int
    """Byte at which the lines begin, in an uncompressed file."""
    first: int | None
    """1-based number of the line there; None: not counted yet."""

    def where(self, place: int) -> str:
        """`file.tsv, line 1204`; place counts from 0."""
        if self.first is None:
            self.first = 1 + sum(block.count(b"\n") for block in read_blocks(self.path, self.label, None, (0, self.start)))
        return f"{self.label}, line {self.first + place}"

    def of(self, places: Sequence[int] | NDArray[np.int64]) -> Callable[[int], str]:
        """`where` of rows that stand in these lines."""
        return lambda row: self.where(int(places[row]))

    def after(self, first: int) -> Callable[[int], str]:
        """`where` of lines that follow each other."""
        return lambda row: self.where(first + row)


def read_lines(
    path: str, label: str, compression: str | None, span: tuple[int, int] | None, numbers: LineNumbers, bad: BadRows
) -> Iterator[Lines]:
    """The lines of a file or a part of it, in batches of exactly BATCH_ROWS but for the last one.

    A last line without an end counts. Where a compressed file breaks off, the lines before are given, the begun one is dropped, and `bad`
    is told.

    Raises:
        DataError: the file cannot be opened, has a line of over MAX_LINE_BYTES, or is damaged (`refuse`).
    """
    damage: list[str] = []
    done = 0
    pieces = _whole_lines(read_blocks(path, label, compression, span), damage, numbers)
    batches = _batch(_cut(piece) for piece in _without_bom(pieces, span))
    while True:
        try:
            raw = next(batches, None)
        except pa.ArrowInvalid:  # of offsets that need more than 32 bits
            where = numbers.where(done)
            raise DataError(f"{where}: over 2 GiB in the next {BATCH_ROWS:,} lines; this is no text file of one row a line") from None
        if raw is None:
            break
        yield decode_lines(raw, done)
        done += len(raw)
    if damage:
        where = f"{numbers.where(done - 1)} was the last whole one" if done else label
        bad.add("damaged file", where, f"damaged or cut short ({damage[0]})", "copy or pack the file again")


def _whole_lines(blocks: Iterator[bytes], damage: list[str], numbers: LineNumbers) -> Iterator[bytes]:
    """Pieces that end where a line ends. Damage ends them, and is noted in `damage`."""
    begun: list[bytes] = []
    size = seen = 0
    while True:
        try:
            block = next(blocks, None)
        except StreamDamage as error:
            damage.append(str(error))
            return
        if block is None:
            break
        cut = block.rfind(b"\n") + 1
        if cut:
            piece = b"".join((*begun, block[:cut]))
            yield piece
            seen += piece.count(b"\n")
            begun, size = [], 0
        begun.append(block[cut:])
        size += len(block) - cut
        if size > MAX_LINE_BYTES:
            limit = f"over {MAX_LINE_BYTES >> 20} MiB without a line end"
            raise DataError(f"{numbers.where(seen)}: {limit}; this is no text file of one row a line, or format= names the wrong one")
    if last := b"".join(begun):
        yield last


def _without_bom(pieces: Iterator[bytes], span: tuple[int, int] | None) -> Iterator[bytes]:
    first = next(pieces, b"")
    if span is None or span[0] == 0:
        first = first.removeprefix(_BOM)
    if first:
        yield first
    yield from pieces


def _cut(piece: bytes) -> pa.BinaryArray:
    """Lines, each with its \\n, over the bytes as they lie."""
    ends = np.flatnonzero(np.frombuffer(piece, np.uint8) == 10) + 1
    if not len(ends) or ends[-1] != len(piece):
        ends = np.append(ends, len(piece))
    offsets = np.concatenate(([0], ends)).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(ends), [None, pa.py_buffer(offsets), pa.py_buffer(piece)])


def _batch(arrays: Iterator[pa.BinaryArray]) -> Iterator[pa.BinaryArray]:
    """The same values in arrays of BATCH_ROWS."""
    held: list[pa.BinaryArray] = []
    rows = 0
    for array in arrays:
        held.append(array)
        rows += len(array)
        if rows < BATCH_ROWS:
            continue
        together = pa.concat_arrays(held)
        whole = rows - rows % BATCH_ROWS
        for start in range(0, whole, BATCH_ROWS):
            yield together[start : start + BATCH_ROWS]
        held, rows = [together[whole:]], rows - whole
    if rows:
        yield pa.concat_arrays(held)


def decode_lines(raw: pa.BinaryArray, first: int) -> Lines:
    """Check a batch for UTF-8 and take the line ends off."""
    texts, undecodable = decode(raw)
    return Lines(pc.ascii_rtrim(texts, characters="\r\n"), first, undecodable)


def decode(raw: pa.BinaryArray) -> tuple[pa.StringArray, list[Undecodable]]:
    """Bytes as UTF-8; what is not becomes an empty string, and is listed. The whole batch is checked at once, rows only when that fails."""
    try:
        return raw.cast(pa.string()), []
    except pa.ArrowInvalid:
        texts, undecodable = [], []
        for at, value in enumerate(raw.to_pylist()):
            try:
                texts.append(None if value is None else value.decode())
            except UnicodeDecodeError as error:
                texts.append("")
                undecodable.append(Undecodable(at, f"byte {error.start + 1} is 0x{value[error.start]:02x}, not UTF-8"))
        return pa.array(texts, pa.string()), undecodable
