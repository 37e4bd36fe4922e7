"""Independent tasks as a Ray Data job: what `build_corpus` does one after the other, on every CPU of the cluster."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import ray
import ray.data

from optical_ray.errors import ArtifactError, OpticalError

Task = TypeVar("Task", bound=Mapping[str, Any])
Summary = TypeVar("Summary", bound=Mapping[str, Any])


def map_tasks(function: Callable[[Task], Summary], tasks: Sequence[Task]) -> Iterator[Summary]:
    """Apply `function` to every task, inside a `ray_session`; results come in any order, each once.

    Tasks and results are plain data and travel as JSON: rows whose dictionaries have different keys do not fit one Arrow schema.

    Args:
        function: Importable where the workers run.
        tasks: One Ray task each.

    Raises:
        OpticalError: as the function raised it.
    """
    if not tasks:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # Ray Data tells its plan and where its log is, at every execution

    def run(row: dict[str, str]) -> dict[str, Any]:
        return _run(function, row["task"])

    rows = [{"task": json.dumps(task, ensure_ascii=False)} for task in tasks]
    job = ray.data.from_items(rows, override_num_blocks=len(rows)).map(run, num_cpus=1)
    for row in job.iter_rows():
        if row["error"] is not None:
            raise pickle.loads(row["error"])
        yield json.loads(row["summary"])


def _run(function: Callable[[Any], Mapping[str, Any]], task: str) -> dict[str, Any]:
    # An error travels as a value: raised, it would come back as Ray's own exception around it, after retries of the task.
    try:
        return {"summary": json.dumps(function(json.loads(task)), ensure_ascii=False), "error": None}
    except OSError as error:
        where = error.filename or "a file of the build"
        failed = ArtifactError(f"{where}: {error.strerror or error}; check the disk, the path and its rights where the workers run")
        return {"summary": None, "error": pickle.dumps(failed)}
    except OpticalError as error:
        return {"summary": None, "error": pickle.dumps(error)}
