"""Files of lines, JSON among them: read strictly, each with the byte it begins at, so that reading can go on from there."""

from __future__ import annotations

import bz2
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.skips import BAD_TEXT, BROKEN_ROW, Skips

_BOM = b"\xef\xbb\xbf"


class BadRow(Exception):
    """A row that cannot be used: what is counted, what was found and expected, what to do."""

    def __init__(self, reason: str, found: str) -> None:
        super().__init__(found)
        self.reason, self.found = reason, found


class Line(NamedTuple):
    """One line that is not blank."""

    number: int
    """From 1."""
    text: str


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes; .gz and .bz2 are unpacked.

    Raises:
        DataError: it cannot be opened, or its compression is damaged.
    """
    try:
        with _open(path) as stream:
            yield stream
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path}: its compression breaks off ({error}); copy the file again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path))
    return bz2.open(path) if path.suffix == ".bz2" else path.open("rb")


def raw_lines(stream: IO[bytes], offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """(byte it begins at, line with its end), from `offset` on."""
    stream.seek(offset)
    for line in stream:
        yield offset, line
        offset += len(line)


def decode_text(raw: bytes, encoding: str = "utf-8") -> str:
    """Text of one record, without byte-order mark and line end.

    Raises:
        BadRow: it is not in this encoding, or holds a NUL byte.
    """
    try:
        text = raw.removeprefix(_BOM).decode(encoding)
    except UnicodeDecodeError as error:
        raise BadRow(
            BAD_TEXT, f"byte {error.start + 1} is {raw[error.start] if error.start < len(raw) else 0:#04x}, not {encoding}; fix it"
        ) from None
    return check_text(text.rstrip("\r\n"))


def check_text(text: str) -> str:
    """The text itself.

    Raises:
        BadRow: it holds a NUL byte, or half a surrogate pair (JSON can say `\\ud800` alone), which no UTF-8 file can hold.
    """
    if "\0" in text:
        raise BadRow(BAD_TEXT, "holds a NUL byte; take it out")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadRow(BAD_TEXT, "holds half a surrogate pair, which is no UTF-8; fix it") from None
    return text


def parse_object(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadRow: it is broken, or something else.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow(BROKEN_ROW, f"not JSON ({str(error) or type(error).__name__}); expected one object a line; fix it") from None
    if not isinstance(value, dict):
        raise BadRow(BROKEN_ROW, f"a {type(value).__name__}, expected an object; fix it")
    return value


def read_lines(path: Path, skips: Skips, encoding: str = "utf-8") -> Iterator[Line]:
    """Lines that are not blank, whole file.

    Raises:
        DataError: the file cannot be read or, `refuse`, has a line that is no text.
    """
    with open_bytes(path) as stream:
        for number, (_, raw) in enumerate(raw_lines(stream), start=1):
            try:
                text = decode_text(raw, encoding)
            except BadRow as bad:
                skips.bad(bad.reason, f"{path}, line {number}: {bad.found}")
                continue
            if text.strip():
                yield Line(number, text)


def read_objects(path: Path, skips: Skips) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, JSON object) of a JSONL file.

    Raises:
        DataError: the file cannot be read or, `refuse`, has a line that is none.
    """
    for line in read_lines(path, skips):
        try:
            yield line.number, parse_object(line.text)
        except BadRow as bad:
            skips.bad(bad.reason, f"{path}, line {line.number}: {bad.found}")


def read_json(path: Path) -> Any:
    """A JSON file that is one value.

    Raises:
        DataError: it cannot be read, is not UTF-8, or breaks off; the line is named.
    """
    with open_bytes(path) as stream:
        raw = stream.read()
    try:
        return json.loads(raw.removeprefix(_BOM).decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: byte {raw[error.start]:#04x} is not UTF-8; fetch the file again") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg}, column {error.colno}); fetch the file again") from None
    except RecursionError:
        raise DataError(f"{path}: JSON nested too deep; fetch the file again") from None


def string_field(row: dict[str, Any], *keys: str) -> str:
    """The first of these fields that is there and not null, as text; numbers are spelled out.

    Raises:
        BadRow: none is there, it is neither text nor a whole number, or it is no good text.
    """
    for key in keys:
        value = row.get(key)
        if value is not None:
            break
    else:
        raise BadRow(BROKEN_ROW, f"no {' or '.join(keys)} (it has {', '.join(map(str, list(row)[:8])) or 'nothing'}); fix it")
    if not isinstance(value, str) and (isinstance(value, bool) or not isinstance(value, int)):
        raise BadRow(BROKEN_ROW, f"{key} is a {type(value).__name__}, expected a string; fix it")
    return check_text(str(value))
