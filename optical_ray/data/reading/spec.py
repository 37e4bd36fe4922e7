"""A source is one string, `PATH[,key=value...]`: what the command line and recipes write."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Literal, get_args

from optical_ray.data.reading.chunks import Format, Kind
from optical_ray.errors import ConfigError, LanguageError
from optical_ray.languages.codes import canonical_tag

CATALOGS = "catalogs"
HUB_PREFIX = "hf:"

_KEYS = ("format", "lang", "english", "text", "lang_column", "header", "name", "licence")
_HUB_KEYS = (*_KEYS, "config", "split", "revision")
_OPTION = re.compile(r"^(?P<key>\w+)=(?P<value>.*)$", re.DOTALL)
FORMATS: dict[Kind, tuple[Format, ...]] = {
    "bitext": tuple(format for format in get_args(Format) if format not in ("catalogs", "text")),
    "text": ("text", "tsv", "csv", "jsonl", "parquet", "arrow"),
}
PAIRS = "holds pairs, and this corpus is of text alone (kind=text); give text files, one of each language, or build it with kind=bitext"
TEXT = "a text file is no bitext; say kind=text for a corpus of text alone"


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """One source as the user gave it; None: find out."""

    path: str
    """A file, folder, glob or URI; `catalogs`; or `hf:OWNER/NAME`."""
    kind: Kind = "bitext"
    """Of the corpus that it is for."""
    format: Format | None = None
    lang: str | None = None
    """Language of every row, in any usual code."""
    english: str | None = None
    """Column of the English side: a name, dotted inside a struct, or a 1-based number."""
    text: str | None = None
    lang_column: str | None = None
    header: Literal["yes", "no", "auto"] = "auto"
    name: str | None = None
    licence: str | None = None
    config: str | None = None
    """Hub only, as the next two: configuration, split, revision (branch, tag or commit) of the data set."""
    split: str | None = None
    revision: str | None = None

    @property
    def is_hub(self) -> bool:
        """True for a data set of the Hugging Face hub."""
        return self.path.startswith(HUB_PREFIX)


def parse_source(text: str, kind: Kind = "bitext") -> SourceSpec:
    """Read a source string. Only `,word=` splits, so a path may hold commas.

    Raises:
        ConfigError: an unknown key (the known ones are listed), a repeated one, a value that is none of its choices, or what does not go
            with the kind of corpus.
    """
    if (shown := printable(text)) != text:
        raise ConfigError(f"source '{shown}': is not UTF-8; names stand in the manifest, so rename the file or folder, or mend the value")
    path, *rest = re.split(r",(?=\w+=)", text)
    keys = _HUB_KEYS if path.startswith(HUB_PREFIX) else () if path == CATALOGS else _KEYS
    values: dict[str, str] = {}
    for option in rest:
        found = _OPTION.match(option)
        assert found is not None, "the split above leaves key=value"
        key, value = found["key"], found["value"]
        if key not in keys:
            known = f"it takes {', '.join(keys)}" if keys else "it takes none"
            raise ConfigError(f"source {text!r}: unknown key {key!r}; {known} (a comma inside a path is read, unless word= follows it)")
        if key in values:
            raise ConfigError(f"source {text!r}: {key} is given twice; give it once")
        if not value:
            raise ConfigError(f"source {text!r}: {key} is empty; give a value, or leave it out")
        values[key] = value
    if not path.strip() or path == HUB_PREFIX:
        raise ConfigError(f"source {text!r}: no path; expected PATH[,key=value...], catalogs, or hf:OWNER/NAME")
    format = values.get("format")
    if kind == "text" and (path == CATALOGS or format in ("moses", "tmx")):
        raise ConfigError(f"source {text!r}: {PAIRS}")
    if kind == "text" and "english" in values:
        raise ConfigError(f"source {text!r}: english={values['english']}, but this corpus is of text alone (kind=text); say text=COLUMN")
    if kind == "bitext" and format == "text":
        raise ConfigError(f"source {text!r}: format=text: {TEXT}")
    _check_choice(text, "format", format, FORMATS[kind])
    _check_choice(text, "header", values.get("header"), ("yes", "no", "auto"))
    if "lang" in values:
        try:
            canonical_tag(values["lang"])
        except LanguageError as error:
            raise ConfigError(f"source {text!r}: lang: {error}") from None
    return SourceSpec(path, kind, **values)  # type: ignore[arg-type]  # both choices are checked above


def printable(name: str) -> str:
    """A name as it can be written down: bytes that are not UTF-8 (Python holds them as lone surrogates) as `\\xff`."""
    try:
        return os.fsencode(name).decode(errors="backslashreplace")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return name.encode(errors="backslashreplace").decode()


def _check_choice(text: str, key: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise ConfigError(f"source {text!r}: {key}={value}; expected {', '.join(choices)}")
