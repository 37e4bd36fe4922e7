"""TMX translation memories, streamed: memory does not grow with the file. Tags inside a segment vanish, their text stays.

Text inside <ph> or <bpt> is native code such as `{0}` or `<b>`; it stays, because a sentence without it would have a hole that nothing
shows, and cleaning has rules for placeholders and markup that count what they drop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from xml.parsers import expat

import pyarrow as pa

from optical_ray.data.reading.chunks import BATCH_ROWS, Chunk
from optical_ray.data.reading.naming import split_name
from optical_ray.data.reading.rows import Rows
from optical_ray.data.reading.streams import StreamDamage, read_blocks
from optical_ray.data.reading.tally import BadRows
from optical_ray.errors import DataError, LanguageError
from optical_ray.languages.codes import ENGLISH, canonical_tag

XML = "broken XML"
NO_ENGLISH = "no English segment"
NO_LANGUAGE = "no language"
"""Kinds of bad row."""


class _EntityDeclared(Exception):
    """Expansion of declared entities can fill any memory, so none are read."""


def read_tmx(chunk: Chunk, bad: BadRows) -> Iterator[Rows]:
    """(English, foreign, language) of every foreign segment of every translation unit; the first English segment of a unit counts.

    Raises:
        DataError: it cannot be opened, declares entities or, `refuse`, is not XML, is cut short, or has a unit without English or a segment
            without a language.
    """
    label, path = chunk["labels"][0], chunk["paths"][0]
    units = _Units(label, bad)
    parser = units.parser
    blocks = read_blocks(path, label, split_name(path).compression)
    damage = None
    while damage is None:
        try:
            block = next(blocks, b"")
            parser.Parse(block, not block)
        except StreamDamage as error:
            damage = ("damaged file", f"damaged or cut short ({error})", "copy or pack the file again")
        except _EntityDeclared:
            message = "declares an XML entity, which is not read (it could expand without end)"
            raise DataError(f"{label}, line {parser.CurrentLineNumber}: {message}; remove the declaration") from None
        except (ValueError, LookupError) as error:  # the encoding that the file's first line names
            message = f"its XML encoding cannot be read ({str(error).partition(chr(10))[0]})"
            raise DataError(f"{label}: {message}; convert it to UTF-8, and say so in its first line") from None
        except expat.ExpatError as error:
            found = f"not XML here ({expat.ErrorString(error.code)}, column {error.offset + 1})"
            damage = (XML, found, "repair the file; its units before this line can be read")
        if len(units.places) >= BATCH_ROWS or damage or not block:
            yield from units.take()
        if damage is None and not block:
            return
    bad.add(damage[0], f"{label}, line {parser.CurrentLineNumber}", damage[1], damage[2])


class _Units:
    """Listens to the parser and gathers rows."""

    def __init__(self, label: str, bad: BadRows) -> None:
        self.parser: Any = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.EntityDeclHandler = self._entity
        self.places: list[int] = []
        self._columns: tuple[list[str], list[str], list[str]] = ([], [], [])
        self._label, self._bad = label, bad
        self._segments: list[tuple[str | None, str]] = []
        self._lang: str | None = None
        self._text: list[str] = []
        self._line = 0
        self._in_segment = False

    def take(self) -> Iterator[Rows]:
        """The rows gathered so far, and forget them."""
        (englishes, texts, langs), places = self._columns, self.places
        self._columns, self.places = ([], [], []), []
        for start in range(0, len(places), BATCH_ROWS):
            part = slice(start, start + BATCH_ROWS)
            english, text, lang = (pa.array(column[part], pa.string()) for column in (englishes, texts, langs))
            yield Rows(english, [text], lang, None, _places(self._label, places[part]))

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "tu":
            self._segments, self._line = [], self.parser.CurrentLineNumber
        elif name == "tuv":
            self._lang = attributes.get("xml:lang") or attributes.get("lang")
        elif name == "seg":
            self._text, self._in_segment = [], True
            self.parser.CharacterDataHandler = self._text.append

    def _end(self, name: str) -> None:
        if name == "seg":
            self.parser.CharacterDataHandler, self._in_segment = None, False
            self._segments.append((self._lang, "".join(self._text)))
        elif name == "tu":
            self._add()

    def _add(self) -> None:
        where = f"{self._label}, unit at line {self._line}"
        if any(lang is None for lang, _ in self._segments):
            self._bad.add(NO_LANGUAGE, where, "a segment without xml:lang", "say the language in <tuv xml:lang=...>")
            return
        english = next((text for lang, text in self._segments if _is_english(lang)), None)
        if english is None:
            langs = ", ".join(str(lang) for lang, _ in self._segments) or "none"
            self._bad.add(NO_ENGLISH, where, f"no English segment (languages: {langs})", "every unit needs one")
            return
        for lang, text in self._segments:
            if not _is_english(lang):
                for column, value in zip(self._columns, (english, text, str(lang)), strict=True):
                    column.append(value)
                self.places.append(self._line)

    def _entity(self, *_: object) -> None:
        raise _EntityDeclared


def _places(label: str, lines: Sequence[int]) -> Callable[[int], str]:
    return lambda row: f"{label}, unit at line {lines[row]}"


def _is_english(lang: str | None) -> bool:
    try:
        return lang is not None and canonical_tag(lang) == ENGLISH
    except LanguageError:
        return False
