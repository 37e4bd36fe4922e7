"""One bucket, all languages: duplicates out, the rest in the order of the corpus; then its English strings, numbered."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from optical_ray.data.building.near import harvested, near_duplicates_of
from optical_ray.data.building.spill import read_spill, write_spill
from optical_ray.data.corpus_config import SPLITS
from optical_ray.data.splits import split_keys
from optical_ray.data.tasks import do_once

SETTLED = pa.schema(
    [
        pa.field("id", pa.string()),  # <tag>-<16 hex digits>, a hash of the two texts: it survives a rebuild with other rows
        pa.field("english", pa.string()),  # empty: text alone
        pa.field("text", pa.string()),
        pa.field("source", pa.string()),
        pa.field("key", pa.string()),
        pa.field("order", pa.uint64()),
    ]
)
"""settled/<bucket>.arrow: one record batch for each (language, split) of the summary's `groups`."""

ENGLISH = pa.schema([("english", pa.string()), ("split", pa.int8()), ("key", pa.string())])
"""english/<bucket>.arrow: one record batch, in the order of (hash of the key, string)."""

NUMBERS = pa.schema([("number", pa.int32())])
"""numbers/<bucket>.arrow: parallel to settled/, each row's place among the bucket's English strings."""

Group = tuple[str, int, int]
"""(tag, index into SPLITS, rows)."""

IDS_AT_A_TIME = 16_384
SEPARATOR = "\x1f"


class SettleTask(TypedDict):
    """Plain data."""

    bucket: int
    buckets: int
    duplicates: Literal["english", "pair", "keep"]
    folder: str


class SettleSummary(TypedDict):
    """What became of a bucket; plain data."""

    bucket: int
    groups: list[Group]
    """Of each record batch, sorted."""
    sources: dict[str, dict[str, dict[str, int]]]
    """tag -> split -> source -> rows kept."""
    dropped: dict[str, dict[str, int]]
    """tag -> rule -> rows."""
    lengths: dict[str, dict[str, dict[str, int]]]
    """tag -> english_words, english_chars, text_words, text_chars -> length -> rows."""


def settle(task: SettleTask) -> SettleSummary:
    """Remove duplicates (and what was judged a near-duplicate) from one bucket, and sort it."""
    path = Path(task["folder"]) / "settled" / f"{task['bucket']:04d}.arrow"
    return do_once(path.with_suffix(".json"), lambda: dict(_settle(task, path)))  # type: ignore[return-value]


def _settle(task: SettleTask, path: Path) -> SettleSummary:
    folder = Path(task["folder"])
    rows = harvested(folder, task["bucket"], task["buckets"])
    summary: SettleSummary = {"bucket": task["bucket"], "groups": [], "sources": {}, "dropped": {}, "lengths": {}}
    if not rows.num_rows:
        write_spill(path, SETTLED, [])
        return summary
    tags = sorted(pc.unique(rows["tag"]).to_pylist())
    tag = pc.index_in(rows["tag"], pa.array(tags)).to_numpy()
    rows, tag = _sort(rows, tag, np.lexsort((rows["rank"].to_numpy(), rows["order"].to_numpy(), tag)))
    fate = np.zeros(len(tag), np.int8)  # 0: kept, 1: duplicate, 2: near-duplicate
    fate[np.isin(rows["order"].to_numpy(), near_duplicates_of(folder, task["bucket"], task["buckets"]))] = 2
    fate[_repeats(rows, tag, task["duplicates"])] = 1
    for rule, value in (("duplicate", 1), ("near-duplicate", 2)):
        for index, count in Counter(tag[fate == value].tolist()).items():
            summary["dropped"].setdefault(tags[index], {})[rule] = count
    kept = np.flatnonzero(fate == 0)
    split = rows["split"].to_numpy()[kept]
    rows, tag = _sort(rows, tag, kept[np.lexsort((np.arange(len(kept)), split, tag[kept]))])
    rows = rows.append_column("id", _ids(rows, copies=task["duplicates"] == "keep"))
    group = tag.astype(np.int64) * len(SPLITS) + rows["split"].to_numpy()
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)] if len(group) else [0]
    batches = [rows.slice(first, last - first) for first, last in itertools.pairwise(edges)]
    for batch in batches:
        name, place = batch["tag"][0].as_py(), batch["split"][0].as_py()
        summary["groups"].append((name, place, batch.num_rows))
        counts = Counter(batch["source"].to_pylist())
        summary["sources"].setdefault(name, {})[SPLITS[place]] = dict(sorted(counts.items()))
        _count_lengths(summary["lengths"].setdefault(name, {}), batch)
    write_spill(path, SETTLED, (batch.select(SETTLED.names) for batch in batches))
    return summary


def _sort(rows: pa.Table, tag: NDArray[np.int32], order: NDArray[np.intp]) -> tuple[pa.Table, NDArray[np.int32]]:
    return rows.take(pa.array(order)).combine_chunks(), tag[order]


