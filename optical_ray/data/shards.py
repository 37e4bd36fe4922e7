"""One language: raw rows -> cleaned, split, shuffled shard. Pure per language, so that any driver may map it in any order."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.data.catalogs import RawRow, read_catalogs
from optical_ray.data.cleaning import CleaningConfig, clean
from optical_ray.data.parquet_source import read_bitext
from optical_ray.data.splits import SPLITS, SplitConfig, assign_split
from optical_ray.languages.codes import describe_language

Reader = Literal["catalogs", "parquet"]

SHARD = pa.schema(
    [
        pa.field(
            "id", pa.string(), nullable=False
        ),  # <tag>-<16 hex digits>, a hash of the two texts: it survives a rebuild with other rows
        pa.field("english", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # train | valid | test
        pa.field("english_chars", pa.int32(), nullable=False),
        pa.field("text_chars", pa.int32(), nullable=False),
    ]
)
"""lang=<tag>/part-0.parquet, in the order of `id`: as good as shuffled, and the same whatever order the rows came in."""

ROW_GROUP_ROWS = 8192
"""Small enough to stream."""


class SourcePart(TypedDict):
    """One file (or locale of a wheel) that has text of the language."""

    path: str
    code: str
    """The language as the source writes it: a locale, or what stands after `lang=`."""
    source: str
    """Name that the rows carry, and that licences are kept under."""


class LanguageTask(TypedDict):
    """All that `build_language` needs; plain data, since it crosses processes."""

    tag: str
    reader: Reader
    parts: list[SourcePart]
    """In order of preference: of two rows of the same English the first one stays."""
    cleaning: dict[str, Any]
    split: dict[str, Any]
    min_pairs: int
    folder: str
    """Where `lang=<tag>/` goes."""


class LanguageSummary(TypedDict):
    """What became of one language; plain data."""

    tag: str
    name: str
    script: str
    codes: list[str]
    read: int
    """Raw rows."""
    kept: int
    written: bool
    """False: fewer than `min_pairs` were kept, and there is no shard."""
    pairs: dict[str, dict[str, int]]
    """split -> source -> rows kept."""
    dropped: dict[str, int]
    """rule -> rows."""
    median_english_words: float
    """Whitespace-separated."""
    median_english_chars: float
    median_text_chars: float


def build_language(task: LanguageTask) -> LanguageSummary:
    """Read, clean, split and write one language.

    The result depends on the task alone: not on the process, the order of tasks or Python's hash seed. Dictionaries of two summaries
    have different keys, so a driver that turns results into Arrow tables passes them as JSON.

    Raises:
        DataError: a source cannot be read.
    """
    language = describe_language(task["tag"])
    split = SplitConfig.parse(task["split"], "split")
    rows = list(chain.from_iterable(_read_part(part, task["reader"]) for part in task["parts"]))
    kept, dropped = clean(rows, language, CleaningConfig.parse(task["cleaning"], "cleaning"))
    by_id = {
        record[0]: record for record in (_record(language.tag, row, split) for row in reversed(kept))
    }  # an id stands once, the first row wins
    records = [by_id[row_id] for row_id in sorted(by_id)]
    written = len(records) >= task["min_pairs"]
    if written:
        folder = Path(task["folder"]) / f"lang={language.tag}"
        folder.mkdir(parents=True, exist_ok=True)
        columns = [list(column) for column in zip(*records, strict=True)]
        table = pa.table([pa.array(column, field.type) for column, field in zip(columns, SHARD, strict=True)], schema=SHARD)
        pq.write_table(table, folder / "part-0.parquet", compression="zstd", row_group_size=ROW_GROUP_ROWS)
    counts = Counter((record[4], record[3]) for record in records)
    dropped["duplicate"] += len(kept) - len(records)
    return {
        "tag": language.tag,
        "name": language.name,
        "script": language.script,
        "codes": list(dict.fromkeys(part["code"] for part in task["parts"])),
        "read": len(rows),
        "kept": len(records),
        "written": written,
        "pairs": {name: {source: n for (where, source), n in sorted(counts.items()) if where == name} for name in SPLITS},
        "dropped": {rule: n for rule, n in sorted(dropped.items()) if n},
        "median_english_words": float(statistics.median([len(record[1].split()) for record in records] or [0])),
        "median_english_chars": float(statistics.median([record[5] for record in records] or [0])),
        "median_text_chars": float(statistics.median([record[6] for record in records] or [0])),
    }


def _read_part(part: SourcePart, reader: Reader) -> Iterator[RawRow]:
    if reader == "catalogs":
        return read_catalogs(Path(part["path"]), part["code"], part["source"])
    return read_bitext(Path(part["path"]), part["source"])


def _record(tag: str, row: RawRow, split: SplitConfig) -> tuple[str, str, str, str, str, int, int]:
    """A row of SHARD. Its id is a hash of both texts, so sorting by it shuffles; it is not the hash that splits, so splits stay mixed."""
    digest = hashlib.blake2b(f"{row.english}\x1f{row.text}".encode(), digest_size=8).hexdigest()
    return f"{tag}-{digest}", row.english, row.text, row.source, assign_split(row.english, split), len(row.english), len(row.text)
