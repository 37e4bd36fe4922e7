"""Relevance data in the store, by row: memory-mapped Arrow files, so that a training of any size reads what it needs.

    documents.arrow       text: every different document once; its row is its number
    train.arrow           query, positives, negatives, scores: in the order of a hash, so as good as shuffled
    valid.arrow           likewise; no query is in both

Arrow and not Parquet: a batch wants a thousand documents from anywhere, and a row group of Parquet is read whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa

from optical_ray.artifacts import read_manifest
from optical_ray.data.layout import BLOCK_ROWS

DOCUMENTS = pa.schema([pa.field("text", pa.string(), nullable=False)])
QUERIES = pa.schema(
    [
        pa.field("query", pa.string(), nullable=False),
        pa.field("positives", pa.list_(pa.int32()), nullable=False),  # rows of the documents; at least one
        pa.field("negatives", pa.list_(pa.int32()), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),  # of positives, then negatives; NaN: none is given
    ]
)


class RowWriter:
    """Writes rows in blocks of BLOCK_ROWS."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._rows: list[list[Any]] = [[] for _ in schema.names]
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def add(self, *values: Any) -> None:
        """One row."""
        for column, value in zip(self._rows, values, strict=True):
            column.append(value)
        if len(self._rows[0]) == BLOCK_ROWS:
            self._flush()

    def _flush(self) -> None:
        arrays = [pa.array(column, field.type) for column, field in zip(self._rows, self._schema, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._rows = [[] for _ in self._rows]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and self._rows[0]:
            self._flush()
        self._writer.close()
        self._file.close()


class Rows:
    """A file that RowWriter wrote, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        blocks = self._reader.num_record_batches
        self._length = (blocks - 1) * BLOCK_ROWS + self._reader.get_batch(blocks - 1).num_rows if blocks else 0

    def __len__(self) -> int:
        return self._length

    def take(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Some rows, in the order given, as plain data."""
        block_R, place_R = np.divmod(np.asarray(rows, np.int64), BLOCK_ROWS)
        found: list[dict[str, Any]] = [{}] * len(block_R)
        for block in np.unique(block_R):
            chosen = np.flatnonzero(block_R == block)
            values = self._reader.get_batch(int(block)).take(pa.array(place_R[chosen])).to_pylist()
            for at, value in zip(chosen, values, strict=True):
                found[at] = value
        return found

    def texts(self, rows: Sequence[int]) -> list[str]:
        """The text of some documents."""
        return [row["text"] for row in self.take(rows)]


@dataclass(frozen=True, slots=True)
class RelevanceData:
    """What `build_relevance` wrote, open."""

    folder: Path
    documents: Rows
    train: Rows
    valid: Rows

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Map the files of an artifact."""
        return cls(folder, *(Rows(folder / f"{name}.arrow") for name in ("documents", "train", "valid")))

    def facts(self) -> dict[str, Any]:
        """Counts, what was dropped, where it came from."""
        found: dict[str, Any] = read_manifest(self.folder)["facts"]
        return found

    def queries(self, split: Literal["train", "valid"]) -> Rows:
        return self.train if split == "train" else self.valid
