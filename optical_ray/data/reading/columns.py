"""Which column is the English side, which the foreign one (or the text alone), and what language that is."""

from __future__ import annotations

from collections.abc import Sequence

from optical_ray.data.reading.chunks import Column, Layout, Target
from optical_ray.data.reading.naming import column_code, tag_of
from optical_ray.data.reading.spec import SourceSpec
from optical_ray.errors import DataError
from optical_ray.languages.codes import ENGLISH, canonical_tag

ENGLISH_NAMES = ("english", "source_text", "src_text", "text_en", "sentence_eng_Latn")
TEXT_NAMES = ("text", "target_text", "tgt_text", "non_english", "foreign", "translation")
ALONE_NAMES = ("text", "sentence", "content")
"""Of text alone."""
LANG_NAMES = ("lang", "language", "target_lang", "tgt_lang", "lang_code")
SOURCE_LANG_NAMES = ("source_lang", "src_lang")


def resolve_columns(names: Sequence[str], spec: SourceSpec, code: str | None, code_is_key: bool, where: str) -> Layout:
    """The layout of a file with named columns; of text alone one without English.

    The language is that of `lang=`, else of `lang_column=`, of a `lang=` folder, of a column of languages, of the foreign column's name, of
    the file's name.

    Args:
        names: Columns; leaves of structs and JSON objects as `struct.leaf`.
        spec: What the user said.
        code: The language that the path states, as written; None: it states none.
        code_is_key: It stands in a `lang=` folder.
        where: Named in errors.

    Raises:
        DataError: a column is missing or cannot be told from others; the message says what was looked for and what there is.
    """
    alone = spec.kind == "text"
    english = None if alone else _named(spec.english, names, "english", where) if spec.english else _find_english(names, where)
    explicit = _named(spec.lang_column, names, "lang_column", where) if spec.lang_column else None
    by_row = explicit or next((name for name in LANG_NAMES if name in names), None)
    source_lang = None if alone else next((name for name in SOURCE_LANG_NAMES if name in names), None)
    wanted_names = ALONE_NAMES if alone else TEXT_NAMES
    if spec.text:
        texts = [_named(spec.text, names, "text", where)]
    else:
        texts = [next(name for name in wanted_names if name in names)] if any(name in names for name in wanted_names) else []
        texts = texts if texts or english is None else _columns_of_languages(names, english)
    if not texts:
        what = "text" if alone else "foreign text"
        looked_for = ", ".join(wanted_names) + ("" if alone else ", or one named by a language code (sw, swh_Latn, translation.sw)")
        raise DataError(f"{where}: no column of {what} among {_listed(names)}; looked for {looked_for}; say text=COLUMN")
    targets: list[Target]
    if spec.lang is not None:
        wanted = [text for text in texts if len(texts) == 1 or _tag_of_column(text) == canonical_tag(spec.lang)]
        if not wanted:
            raise DataError(f"{where}: no column of the language {spec.lang} among {_listed(texts)}; say text=COLUMN")
        targets, by_row = [{"column": wanted[0], "code": spec.lang, "tag": canonical_tag(spec.lang)}], None
    elif explicit is not None or (by_row is not None and not code_is_key and len(texts) == 1):
        targets = [{"column": texts[0], "code": None, "tag": None}]
    elif code_is_key and len(texts) == 1:
        targets, by_row = [_target(texts[0], code)], None
    else:
        by_name = [_target(text, column_code(text) or (code if len(texts) == 1 else None)) for text in texts]
        targets, by_row = by_name, None
    for column in (english, by_row, source_lang, *(target["column"] for target in targets)):
        if column is not None and list(names).count(str(column)) > 1:
            raise DataError(f"{where}: two columns are called {column!r}; rename one")
    return _layout(english, targets, by_row, source_lang, list(names))


def resolve_places(width: int, spec: SourceSpec, code: str | None, where: str) -> Layout:
    """The layout of a file without a header: English and foreign text (text alone: one column), or those the user gave by number.

    Raises:
        DataError: another number of columns, or a number beyond them.
    """
    alone = spec.kind == "text"
    if width != (1 if alone else 2) and not (spec.text and (alone or spec.english)):
        expected, say = ("1 (text)", "text=N") if alone else ("2 (english<TAB>text)", "english=N,text=N")
        raise DataError(
            f"{where}: {width} column{'s' * (width != 1)} and no header, expected {expected}; "
            f"say {say} (and lang_column=N; or their names, where the first line is a header), or format="
        )
    places = [str(number) for number in range(1, width + 1)]
    defaults = (None, "1", None) if alone else ("1", "2", None)
    english, text, by_row = (
        _named(value, places, key, where) if value else default
        for key, value, default in zip(
            ("english", "text", "lang_column"), (spec.english, spec.text, spec.lang_column), defaults, strict=True
        )
    )
    assert text is not None
    code = spec.lang or code
    target: Target = _target(int(text) - 1, None if by_row and not spec.lang else code)
    return _layout(
        None if english is None else int(english) - 1, [target], int(by_row) - 1 if by_row and not spec.lang else None, None, places
    )


def looks_like_header(fields: Sequence[str], spec: SourceSpec) -> bool:
    """True when a first line names an English and a foreign column (a column of text alone), or those that the user named."""
    if spec.kind == "text":
        return any(name in fields for name in (*ALONE_NAMES, spec.text, spec.lang_column))
    if spec.english and spec.english in fields:
        return True
    english = [field for field in fields if field in ENGLISH_NAMES or _tag_of_column(field) == ENGLISH]
    return bool(english) and any(field in TEXT_NAMES or _tag_of_column(field) not in (None, ENGLISH) for field in fields)


def named_by_name(spec: SourceSpec) -> bool:
    """True when the user named a column by other than its number, so that there must be a header."""
    return any(value is not None and not value.isdecimal() for value in (spec.english, spec.text, spec.lang_column))


def _find_english(names: Sequence[str], where: str) -> str:
    found = next((name for name in ENGLISH_NAMES if name in names), None)
    found = found or next((name for name in names if _tag_of_column(name) == ENGLISH), None)
    if found is None:
        looked_for = f"{', '.join(ENGLISH_NAMES)}, or one named by a code of English (en, eng, translation.en)"
        hint = "say english=COLUMN (it must hold English)"
        raise DataError(f"{where}: no column of English among {_listed(names)}; looked for {looked_for}; {hint}")
    return found


def _columns_of_languages(names: Sequence[str], english: Column) -> list[str]:
    """All columns that are named by a foreign language, in their order. `id` beside others is a row's number, not Indonesian."""
    found = [name for name in names if name != english and _tag_of_column(name) not in (None, ENGLISH)]
    others = [name for name in found if name != "id"]
    return others or found


def _tag_of_column(name: str) -> str | None:
    code = column_code(name)
    return None if code is None else tag_of(code)


def _named(value: str, names: Sequence[str], key: str, where: str) -> str:
    """The column that the user means: its name, else its 1-based number."""
    if value in names:
        return value
    if value.isdecimal() and 1 <= int(value) <= len(names):
        return names[int(value) - 1]
    raise DataError(f"{where}: no column {value!r} ({key}=); it has {_listed(names)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "") if names else "no columns"


def _target(column: Column, code: str | None) -> Target:
    """The tag is filled in when the plan has checked the code."""
    return {"column": column, "code": code, "tag": None}


def _layout(english: Column | None, targets: list[Target], by_row: Column | None, source_lang: str | None, names: list[str]) -> Layout:
    return {
        "english": english,
        "targets": targets,
        "lang_column": by_row,
        "source_lang_column": source_lang,
        "header": False,
        "width": 0,
        "names": names,
    }
