"""What compiled loops find in a column of texts, a few nanoseconds a character: what needs normalising, words, shares of scripts."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_ray.data.characters import NUM_CHARACTERS, composition, decode, matches, native, utf8, word_characters

INVISIBLE = "\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff"
"""Soft hyphen, zero-width space, direction marks, byte-order mark. The joiners U+200C and U+200D stay: Persian and Indic need them."""

IRREGULAR, MARKUP, PLACEHOLDER = 1, 2, 4
"""Marks of a text. IRREGULAR: perhaps an entity, an invisible character, other than single inner spaces, or not NFC. MARKUP: perhaps a tag
or a URL. PLACEHOLDER: has one of `{}\\\\%$`. A text without a mark certainly has none of what the mark stands for."""

_SPACE, _FIRST, _SECOND = 8, 16, 32

_SCRIPT_PARTS = {
    "Hans": ("Hani",),
    "Hant": ("Hani",),
    "Hanb": ("Hani", "Bopo"),
    "Jpan": ("Hira", "Kana", "Hani"),
    "Kore": ("Hang", "Hani"),
    "Jamo": ("Hang",),
    "Aran": ("Arab",),
    "Cyrs": ("Cyrl",),
    "Geok": ("Geor",),
    "Latf": ("Latn",),
    "Latg": ("Latn",),
    "Syre": ("Syrc",),
    "Syrj": ("Syrc",),
    "Syrn": ("Syrc",),
}
"""ISO 15924 codes that stand for several Unicode scripts, for a part or for a style of one."""


def find_marks(texts: pa.StringArray) -> NDArray[np.uint8]:
    """Which of IRREGULAR, MARKUP and PLACEHOLDER each text has, as bits, uint8 [n]."""
    table = _mark_table()
    return np.asarray(_find_marks(*utf8(texts), table.marks, table.order))


def count_english_words(english: pa.StringArray) -> NDArray[np.int32]:
    """Words between spaces, int32 [n]: what has two Latin letters in a row, or with `'`, `’` or `-` between them, or is `a` or `I`.

    Numbers, signs, other single letters and the parts of `an_identifier` or `a,list` do not count. Spaces have to be U+0020.
    """
    return np.asarray(_count_english_words(*utf8(english), word_characters()))


def count_words(texts: pa.StringArray) -> NDArray[np.int32]:
    """Words between spaces that have a letter, of any script, int32 [n]. Spaces have to be U+0020."""
    return np.asarray(_count_words(*utf8(texts), matches(r"\p{L}")))


def script_shares(texts: pa.StringArray, script: str) -> NDArray[np.float64]:
    """Share of each text's letters that are in a script (ISO 15924), float64 [n]; 0 where there is no letter."""
    return np.asarray(_script_shares(*utf8(texts), _script_table(script)))


class _MarkTable(NamedTuple):
    marks: NDArray[np.uint8]
    """Marks that a character gives to its text, with _SPACE and what NFC does with it."""
    order: NDArray[np.uint8]
    """Canonical combining class."""


@lru_cache(maxsize=1)
def _mark_table() -> _MarkTable:
    order, changes, first, second = composition()
    marks = changes * np.uint8(IRREGULAR) | first * np.uint8(_FIRST) | second * np.uint8(_SECOND)
    marks |= matches(f"[{INVISIBLE}]") * np.uint8(IRREGULAR)
    marks[[code for code in range(0x3001) if chr(code).isspace()]] |= IRREGULAR  # U+3000 is the last
    marks[ord(" ")] = _SPACE
    marks[ord("&")] |= IRREGULAR
    marks[ord("<")] |= MARKUP
    marks[[ord(sign) for sign in "{}\\%$"]] |= PLACEHOLDER
    return _MarkTable(marks, order)


