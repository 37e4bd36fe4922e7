"""What passes between the tasks of a build: Arrow files whose record batches are numbered, and the summary beside each."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_ray.artifacts import whole_file

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@contextlib.contextmanager
def open_spill(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    """Gives a function that appends a table as one record batch; the file appears when the block ends well."""
    with whole_file(path) as scratch, pa.ipc.new_file(str(scratch), schema, options=_OPTIONS) as writer:

        def append(table: pa.Table) -> None:
            batches = table.combine_chunks().to_batches()
            assert len(batches) <= 1, "a bucket is far smaller than what one batch can hold"
            writer.write_batch(batches[0] if batches else pa.RecordBatch.from_pylist([], schema=schema))

        yield append


def write_spill(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """One record batch for each table."""
    with open_spill(path, schema) as append:
        for table in tables:
            append(table)


def read_spill(path: Path, batches: Iterable[int], columns: Sequence[str] | None = None) -> list[pa.RecordBatch]:
    """Some record batches of a file, by number."""
    with pa.memory_map(str(path)) as file:
        schema = pa.ipc.open_file(file).schema
        fields = None if columns is None else [schema.get_field_index(name) for name in columns]
        reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=fields))
        found = [reader.get_batch(index) for index in batches]
    return [batch for batch in found if batch.num_rows]


def deal_out(table: pa.Table, bucket: NDArray[np.intp], buckets: int) -> list[pa.Table]:
    """The rows of each bucket, in their order."""
    order = np.argsort(bucket, kind="stable")
    edges = np.searchsorted(bucket[order], np.arange(buckets + 1))
    dealt = table.take(pa.array(order))
    return [dealt.slice(first, last - first) for first, last in itertools.pairwise(edges)]


def bucket_of(hashes: NDArray[np.uint64], buckets: int) -> NDArray[np.intp]:
    """Which of a power of two of equal ranges each hash lies in."""
    bits = buckets.bit_length() - 1
    return (hashes >> np.uint64(64 - bits)).astype(np.intp) if bits else np.zeros(len(hashes), np.intp)
