"""Near-duplicate English sentences (or texts alone) of a corpus: MinHash bands of every bucket, then a verdict on each bucket of bands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_ray.data.building.spill import bucket_of, deal_out, read_spill, write_spill
from optical_ray.data.corpus_config import CleaningConfig
from optical_ray.data.near_duplicates import RECORDS, band_hashes, judge, shared_bands
from optical_ray.data.tasks import do_once

RECORDS_AT_A_TIME = 2**18
"""Records that are judged together; their trigrams take some 100 MB."""

HARVESTS = "harvests.json"
"""[file, runs] of every chunk, in their order."""

JUDGED = pa.schema([("order", pa.uint64())])
"""near/judged-<bucket>.arrow, record batch = bucket of the English key: hashes of the keys that go.
near/bands-<bucket>.arrow, record batch = bucket of the band hash: RECORDS."""


class NearTask(TypedDict):
    """Plain data."""

    bucket: int
    buckets: int
    cleaning: dict[str, Any]
    folder: str


def harvested(folder: Path, bucket: int, buckets: int, columns: list[str] | None = None) -> pa.Table:
    """The rows of one bucket, of all chunks."""
    found: list[pa.RecordBatch] = []
    for file, runs in json.loads((folder / HARVESTS).read_text(encoding="utf-8")):
        found += read_spill(folder / "harvest" / file, [run * buckets + bucket for run in range(runs)], columns)
    return pa.Table.from_batches(found) if found else pa.table({name: [] for name in columns or ()})


def band(task: NearTask) -> dict[str, Any]:
    """MinHash bands of the English keys of one bucket, dealt out by band hash."""
    path = Path(task["folder"]) / "near" / f"bands-{task['bucket']:04d}.arrow"
    return do_once(path.with_suffix(".json"), lambda: _band(task, path))


def _band(task: NearTask, path: Path) -> dict[str, Any]:
    rows = harvested(Path(task["folder"]), task["bucket"], task["buckets"], ["key", "order", "split"])
    orders, first = np.unique(rows["order"].to_numpy(), return_index=True) if rows.num_rows else (np.zeros(0, np.uint64), np.zeros(0, int))
    unique = rows.take(pa.array(first)).combine_chunks() if rows.num_rows else None
    if unique is None:
        write_spill(path, RECORDS, [RECORDS.empty_table()] * task["buckets"])
        return {"keys": 0}
    keys = unique["key"].chunk(0)
    bands = band_hashes(keys, CleaningConfig.parse(task["cleaning"], "cleaning").near_duplicate_similarity)
    place = np.repeat(np.arange(len(keys)), bands.shape[1])
    table = pa.table([bands.reshape(-1), orders[place], unique["split"].to_numpy()[place], keys.take(pa.array(place))], schema=RECORDS)
    write_spill(path, RECORDS, deal_out(table, bucket_of(bands.reshape(-1), task["buckets"]), task["buckets"]))
    return {"keys": len(keys)}


def judge_bucket(task: NearTask) -> dict[str, Any]:
    """The near-duplicates among the keys that share a band hash of this bucket, dealt out by key."""
    path = Path(task["folder"]) / "near" / f"judged-{task['bucket']:04d}.arrow"
    return do_once(path.with_suffix(".json"), lambda: _judge(task, path))


def _judge(task: NearTask, path: Path) -> dict[str, Any]:
    files = [path.with_name(f"bands-{bucket:04d}.arrow") for bucket in range(task["buckets"])]
    cleaning = CleaningConfig.parse(task["cleaning"], "cleaning")
    assert cleaning.near_duplicates != "off"
    bands = [batch["band"].to_numpy() for file in files for batch in read_spill(file, [task["bucket"]], ["band"])]
    gone = [np.zeros(0, np.uint64)]
    for part in shared_bands(np.concatenate([*gone, *bands]), RECORDS_AT_A_TIME):
        records = pa.Table.from_batches([_with_bands(batch, part) for file in files for batch in read_spill(file, [task["bucket"]])])
        gone.append(judge(records, cleaning.near_duplicate_similarity, cleaning.near_duplicates)["order"].to_numpy())
    orders = np.unique(np.concatenate(gone))
    write_spill(path, JUDGED, deal_out(pa.table([orders], schema=JUDGED), bucket_of(orders, task["buckets"]), task["buckets"]))
    return {"near_duplicates": len(orders)}


def _with_bands(records: pa.RecordBatch, bands: NDArray[np.uint64]) -> pa.RecordBatch:
    """The records of some band hashes, which are sorted."""
    band = records["band"].to_numpy()
    place = np.minimum(np.searchsorted(bands, band), len(bands) - 1)
    return records.filter(pa.array(bands[place] == band))


def near_duplicates_of(folder: Path, bucket: int, buckets: int) -> NDArray[np.uint64]:
    """Hashes of the keys of a bucket that are near-duplicates, uint64, sorted; empty when nothing was judged."""
    found = [batch["order"].to_numpy() for path in sorted((folder / "near").glob("judged-*.arrow")) for batch in read_spill(path, [bucket])]
    return np.unique(np.concatenate(found)) if found else np.zeros(0, np.uint64)
