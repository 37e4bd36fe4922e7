"""Facts of every Unicode character as tables, and Arrow strings as the bytes that compiled loops over them read.

The tables come from `unicodedata` and `regex` of this process, so a compiled loop agrees with the per-row functions beside it.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import pyarrow as pa
import regex
from numba import njit
from numpy.typing import NDArray

NUM_CHARACTERS = sys.maxunicode + 1

_PLANES = (range(0xD800), range(0xE000, 0x40000), range(0xE0000, 0xE1000))
"""Where characters are assigned; what lies outside is unassigned or private and has no normal form of its own."""

Function = TypeVar("Function", bound=Callable[..., Any])


def native(function: Function) -> Function:
    """Compiled, without the GIL. Machine code is kept on disk by the caller's source file: what it calls must be in it, or never change."""
    return cast(Function, njit(nogil=True, cache=True)(function))


class Composition(NamedTuple):
    """What Unicode normalisation to NFC does with a character (UAX 15, section 9); tables over all code points."""

    order: NDArray[np.uint8]
    """Canonical combining class; 0 for a starter."""
    changes: NDArray[np.bool_]
    """The character alone is not in NFC."""
    composes_with_next: NDArray[np.bool_]
    """It is the first half of some composition, or composed itself: u + breve + dot below is u-with-dot-below + breve."""
    composes_with_previous: NDArray[np.bool_]
    """It is the second half of some composition."""


def characters() -> list[str]:
    """Every character that may be assigned."""
    return [chr(code) for plane in _PLANES for code in plane]


@lru_cache(maxsize=1)
def composition() -> Composition:
    """How characters of this process's `unicodedata` compose."""
    order = np.zeros(NUM_CHARACTERS, np.uint8)
    changes, first, second = (np.zeros(NUM_CHARACTERS, np.bool_) for _ in range(3))
    for character in characters():
        code = ord(character)
        order[code] = unicodedata.combining(character)
        if not (decomposition := unicodedata.decomposition(character)) or decomposition[0] == "<":
            continue
        changes[code] = unicodedata.normalize("NFC", character) != character
        first[code] = True
        parts = decomposition.split()
        if len(parts) == 2 and not changes[code]:
            first[int(parts[0], 16)] = second[int(parts[1], 16)] = True
    first[0x1100:0x1113] = second[0x1161:0x1176] = True  # Hangul composes by arithmetic: consonant, vowel, final consonant
    first[0xAC00:0xD7A4:28] = second[0x11A8:0x11C3] = True
    return Composition(order, changes, first, second)


@lru_cache(maxsize=64)
def matches(pattern: str) -> NDArray[np.bool_]:
    """Which characters a character class of `regex` holds: `matches(r"\\p{L}")`, bool [NUM_CHARACTERS]."""
    found = np.zeros(NUM_CHARACTERS, np.bool_)
    for plane in _PLANES:
        for run in regex.finditer(f"{pattern}+", "".join(map(chr, plane))):
            found[plane.start + run.start() : plane.start + run.end()] = True
    return found


@lru_cache(maxsize=1)
def word_characters() -> NDArray[np.bool_]:
    r"""Which characters `\w` of `re` holds, bool [NUM_CHARACTERS]."""
    found = np.zeros(NUM_CHARACTERS, np.bool_)
    for plane in _PLANES:
        for run in re.finditer(r"\w+", "".join(map(chr, plane))):
            found[plane.start + run.start() : plane.start + run.end()] = True
    return found


def utf8(strings: pa.StringArray) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """An array's text without a copy: all bytes, and where each of its n strings begins and ends in them, int32 [n + 1]."""
    assert strings.type == pa.string() and not strings.null_count
    _, ends, text = strings.buffers()
    offsets = np.frombuffer(ends, np.int32)[strings.offset : strings.offset + len(strings) + 1] if ends else np.zeros(1, np.int32)
    return np.frombuffer(text, np.uint8) if text else np.zeros(0, np.uint8), offsets


def from_utf8(text: NDArray[np.uint8], offsets: NDArray[np.int32]) -> pa.StringArray:
    """The reverse of `utf8`."""
    return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(text))


@native
def decode(text: Any, at: int) -> Any:
    """The code point whose UTF-8 begins at a byte of valid text, and its number of bytes."""
    lead = np.int64(text[at])
    if lead < 0x80:
        return lead, 1
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | (text[at + 1] & 0x3F), 2
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | (np.int64(text[at + 1]) & 0x3F) << 6 | (text[at + 2] & 0x3F), 3
    return (
        (lead & 0x07) << 18 | (np.int64(text[at + 1]) & 0x3F) << 12 | (np.int64(text[at + 2]) & 0x3F) << 6 | (text[at + 3] & 0x3F),
        4,
    )


@native
def encode(code: int, text: Any, at: int) -> int:
    """Write a code point as UTF-8; the byte after it."""
    if code < 0x80:
        text[at] = code
        return at + 1
    if code < 0x800:
        text[at] = 0xC0 | code >> 6
        text[at + 1] = 0x80 | code & 0x3F
        return at + 2
    if code < 0x10000:
        text[at] = 0xE0 | code >> 12
        text[at + 1] = 0x80 | code >> 6 & 0x3F
        text[at + 2] = 0x80 | code & 0x3F
        return at + 3
    text[at] = 0xF0 | code >> 18
    text[at + 1] = 0x80 | code >> 12 & 0x3F
    text[at + 2] = 0x80 | code >> 6 & 0x3F
    text[at + 3] = 0x80 | code & 0x3F
    return at + 4
