"""A chunk of a source: read, cleaned, hashed, and dealt out to the buckets of its English keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypedDict

import pyarrow as pa

from optical_ray.data.building.spill import bucket_of, deal_out, open_spill
from optical_ray.data.cleaning import clean_batch
from optical_ray.data.corpus_config import CleaningConfig, SplitConfig
from optical_ray.data.reading import Chunk, Tally, read_chunk
from optical_ray.data.splits import hash_keys, splits_of
from optical_ray.data.tasks import do_once
from optical_ray.languages.codes import describe_language

RUN_BYTES = 48 * 2**20
"""Cleaned rows that a task holds before it writes them out."""

HARVEST = pa.schema(
    [
        pa.field("tag", pa.string()),
        pa.field("source", pa.string()),
        pa.field("english", pa.string()),  # empty: text alone
        pa.field("text", pa.string()),
        pa.field("key", pa.string()),  # split_key of english, or of the text alone
        pa.field("order", pa.uint64()),  # hash of the key: the place in the corpus
        pa.field("split", pa.int8()),  # index into SPLITS
        pa.field("rank", pa.int64()),  # chunk << 40 | row: of two rows of one key the lower rank is the preferred one
    ]
)
"""harvest/<chunk>.arrow: record batch `run * buckets + bucket`."""


class HarvestTask(TypedDict):
    """Plain data: it crosses processes."""

    chunk: Chunk
    cleaning: dict[str, Any]
    split: dict[str, Any]
    on_bad_row: Literal["refuse", "skip"]
    buckets: int
    """A power of two."""
    folder: str


class HarvestSummary(TypedDict):
    """What became of a chunk; plain data."""

    file: str
    runs: int
    languages: dict[str, dict[str, Any]]
    """tag -> codes: as the source writes it; read: source -> raw rows; dropped: rule -> rows."""
    tally: dict[str, Any]
    """Bad rows, and rows whose language was skipped."""


def harvest(task: HarvestTask) -> HarvestSummary:
    """Read and clean one chunk into the scratch folder.

    Raises:
        DataError: the source cannot be read; ArtifactError: the folder cannot be written.
    """
    path = Path(task["folder"]) / "harvest" / f"{task['chunk']['order']:06d}.arrow"
    return do_once(path.with_suffix(".json"), lambda: dict(_harvest(task, path)))  # type: ignore[return-value]


def _harvest(task: HarvestTask, path: Path) -> HarvestSummary:
    tally, languages, runs = Tally(), dict[str, dict[str, Any]](), 0
    with open_spill(path, HARVEST) as append:
        for table in _runs(task, tally, languages):
            for rows in deal_out(table, bucket_of(table["order"].to_numpy(), task["buckets"]), task["buckets"]):
                append(rows)
            runs += 1
    return {"file": path.name, "runs": runs, "languages": languages, "tally": tally.to_dict()}


def _runs(task: HarvestTask, tally: Tally, languages: dict[str, dict[str, Any]]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    size = 0
    for table in _clean(task, tally, languages):
        held.append(table)
        size += table.nbytes
        if size >= RUN_BYTES:
            yield pa.concat_tables(held)
            held, size = [], 0
    if held:
        yield pa.concat_tables(held)


def _clean(task: HarvestTask, tally: Tally, languages: dict[str, dict[str, Any]]) -> Iterator[pa.Table]:
    cleaning, split = CleaningConfig.parse(task["cleaning"], "cleaning"), SplitConfig.parse(task["split"], "split")
    for batch in read_chunk(task["chunk"], task["on_bad_row"], tally):
        language = describe_language(batch.tag)
        cleaned = clean_batch(batch.english, batch.text, language, cleaning)
        facts = languages.setdefault(batch.tag, {"codes": [], "read": {}, "dropped": {}})
        if batch.code not in facts["codes"]:
            facts["codes"].append(batch.code)
        facts["read"][batch.source] = facts["read"].get(batch.source, 0) + len(batch.text)
        facts["dropped"] = dict(Counter(facts["dropped"]) + cleaned.dropped)
        place, order = hash_keys(cleaned.keys, split.salt)
        rank = (task["chunk"]["order"] << 40) + batch.first_row + cleaned.rows
        repeated = [pa.repeat(value, len(rank)) for value in (batch.tag, batch.source)]
        english = pa.repeat("", len(rank)) if cleaned.english is None else cleaned.english
        yield pa.table([*repeated, english, cleaned.text, cleaned.keys, order, splits_of(place, split), rank], schema=HARVEST)
