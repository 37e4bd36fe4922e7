"""Tatoeba: the test set of LASER (Artetxe & Schwenk 2019), of which XTREME-R takes 41 languages (Ruder et al. 2021).

Accuracy there is Success@1 of the English line among the foreign ones (direction `en-xx` here). A line that repeats
another's text counts as wrong there; `duplicates=all` counts it as right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from optical_ray.errors import DataError
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.bitext import known_tags, read_folders
from optical_ray.retrieval.formats.downloads import SOURCES, missing
from optical_ray.retrieval.formats.lines import BadRow, decode_text, open_bytes, raw_lines
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.pairs import Bitext, Pair, choose_languages, keep_pairs, language_of, pair_collections, paired_languages
from optical_ray.retrieval.formats.skips import UNEQUAL_LINES, Skips

_CODES = "ar he vi id jv tl eu ml ta te af nl de el bn hi mr ur fa fr it pt es bg ru ja ka ko th sw zh kk tr et fi hu az lt pl uk ro"
XTREME_R = tuple(_CODES.split())
"""The benchmark's 41 languages."""
_FILE = re.compile(r"tatoeba\.([^.-]+)-eng\.(?!eng$)([^.]+)$")


def read_tatoeba(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection for each direction and language; of `tatoeba.<iso>-eng.*`, or of Parquet by language.

    Raises:
        DataError: files are missing or, `refuse`, have bad lines or other numbers of lines.
    """
    skips = Skips(options.on_bad)
    wanted = paired_languages(options) or (XTREME_R if options.language_set == "xtreme-r" else ())
    files = {}
    for file in sorted(path.glob("tatoeba.*-eng.*")):
        if (match := _FILE.match(file.name)) and match[1] == match[2]:
            files[match[1]] = file
    if not files:
        if any(path.glob("lang=*")):
            yield from read_folders("tatoeba", path, options, skips, wanted)
            return
        raise missing("tatoeba", path, "no file tatoeba.<iso>-eng.<iso> in it" if path.is_dir() else "no such folder")
    found = known_tags(list(files), wanted, str(path), skips)
    names = choose_languages(found, wanted, str(path), SOURCES["tatoeba"], skips)

    def read(name: str, own: Skips) -> Bitext:
        file = files[names[name]]
        pairs = keep_pairs(_lines(file, own), lambda number: f"{file}, line {number}", own)
        if not pairs:
            raise DataError(f"{file}: no line in it; fetch the file again")
        return Bitext(name, language_of(name, names[name], found[names[name]]), str(file), "line", pairs)

    yield from pair_collections("tatoeba", options, list(names), read, skips)


def _lines(file: Path, skips: Skips) -> Iterator[Pair]:
    """Both files side by side, blank lines included: a line's number is what pairs it."""
    english_file = file.with_suffix(".eng")
    if not english_file.is_file():
        raise missing("tatoeba", english_file, "no such file")
    foreign, english = _read(file), _read(english_file)
    if len(foreign) != len(english):
        short, long = sorted((file, english_file), key=lambda each: len(foreign if each is file else english))
        counts = sorted((len(foreign), len(english)))
        skips.bad(
            UNEQUAL_LINES,
            f"{short}: {counts[0]} lines, {long.name} has {counts[1]}; expected as many in both, fetch them again",
            counts[1] - counts[0],
        )
    for number, sides in enumerate(zip_longest(english, foreign), start=1):
        if None in sides:
            return
        try:
            yield Pair(number, *(decode_text(side) for side in sides))
        except BadRow as bad:
            skips.bad(bad.reason, f"{file} and .eng, line {number}: {bad.found}")


def _read(path: Path) -> list[bytes]:
    with open_bytes(path) as stream:
        return [line for _, line in raw_lines(stream)]