@lru_cache(maxsize=16)
def _script_table(script: str) -> NDArray[np.uint8]:
    """0: no letter; 1: a letter; 2: a letter of the script. uint8 [NUM_CHARACTERS]."""
    letters = matches(r"\p{L}")
    parts = "".join(rf"\p{{Script={part}}}" for part in _SCRIPT_PARTS.get(script, (script,)))
    table = np.zeros(NUM_CHARACTERS, np.uint8)
    table[letters] = 1
    table[letters & matches(f"[{parts}]")] = 2
    return table


@native
def _find_marks(text: Any, offsets: Any, marks: Any, order: Any) -> Any:
    """NFC is sure unless a character changes by itself, may compose with its predecessor, or combining marks are out of order (UAX 15)."""
    n = len(offsets) - 1
    out = np.zeros(n, np.uint8)
    for row in range(n):
        at, end, found = offsets[row], offsets[row + 1], 0
        after_space, open_end, last_order = True, False, 0
        while at < end:
            lead = text[at]
            if lead < 0x80:
                mark = marks[lead]
                found |= mark
                if mark & _SPACE:
                    if after_space:
                        found |= IRREGULAR
                    after_space = True
                else:
                    after_space = False
                    if (lead == 0x3A and at + 2 < end and text[at + 1] == 0x2F and text[at + 2] == 0x2F) or (
                        lead == 0x77 and at + 3 < end and text[at + 1] == 0x77 and text[at + 2] == 0x77 and text[at + 3] == 0x2E
                    ):  # `://`, `www.`
                        found |= MARKUP
                open_end, last_order = mark & _FIRST != 0, 0
                at += 1
            else:
                code, width = decode(text, at)
                mark, rank = marks[code], order[code]
                found |= mark
                if (open_end and mark & _SECOND) or (rank != 0 and rank < last_order):
                    found |= IRREGULAR
                open_end = mark & _FIRST != 0 or (rank != 0 and open_end)
                last_order = rank
                after_space = False
                at += width
        if after_space and end > offsets[row]:
            found |= IRREGULAR
        out[row] = found & (IRREGULAR | MARKUP | PLACEHOLDER)
    return out


@native
def _count_english_words(text: Any, offsets: Any, word_characters: Any) -> Any:
    n = len(offsets) - 1
    out = np.zeros(n, np.int32)
    for row in range(n):
        at, end, words = offsets[row], offsets[row + 1], 0
        paired, letter, joined, num_word_characters, alone = False, False, False, 0, False
        while at <= end:
            if at == end or text[at] == 0x20:
                words += paired or (num_word_characters == 1 and alone)
                paired, letter, joined, num_word_characters, alone = False, False, False, 0, False
                at += 1
                continue
            code, width = decode(text, at)
            at += width
            is_letter = 0x41 <= code <= 0x5A or 0x61 <= code <= 0x7A
            paired = paired or (is_letter and (letter or joined))
            joined = letter and (code == 0x27 or code == 0x2019 or code == 0x2D)
            letter = is_letter
            num_word_characters += word_characters[code]
            alone = alone or code == 0x41 or code == 0x61 or code == 0x49
        out[row] = words
    return out


@native
def _count_words(text: Any, offsets: Any, letters: Any) -> Any:
    n = len(offsets) - 1
    out = np.zeros(n, np.int32)
    for row in range(n):
        at, end, counted = offsets[row], offsets[row + 1], False
        while at < end:
            code, width = decode(text, at)
            at += width
            if code == 0x20:
                counted = False
            elif letters[code] and not counted:
                out[row] += 1
                counted = True
    return out


@native
def _script_shares(text: Any, offsets: Any, table: Any) -> Any:
    n = len(offsets) - 1
    out = np.zeros(n, np.float64)
    for row in range(n):
        at, end, letters, inside = offsets[row], offsets[row + 1], 0, 0
        while at < end:
            code, width = decode(text, at)
            at += width
            kind = table[code]
            letters += kind > 0
            inside += kind == 2
        if letters:
            out[row] = inside / letters
    return out
