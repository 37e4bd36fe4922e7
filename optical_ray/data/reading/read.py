"""One chunk -> batches of rows, one language each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optical_ray.data.catalogs import read_catalogs
from optical_ray.data.reading.chunks import BATCH_ROWS, Chunk, Format, OnBadRow, RawBatch
from optical_ray.data.reading.delimited import read_csv, read_tsv
from optical_ray.data.reading.json_lines import read_jsonl
from optical_ray.data.reading.moses import read_moses
from optical_ray.data.reading.rows import Rows, keep
from optical_ray.data.reading.tables import read_arrow, read_parquet
from optical_ray.data.reading.tally import BadRows, Tally
from optical_ray.data.reading.text import read_text
from optical_ray.data.reading.tmx import NO_LANGUAGE, read_tmx
from optical_ray.errors import DataError, LanguageError
from optical_ray.languages.codes import ENGLISH, canonical_tag

SOURCE_LANGUAGE = "source side not English"
"""Kind of bad row."""

IS_ENGLISH = "English is the other side"
NOT_A_CODE = "no language code"
NOT_ASKED_FOR = "not the language that lang= asks for"
"""Reasons for skipping a language."""


def read_chunk(chunk: Chunk, on_bad_row: OnBadRow, tally: Tally) -> Iterator[RawBatch]:
    """The rows of a chunk in their order, at most BATCH_ROWS in memory at a time.

    Depends on the chunk and the bytes of its files alone.

    Args:
        chunk: One of a `SourcePlan`.
        on_bad_row: `refuse`: damage inside the data is an error. `skip`: it is counted, and the rest is read.
        tally: Counts; complete when the iterator has ended.

    Raises:
        DataError: a file is missing, unreadable or, `refuse`, damaged; or rows are of an unknown language that the chunk does not skip.
    """
    bad = BadRows(on_bad_row, tally)
    done = 0
    for rows in _READERS[chunk["format"]](chunk, bad):
        for batch in _by_language(rows, chunk, done, bad, tally):
            if len(batch.text):
                done += len(batch.text)
                tally.read += len(batch.text)
                yield batch


def _read_catalogs(chunk: Chunk, bad: BadRows) -> Iterator[Rows]:
    [path], [target] = chunk["paths"], chunk["layout"]["targets"]
    rows = read_catalogs(Path(path), str(target["code"]), chunk["source"])
    while batch := list(islice(rows, BATCH_ROWS)):
        english, text, _ = (pa.array(column, pa.string()) for column in zip(*batch, strict=True))
        yield Rows(english, [text], None, None, lambda row: path)


_READERS: dict[Format, Callable[[Chunk, BadRows], Iterator[Rows]]] = {
    "moses": read_moses,
    "tsv": read_tsv,
    "csv": read_csv,
    "jsonl": read_jsonl,
    "tmx": read_tmx,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "catalogs": _read_catalogs,
    "text": read_text,
}


def _by_language(rows: Rows, chunk: Chunk, first: int, bad: BadRows, tally: Tally) -> Iterator[RawBatch]:
    rows, alone = _from_english(rows, bad), rows.english is None
    for target, text in zip(chunk["layout"]["targets"], rows.texts, strict=False):
        if rows.langs is None:
            assert target["tag"] is not None and target["code"] is not None, "the plan names the language of rows that do not"
            yield RawBatch(target["tag"], target["code"], chunk["source"], rows.english, text, first)
            first += len(text)
    if rows.langs is None:
        return
    asked = next((target["tag"] for target in chunk["layout"]["targets"]), None)
    codes = rows.langs.dictionary_encode()
    of_row = codes.indices.to_numpy(zero_copy_only=False)
    for index, code in enumerate(codes.dictionary.to_pylist()):
        at = np.flatnonzero(of_row == index)
        tag = _tag_of_rows(code, at, rows, chunk, bad)
        is_other_side = tag == ENGLISH and not alone
        if tag is None or is_other_side or asked not in (None, tag):
            if code:
                skipped = NOT_A_CODE if tag is None else IS_ENGLISH if is_other_side else NOT_ASKED_FOR
                tally.skipped[code, skipped] += len(at)
            continue
        where = None if len(at) == len(of_row) else pa.array(at)
        english, text = (column if where is None or column is None else column.take(where) for column in (rows.english, rows.texts[0]))
        yield RawBatch(tag, code, chunk["source"], english, text, first)
        first += len(at)


def _from_english(rows: Rows, bad: BadRows) -> Rows:
    """Without the rows that say that their source side is another language."""
    if rows.source_langs is None:
        return rows
    good = np.ones(len(rows.source_langs), bool)
    for code in pc.unique(rows.source_langs).to_pylist():
        if _tag(code) != ENGLISH:
            at = np.flatnonzero(np.asarray(pc.equal(rows.source_langs, code)))
            found = f"the source side is {code!r}, expected English"
            bad.add(SOURCE_LANGUAGE, rows.where(int(at[0])), found, "turn the pair round, or say english=COLUMN", len(at))
            good[at] = False
    english, langs, *texts = keep([rows.english, rows.langs, *rows.texts], good)
    at = np.flatnonzero(good)
    return Rows(english, texts, langs, None, lambda row: rows.where(int(at[row])))


def _tag_of_rows(code: str, at: np.ndarray, rows: Rows, chunk: Chunk, bad: BadRows) -> str | None:
    where = rows.where(int(at[0]))
    if not code.strip():
        bad.add(NO_LANGUAGE, where, "no language", "fill the column of languages", len(at))
        return None
    try:
        return canonical_tag(code)
    except LanguageError as error:
        if chunk["unknown_languages"] == "refuse":
            raise DataError(f"{where}: {error}; mend it, or set corpus.unknown_languages=skip") from None
        return None


def _tag(code: str) -> str | None:
    try:
        return canonical_tag(code)
    except LanguageError:
        return None
