"""Bytes of a file, a block at a time, decompressed where its name says so. All that can be read before damage is given first."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa

from optical_ray.data.reading.places import open_file, reason

BLOCK_BYTES = 1 << 20
_PACKED_BYTES = 1 << 16
"""Compressed bytes that are fed at a time."""
_NOTHING = "nothing is packed in it"


class StreamDamage(Exception):
    """A compressed file is cut short or corrupt: the bytes given before it are good, the rest is lost."""


def read_blocks(path: str, label: str, compression: str | None, span: tuple[int, int] | None = None) -> Iterator[bytes]:
    """The bytes of a file in blocks of up to about BLOCK_BYTES, none of them empty.

    Args:
        path: Absolute, or a URI.
        label: Named in errors.
        compression: gz, zst, xz, bz2 or None.
        span: [start, end) to read, of an uncompressed file.

    Raises:
        DataError: the file cannot be opened.
        StreamDamage: after the last good block.
    """
    with open_file(path, label) as stream:
        try:
            if compression is None:
                yield from _read_span(stream, span)
            elif compression == "zst":
                yield from _read_zst(stream)
            else:
                yield from _decompress(stream, _DECODERS[compression])
        except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
            raise StreamDamage(reason(error)) from None


def _read_span(stream: BinaryIO, span: tuple[int, int] | None) -> Iterator[bytes]:
    left = None
    if span is not None:
        stream.seek(span[0])
        left = span[1] - span[0]
    while left is None or left > 0:
        block = stream.read(BLOCK_BYTES if left is None else min(BLOCK_BYTES, left))
        if not block:
            if left:
                raise EOFError(f"{left} bytes are missing since the file was listed")
            return
        left = left if left is None else left - len(block)
        yield bytes(block)


def _read_zst(stream: BinaryIO) -> Iterator[bytes]:
    if not stream.read(1):
        raise EOFError(_NOTHING)
    stream.seek(0)
    with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd") as unpacked:
        while block := unpacked.read(_PACKED_BYTES):  # a failed read loses what it had unpacked, so they are small
            yield block


class _Gzip:
    """zlib's decoder with the interface of lzma's and bz2's."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)

    @property
    def needs_input(self) -> bool:
        return not self._decoder.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data


_DECODERS: dict[str, Callable[[], Any]] = {"gz": _Gzip, "xz": lzma.LZMADecompressor, "bz2": bz2.BZ2Decompressor}


def _decompress(stream: BinaryIO, make: Callable[[], Any]) -> Iterator[bytes]:
    """One or more packed streams behind each other, with at most BLOCK_BYTES unpacked at a time however well they pack."""
    decoder, packed, begun, streams = make(), b"", False, 0
    while True:
        if not packed and decoder.needs_input:
            packed = stream.read(_PACKED_BYTES)
            if not packed:
                if begun or not streams:
                    raise EOFError("the file ends in the middle of the compressed data" if begun else _NOTHING)
                return
        if not begun:
            packed = packed.lstrip(b"\0")  # padding between streams
            if not packed:
                continue
        begun = True
        block = decoder.decompress(packed, BLOCK_BYTES)
        packed = b""
        if block:
            yield block
        if decoder.eof:
            packed, begun, decoder, streams = decoder.unused_data, False, make(), streams + 1
