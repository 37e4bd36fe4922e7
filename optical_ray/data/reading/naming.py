"""Languages and formats that a name tells: `corpus.en-sw.tsv.gz`, `eng_Latn-swh_Latn/`, `lang=sw/`, a column `sentence_swh_Latn`."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from optical_ray.data.reading.chunks import Format, Kind
from optical_ray.errors import LanguageError
from optical_ray.languages.codes import ENGLISH, canonical_tag

COMPRESSIONS = {".gz": "gz", ".zst": "zst", ".zstd": "zst", ".xz": "xz", ".bz2": "bz2"}
SUFFIXES: dict[str, Format] = {
    ".tsv": "tsv",
    ".tab": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".jsonlines": "jsonl",
    ".tmx": "tmx",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
}
"""What a folder or glob is searched for, besides Moses pairs."""
TEXT_SUFFIX = ".txt"
"""It says a format where text alone is looked for; in bitext, where it always was part of the stem, none."""

_CODE = r"[a-z]{2,3}(?:[_-][A-Z][a-z]{3})?(?:[_-](?:[A-Z]{2}|[0-9]{3}))?"
_WHOLE = re.compile(f"{_CODE}$")
_PAIR = re.compile(rf"(?<![A-Za-z])(?=({_CODE})[_-]({_CODE})(?![A-Za-z]))")
_COLUMN_PREFIX = re.compile(r"^(?:sentence_|text_|translation\.)")

_NOT_CODES = frozenset(
    (
        "all",
        "and",
        "bin",
        "dev",
        "dir",
        "doc",
        "log",
        "new",
        "old",
        "raw",
        "ref",
        "set",
        "src",
        "tab",
        "tgt",
        "tmp",
        "the",
        "tok",
        "txt",
        "url",
        "web",
        "xml",
    )
)
"""ISO 639-3 codes that in a name are nearly always words."""


class Name(NamedTuple):
    """A file's name taken apart."""

    stem: str
    format: Format | None
    compression: str | None
    """gz, zst, xz, bz2 or None."""


def split_name(name: str, kind: Kind = "bitext") -> Name:
    """`a.en-sw.tsv.gz` -> (`a.en-sw`, tsv, gz). A suffix that says no format stays in the stem."""
    path = PurePosixPath(name)
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression is not None:
        path = path.with_suffix("")
    suffix = path.suffix.lower()
    format = "text" if kind == "text" and suffix == TEXT_SUFFIX else SUFFIXES.get(suffix)
    return Name(path.stem if format else path.name, format, compression)


def tag_of(code: str) -> str | None:
    """The canonical tag of something that looks like a code, else None."""
    if not _WHOLE.match(code) or code in _NOT_CODES:
        return None
    try:
        return canonical_tag(code)
    except LanguageError:
        return None


def code_in_name(name: str, kind: Kind = "bitext") -> str | None:
    """The foreign language that a file's or folder's stem states, as written: `en-sw` anywhere, or a code after its last dot.

    Of text alone a pair says nothing: it may be of either language. A lone English is given too: the caller decides. None: no language, or
    two that disagree.
    """
    if kind == "bitext" and (code := code_of_pair(name)) is not None:
        return code
    last = name.rpartition(".")[2]
    return last if tag_of(last) is not None else None


def code_of_pair(name: str) -> str | None:
    """The language that stands beside English in a name (`nllb.en-sw`, `eng_Latn-swh_Latn`), as written; None: no pair, or two."""
    codes = [code for found in _PAIR.finditer(name) if (code := _foreign(found[1], found[2])) is not None]
    return codes[0] if len({canonical_tag(code) for code in codes}) == 1 else None


def _foreign(first: str, second: str) -> str | None:
    """The other side of a pair with English. `tat-en` in `tat-en-sw` is no pair: 639-3 beside 639-1."""
    if len(first.partition("_")[0].partition("-")[0]) != len(second.partition("_")[0].partition("-")[0]):
        return None
    tags = (tag_of(first), tag_of(second))
    if None in tags or (tags[0] == ENGLISH) == (tags[1] == ENGLISH):
        return None
    return second if tags[0] == ENGLISH else first


def code_in_path(relative: str, full: str = "", kind: Kind = "bitext") -> tuple[str, bool] | None:
    """(code as written, True when it is a `lang=` key) of the nearest part of a path that states a language.

    A `lang=` or `language=` folder decides, whatever the file's name is, and its value is not checked.

    Args:
        relative: Path below the source's folder: what names are looked for in.
        full: The whole path: what keys are looked for in, so that a file of a `lang=` folder may be given alone.
        kind: What the path is said to hold.
    """
    for folder in reversed((full or relative).split("/")[:-1]):
        key, equals, value = folder.partition("=")
        if equals and key in ("lang", "language"):
            return value, True
    *folders, file = relative.split("/")
    for part in [split_name(file, kind).stem, *reversed(folders)]:
        if (code := code_in_name(part, kind)) is not None:
            return code, False
    return None


def column_code(column: str) -> str | None:
    """The language that a column is named after, as written: `sw`, `swh_Latn`, `sentence_swh_Latn`, `translation.sw`."""
    code = _COLUMN_PREFIX.sub("", column)
    return code if tag_of(code) is not None else None
