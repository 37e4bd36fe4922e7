"""The corpus's own files: Parquet parts of at most PART_ROWS rows in row groups of BLOCK_ROWS, so that a block is read alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from optical_ray.artifacts import file_sha256, whole_file
from optical_ray.data.building.spill import read_spill
from optical_ray.data.corpus_config import SPLITS
from optical_ray.data.layout import BLOCK_ROWS, ENGLISH_TABLE, PART_ROWS, SHARD, english_part, shard_part
from optical_ray.data.tasks import do_once

Piece = tuple[int, int, int, int | None]
"""(bucket, record batch, rows, english_id of the bucket's first English string or, of text alone, None)."""
NO_ENGLISH = -1
"""english_id of text alone."""


class AssembleTask(TypedDict):
    """Some rows of one language and split, or of the English table; plain data."""

    tag: str | None
    """None: the English table."""
    split: int
    """Index into SPLITS; of the English table: 0."""
    part: int
    skip: int
    """Rows of the first piece that belong to the part before."""
    rows: int
    pieces: list[Piece]
    folder: str
    """The working folder; parts go beside it."""
    number: int
    """Of the task."""


def assemble(task: AssembleTask) -> dict[str, Any]:
    """Write one part; returns its name, rows, bytes and SHA-256."""
    summary = Path(task["folder"]) / "assembled" / f"{task['number']:06d}.json"
    return do_once(summary, lambda: _assemble(task))


def _assemble(task: AssembleTask) -> dict[str, Any]:
    folder = Path(task["folder"])
    if task["tag"] is None:
        name, schema, tables = english_part(task["part"]), ENGLISH_TABLE, _english(task)
    else:
        name, schema, tables = shard_part(task["tag"], SPLITS[task["split"]], task["part"]), SHARD, _rows(task)
    path = folder.parent / name
    with whole_file(path) as scratch, pq.ParquetWriter(scratch, schema, compression="zstd") as writer:
        for block in _blocks(tables, task["skip"], task["rows"], schema):
            writer.write_table(block, row_group_size=BLOCK_ROWS)
    return {"file": name, "rows": task["rows"], "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def _blocks(tables: Iterator[pa.Table], skip: int, rows: int, schema: pa.Schema) -> Iterator[pa.Table]:
    """`rows` rows from the `skip`-th on, in tables of BLOCK_ROWS; the last may be shorter."""
    held, missing = schema.empty_table(), rows
    for table in tables:
        table, skip = table.slice(skip), max(0, skip - table.num_rows)
        held = pa.concat_tables([held, table.slice(0, missing)])
        missing -= min(missing, table.num_rows)
        whole = held.num_rows // BLOCK_ROWS * BLOCK_ROWS
        for first in range(0, whole, BLOCK_ROWS):
            yield held.slice(first, BLOCK_ROWS).combine_chunks()
        held = held.slice(whole)
    assert missing == 0, "the pieces hold the part's rows"
    if held.num_rows:
        yield held.combine_chunks()


def _rows(task: AssembleTask) -> Iterator[pa.Table]:
    folder, split = Path(task["folder"]), SPLITS[task["split"]]
    for bucket, batch, _, first_english in task["pieces"]:
        name = f"{bucket:04d}.arrow"
        rows = pa.Table.from_batches(read_spill(folder / "settled" / name, [batch], ["id", "english", "text", "source"]))
        if first_english is None:
            ids = pa.repeat(pa.scalar(NO_ENGLISH, pa.int32()), rows.num_rows)
        else:
            ids = pc.add(read_spill(folder / "numbers" / name, [batch])[0]["number"], pa.scalar(first_english, pa.int32()))
        chars = [pc.utf8_length(rows[side]) for side in ("english", "text")]
        columns = [rows["id"], ids, rows["english"], rows["text"], rows["source"], pa.repeat(split, rows.num_rows), *chars]
        yield pa.table(columns, schema=SHARD)


def _english(task: AssembleTask) -> Iterator[pa.Table]:
    for bucket, batch, count, first in task["pieces"]:
        assert first is not None, "text alone has no English table"
        rows = read_spill(Path(task["folder"]) / "english" / f"{bucket:04d}.arrow", [batch])[0]
        splits = pa.array(SPLITS).take(rows["split"])
        yield pa.table([np.arange(first, first + count, dtype=np.int32), rows["english"], splits, rows["key"]], schema=ENGLISH_TABLE)


def plan_parts(tag: str | None, split: int, pieces: list[Piece], folder: Path) -> list[AssembleTask]:
    """Tasks that write the pieces one after the other, in parts of PART_ROWS rows; numbered from 0."""
    starts = np.concatenate([[0], np.cumsum([rows for _, _, rows, _ in pieces])]).astype(int)
    tasks: list[AssembleTask] = []
    for part, first in enumerate(range(0, int(starts[-1]), PART_ROWS)):
        last = min(first + PART_ROWS, int(starts[-1]))
        touched = [place for place in range(len(pieces)) if starts[place] < last and starts[place + 1] > first]
        task: AssembleTask = {
            "tag": tag,
            "split": split,
            "part": part,
            "skip": first - int(starts[touched[0]]),
            "rows": last - first,
            "pieces": [pieces[place] for place in touched],
            "folder": str(folder),
            "number": part,
        }
        tasks.append(task)
    return tasks
