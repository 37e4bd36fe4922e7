"""A student on released data sets: its own rows, and those of references that no training touches, which the store keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.artifacts import Store
from optical_ray.errors import ConfigError, DataError
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.config import TaskConfig
from optical_ray.retrieval.evaluation import DEPTH, describe_collection, describe_lineup, evaluate, identify
from optical_ray.retrieval.formats.read import read_collections
from optical_ray.retrieval.system import System
from optical_ray.retrieval.systems.lineup import MEANINGS, Lineup
from optical_ray.runs.schemas import QUERIES

OF_THE_STUDENT = ("student", "mean-removed", "components-removed")
"""Rows that change with the student."""


def check_tasks(tasks: Sequence[TaskConfig]) -> None:
    """Refuse what could never be asked, before anything is trained for it. No file is read.

    Raises:
        ConfigError: no such system.
        DataError: a path is not there.
    """
    for task in tasks:
        if unknown := [name for name in task.systems if name not in MEANINGS]:
            raise ConfigError(f"evaluation.tasks: no system {unknown[0]!r}; there are {', '.join(MEANINGS)}")
        if task.task != "ir_datasets" and not Path(task.path).expanduser().exists():
            raise DataError(f"evaluation.tasks: {task.label} reads {task.path}, which is not there; put it there, or leave the task out")


def task_rows(tasks: Sequence[TaskConfig], lineup: Lineup, store: Store) -> pa.Table:
    """Per-query rows of all tasks, schema QUERIES, the split as each task says.

    Args:
        tasks: What is asked.
        lineup: Of the student and its teacher.
        store: Keeps the references' rows, for the next trial of the same teacher.

    Raises:
        DataError: a task's files are missing or wrong.
        ConfigError: no such task, or a row that the trial does not have.
    """
    tables = [QUERIES.empty_table()]
    for task in tasks:
        read = read_collections(task.task, Path(task.path).expanduser(), task.options)
        collections = [replace(collection, task=task.label) for collection in read]
        systems = lineup.build(task.systems and (lineup.main, *task.systems))
        own = [system for system in systems if system.name in OF_THE_STUDENT]
        others = [system for system in systems if system.name not in OF_THE_STUDENT]
        tables += [outcome.rows() for outcome in evaluate(collections, own)]
        if others:
            tables.append(_reference_rows(collections, others, lineup, store))
    return pa.concat_tables(tables)


def _reference_rows(collections: Sequence[Collection], systems: Sequence[System], lineup: Lineup, store: Store) -> pa.Table:
    described = describe_lineup(replace(lineup, model=lineup.documents, swap=False, query_centre=None, document_centre=None), systems)
    data = {collection.name: describe_collection(collection) for collection in collections}
    inputs: dict[str, Any] = {"task": collections[0].task, "fingerprint": identify(data, described, DEPTH), "columns": QUERIES.names}

    def fill(scratch: Path) -> None:
        rows = [outcome.rows() for outcome in evaluate(collections, systems)]
        pq.write_table(pa.concat_tables(rows), scratch / "rows.parquet", compression="zstd")

    return pq.read_table(store.build("task-references", inputs, fill) / "rows.parquet", partitioning=None)
