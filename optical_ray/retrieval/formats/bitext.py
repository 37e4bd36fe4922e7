"""Bitext retrieval: folders of Parquet by language, and the held-out rows of a corpus that was built here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.artifacts import MANIFEST
from optical_ray.data.corpus import Corpus
from optical_ray.errors import DataError, LanguageError
from optical_ray.languages.codes import canonical_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.downloads import SOURCES, missing
from optical_ray.retrieval.formats.lines import BadRow, check_text
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.pairs import Bitext, Pair, choose_languages, keep_pairs, language_of, pair_collections, paired_languages
from optical_ray.retrieval.formats.skips import BROKEN_ROW, Skips

UNKNOWN_LANGUAGE = "file of an unknown language"


def read_bitext(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection for each direction and language (or pair of languages).

    Of a built corpus, the rows of `options.split`; a folder of Parquet is read whole. Candidates are all lines of the language searched,
    repetitions included; see `FormatOptions.duplicates`.

    Raises:
        DataError: files are missing or, `refuse`, rows are bad.
    """
    skips = Skips(options.on_bad)
    if (path / MANIFEST).is_file():
        corpus = Corpus.open(path)
        corpus.require_bitext()
        found = {tag: tag for tag in corpus.languages}
        names = choose_languages(found, paired_languages(options), str(path), SOURCES["bitext"], skips)
        yield from pair_collections("bitext", options, list(names), lambda name, own: _held_out(corpus, name, options, own), skips)
        return
    yield from read_folders("bitext", path, options, skips)


def read_folders(task: str, path: Path, options: FormatOptions, skips: Skips, wanted: tuple[str, ...] = ()) -> Iterator[Collection]:
    """Collections of `lang=<code>/part-*.parquet`, columns english and text."""
    folders = {folder.name.removeprefix("lang="): folder for folder in sorted(path.glob("lang=*")) if folder.is_dir()}
    if not folders:
        raise missing(task, path, "no folder lang=<code> in it" if path.is_dir() else "no such folder")
    wanted = paired_languages(options) or wanted
    found = known_tags(list(folders), wanted, str(path), skips)
    names = choose_languages(found, wanted, str(path), SOURCES[task], skips)

    def read(name: str, own: Skips) -> Bitext:
        folder = folders[names[name]]
        pairs = keep_pairs(_rows(folder, own), lambda number: f"{folder}, row {number}", own)
        if not pairs:
            raise DataError(f"{folder}: no pair in it; expected part-*.parquet with english and text")
        return Bitext(name, language_of(name, names[name], found[names[name]]), str(folder), "row", pairs)

    yield from pair_collections(task, options, list(names), read, skips)


def known_tags(codes: list[str], wanted: Sequence[str], where: str, skips: Skips) -> dict[str, str]:
    """Code -> canonical tag, of those that are languages; where some are wanted, files of unknown ones are nobody's concern."""
    found = {}
    for code in codes:
        try:
            found[code] = canonical_tag(code)
        except LanguageError as error:
            if not wanted:
                skips.bad(UNKNOWN_LANGUAGE, f"{where}: {error}; rename it, or name languages")
    return found


def _rows(folder: Path, skips: Skips) -> Iterator[Pair]:
    """Rows of all parts, numbered through."""
    number = 0
    for part in sorted(folder.glob("part-*.parquet")):
        try:
            with pq.ParquetFile(part) as file:  # `lang` is a column and a folder: reading the folder as a data set raises
                table = file.read(columns=["english", "text"])
                if table.num_columns != 2:
                    raise DataError(f"{part}: has columns {', '.join(file.schema_arrow.names)}; expected english and text, each once")
                columns = [table[name].to_pylist() for name in ("english", "text")]
        except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
            raise DataError(f"{part}: cannot be read as Parquet ({str(error).partition(chr(10))[0]}); copy the file again") from None
        for english, text in zip(*columns, strict=True):
            number += 1
            try:
                yield Pair(number, _string(english), _string(text))
            except BadRow as bad:
                skips.bad(bad.reason, f"{folder}, row {number}: {bad.found}")


def _string(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow(BROKEN_ROW, f"a {type(value).__name__}, expected a string; cast the column")
    return check_text(value)


def _held_out(corpus: Corpus, tag: str, options: FormatOptions, skips: Skips) -> Bitext:
    rows = corpus.rows(tag, options.split, ("english", "text")).to_pydict()
    if not rows["text"]:
        raise DataError(f"{corpus.folder}: {tag} has no row in the {options.split} split; leave it out, or build with a larger share")
    pairs = (Pair(number, english, text) for number, (english, text) in enumerate(zip(rows["english"], rows["text"], strict=True), start=1))
    source = f"{corpus.folder}, lang={tag}, {options.split}"
    return Bitext(tag, tag, source, "row", keep_pairs(pairs, lambda number: f"{source}, row {number}", skips))
