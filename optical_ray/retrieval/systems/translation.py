"""Queries translated into English before they are asked: from a file, whoever translated them. What cross-lingual retrieval has to beat."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from optical_ray.errors import DataError, LanguageError
from optical_ray.languages.codes import ENGLISH, canonical_tag
from optical_ray.retrieval.collection import Documents, Queries
from optical_ray.retrieval.system import BlockScorer, System

Translations = Mapping[tuple[str | None, str], str]
"""(query language, or None where the file names none; query id) -> English."""
_KEYS = ("english", "translation", "text")


def read_translations(path: Path) -> Translations:
    """Translations from a file: TSV `id<TAB>english` or `language<TAB>id<TAB>english`, or JSON lines (`.jsonl`) of objects with `id`,
    `english` and, if ids occur in several languages, `language`.

    Raises:
        DataError: not there, a line that is neither, an empty translation, or two different ones of one query.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as translations ({error}); expected UTF-8 lines `id<TAB>english`, or JSON lines") from None
    found: dict[tuple[str | None, str], str] = {}
    for number, (language, name, english) in _rows(path, lines):
        key = (language, name)
        if found.setdefault(key, english) != english:
            raise DataError(f"{path}, line {number}: a second, other translation of query {name!r}; keep one of them")
    if not found:
        raise DataError(f"{path}: holds no translation; expected lines `id<TAB>english`, or JSON lines")
    return found


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, tuple[str | None, str, str]]]:
    language: str | None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if path.suffix in (".jsonl", ".ndjson"):
            try:
                row = json.loads(line)
                english = next(row[key] for key in _KEYS if key in row)
                language, name = row.get("language"), str(row["id"])
            except (ValueError, KeyError, AttributeError, TypeError, StopIteration):
                raise DataError(f"{path}, line {number}: expected an object with `id` and `english`, found {line[:60]!r}") from None
        else:
            fields = line.split("\t")
            if len(fields) not in (2, 3):
                raise DataError(f"{path}, line {number}: {len(fields)} columns, expected 2 (id, english) or 3 (language, id, english)")
            language, name, english = (fields[0] if len(fields) == 3 else None), fields[-2], fields[-1]
        if not isinstance(english, str) or not english.strip():
            raise DataError(f"{path}, line {number}: the translation of query {name!r} is empty; give one, or leave the query out")
        try:
            tag = None if language is None else canonical_tag(str(language))
        except LanguageError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
        yield number, (tag, name, english)


def translate(queries: Queries, translations: Translations, source: str) -> Queries:
    """The same queries in English. Those that are English stay as they are, where there is no translation of them.

    Args:
        queries: In any languages.
        translations: See `read_translations`.
        source: Names the translations in the message.

    Raises:
        DataError: queries without a translation; how many, and the first.
    """
    texts, missing = [], []
    for name, language, text in zip(queries.ids, queries.languages, queries.texts, strict=True):
        english = translations.get((language, name), translations.get((None, name), text if language == ENGLISH else None))
        if english is None:
            missing.append(f"{name!r} ({language})")
        texts.append(english or text)
    if missing:
        raise DataError(
            f"{source}: no translation of {len(missing)} of {len(queries)} queries, first {missing[0]}; add them, or leave out this row"
        )
    return replace(queries, texts=tuple(texts), languages=(ENGLISH,) * len(queries))


@dataclass(frozen=True, slots=True, eq=False)
class TranslatedSystem:
    """Any system, asked in English."""

    name: str
    system: System
    translations: Translations
    source: str
    """Of the translations: a file, a model."""

    @property
    def scorers(self) -> tuple[str, ...]:
        return self.system.scorers

    def prepare(self, queries: Queries, documents: Documents) -> BlockScorer:
        """As `System.prepare`.

        Raises:
            DataError: as `translate`.
        """
        return self.system.prepare(translate(queries, self.translations, self.source), documents)
