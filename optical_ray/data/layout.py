"""The files of a corpus: names, schemas, and how a row's number leads to its place."""

from __future__ import annotations

import pyarrow as pa

from optical_ray.data.corpus_config import Split

FORMAT_VERSION = 2
"""Part of every corpus's fingerprint: raised when a file's layout or a rule's meaning changes."""

BLOCK_ROWS = 4096
"""Rows that are read at a time: a row group."""

ENGLISH_FOLDER = "english/"

PART_ROWS = 256 * BLOCK_ROWS
"""Rows of a file; the last file of a split may hold fewer."""

SHARD = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # <tag>-<16 hex digits>, a hash of both texts: it survives a rebuild
        pa.field("english_id", pa.int32(), nullable=False),  # row of the English table; -1: text alone
        pa.field("english", pa.string(), nullable=False),  # empty: text alone
        pa.field("text", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # train | valid | test, the same in the whole file
        pa.field("english_chars", pa.int32(), nullable=False),
        pa.field("text_chars", pa.int32(), nullable=False),
    ]
)
"""lang=<tag>/part-<split>-00000.parquet, in the order of a hash of the English key (of text alone: of its own): as good as shuffled."""

ENGLISH_TABLE = pa.schema(
    [
        pa.field("english_id", pa.int32(), nullable=False),  # 0, 1, 2, ...: the row's own number
        pa.field("english", pa.string(), nullable=False),  # unique; in the order of the hash of `key`
        pa.field("split", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),  # equal keys are one sentence but for case, punctuation and spaces
    ]
)
"""english/part-00000.parquet: every English string of the corpus once. A teacher encodes this table, rows refer to it by english_id."""


def shard_part(tag: str, split: Split, part: int) -> str:
    """Path inside the corpus of one part of a language's split."""
    return f"lang={tag}/part-{split}-{part:05d}.parquet"


def shard_parts(tag: str, split: Split) -> str:
    """How the paths of all parts of a language's split begin."""
    return shard_part(tag, split, 0).removesuffix("00000.parquet")


def english_part(part: int) -> str:
    """Path inside the corpus of one part of the English table."""
    return f"{ENGLISH_FOLDER}part-{part:05d}.parquet"