def _repeats(rows: pa.Table, tag: NDArray[np.int32], duplicates: str) -> NDArray[np.intp]:
    """Rows, sorted by (tag, order, rank), that repeat an earlier one of their language."""
    if duplicates == "keep":
        return np.zeros(0, np.intp)
    keys = [tag, rows["key"].combine_chunks().dictionary_encode().indices.to_numpy()]
    if duplicates == "pair":
        keys.append(split_keys(rows["text"].combine_chunks()).dictionary_encode().indices.to_numpy())
    by_key = np.lexsort((np.arange(len(tag)), *keys))
    same = np.all([key[by_key][1:] == key[by_key][:-1] for key in keys], axis=0)
    return by_key[1:][same]


def _ids(rows: pa.Table, copies: bool) -> pa.ChunkedArray:
    """`<tag>-<hash>` of each row; `copies`: the second of two equal rows gets `-2` behind it, and so on."""
    hashes: list[str] = []
    for first in range(0, rows.num_rows, IDS_AT_A_TIME):
        part = rows.slice(first, IDS_AT_A_TIME)
        both = pc.binary_join_element_wise(part["english"], part["text"], SEPARATOR).cast(pa.binary())
        hashes += [hashlib.blake2b(value, digest_size=8).hexdigest() for value in both.to_pylist()]
    ids = pc.binary_join_element_wise(rows["tag"], pa.chunked_array([pa.array(hashes, pa.string())]), "-")
    if not copies:
        return ids
    seen, numbered = Counter[str](), []
    for row_id in ids.to_pylist():
        seen[row_id] += 1
        numbered.append(row_id if seen[row_id] == 1 else f"{row_id}-{seen[row_id]}")
    return pa.chunked_array([pa.array(numbered, pa.string())])


def _count_lengths(lengths: dict[str, dict[str, int]], batch: pa.Table) -> None:
    for side in ("english", "text"):
        chars = pc.utf8_length(batch[side])
        words = pc.if_else(pc.greater(chars, 0), pc.add(pc.count_substring(batch[side], " "), 1), 0)  # cleaned: single spaces
        for unit, values in (("words", words), ("chars", chars)):
            counts = Counter(lengths.get(f"{side}_{unit}", {}))
            found, rows = np.unique(values.to_numpy(), return_counts=True)
            counts.update({str(length): int(number) for length, number in zip(found, rows, strict=True)})
            lengths[f"{side}_{unit}"] = dict(counts)


class NumberTask(TypedDict):
    """Plain data."""

    bucket: int
    groups: list[Group]
    left_out: list[str]
    """Languages that will not be in the corpus."""
    folder: str


def number(task: NumberTask) -> dict[str, Any]:
    """Collect the English strings of one bucket, and each row's place among them; returns their count by split."""
    path = Path(task["folder"]) / "english" / f"{task['bucket']:04d}.arrow"
    return do_once(path.with_suffix(".json"), lambda: _number(task, path))


def _number(task: NumberTask, path: Path) -> dict[str, Any]:
    settled = path.parent.parent / "settled" / path.name
    wanted = [index for index, (tag, _, _) in enumerate(task["groups"]) if tag not in task["left_out"]]
    batches = [read_spill(settled, [index], ["english", "key", "order"])[0] for index in wanted]
    splits = [np.full(task["groups"][index][2], task["groups"][index][1], np.int8) for index in wanted]
    if not batches:
        write_spill(path, ENGLISH, [ENGLISH.empty_table()])
        write_spill(path.parent.parent / "numbers" / path.name, NUMBERS, [NUMBERS.empty_table()] * len(task["groups"]))
        return {"bucket": task["bucket"], "splits": dict.fromkeys(SPLITS, 0)}
    rows = pa.Table.from_batches(batches).append_column("split", pa.array(np.concatenate(splits)))
    code = rows["english"].combine_chunks().dictionary_encode().indices.to_numpy()
    _, first, place = np.unique(code, return_index=True, return_inverse=True)
    unique = rows.take(pa.array(first))
    order = pc.sort_indices(unique, sort_keys=[("order", "ascending"), ("english", "ascending")])
    unique = unique.take(order)
    rank = np.empty(len(order), np.int32)
    rank[order.to_numpy()] = np.arange(len(order), dtype=np.int32)
    numbers, at = [NUMBERS.empty_table()] * len(task["groups"]), 0
    for index in wanted:
        size = task["groups"][index][2]
        numbers[index] = pa.table([rank[place[at : at + size]]], schema=NUMBERS)
        at += size
    write_spill(path, ENGLISH, [unique.select(ENGLISH.names)])
    write_spill(path.parent.parent / "numbers" / path.name, NUMBERS, numbers)
    counts = np.bincount(unique["split"].to_numpy(), minlength=len(SPLITS))
    return {"bucket": task["bucket"], "splits": {split: int(count) for split, count in zip(SPLITS, counts, strict=True)}}
