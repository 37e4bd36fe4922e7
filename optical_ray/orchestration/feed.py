"""Each rank's part of the plan, read by Ray Data. Apart from what trains, so that a process that only reads imports none of it.

Every rank has a dataset of its own, made of its rows of the plan; nothing is split at run time (docs/decisions).
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import ray.data

from optical_ray.data.batches import ARRAY_TYPES, WindowSource
from optical_ray.data.plan import BatchPlan, Position
from optical_ray.orchestration.room import DATA_CPUS

PAIRS_PER_TASK = 65536
"""Windows of about so many pairs are one task: few enough tasks that a long plan is laid out in no time."""
BLOCK_BYTES = 4 * 2**20
"""Batches are handed on in blocks of this size, so that the first step does not wait for the whole task."""


def start_reader(workers: int) -> None:
    """Have a process started that will read for this rank, while the rank itself gets ready.

    Args:
        workers: How many ranks there are.
    """
    ray.remote(_import).options(num_cpus=DATA_CPUS / (2 * workers)).remote()


def _import() -> None:
    """Nothing: to be asked for it, a process has imported this module, and is there when the first rows are to be read."""


@functools.lru_cache(maxsize=4)
def _open(pickled: bytes) -> WindowSource:
    source: WindowSource = pickle.loads(pickled)
    return source


def _read_window(windows: pa.Table, source: bytes, plan: BatchPlan, start: Position, rank: int, workers: int) -> Iterator[pa.Table]:
    """One row for each batch of each window: arrays as bytes, and the position after. A task, not an actor: its process, with the shards
    open, serves the next trial."""
    for window in windows["window"].to_pylist():
        rows = []
        for turn, (batch, after) in enumerate(_open(source).read_window(plan, window, rank, workers)):
            if window > start.window or turn >= start.batch:
                arrays = {name: array.tobytes() for name, array in batch.to_arrays().items()}
                rows.append(arrays | {f"after_{name}": value for name, value in after._asdict().items()})
        yield pa.Table.from_pylist(rows)


def read_rank(source: WindowSource, plan: BatchPlan, start: Position, rank: int, workers: int) -> Iterator[tuple[Any, Position]]:
    """One rank's part of every global batch from a position on, read by Ray Data, in the order of the plan.

    Args:
        source: Travels to the tasks that read.
        plan: The whole plan.
        start: Of the checkpoint that the worker starts from.
        rank: Of the worker.
        workers: How many there are.
    """
    if start.window >= plan.windows:
        return
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.target_max_block_size = BLOCK_BYTES
    context.enable_progress_bars = False
    windows = np.arange(start.window, plan.windows, dtype=np.int64)
    per_task = max(1, PAIRS_PER_TASK // plan.batch.window_pairs)
    blocks = [pa.table({"window": windows[at : at + per_task]}) for at in range(0, len(windows), per_task)]
    batches = ray.data.from_arrow(blocks).map_batches(
        _read_window,
        fn_kwargs={"source": pickle.dumps(source), "plan": plan, "start": start, "rank": rank, "workers": workers},
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=1),
        num_cpus=DATA_CPUS / (2 * workers),
    )
    for table in batches.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=2):  # whole blocks: a call a batch is slow
        names = [name for name in table.column_names if name in ARRAY_TYPES]
        for row in range(len(table)):
            arrays = {name: np.frombuffer(table[name][row].as_buffer(), ARRAY_TYPES[name]) for name in names}
            after = Position(*(table[f"after_{name}"][row].as_py() for name in Position._fields))
            yield source.collate_arrays(arrays), after
