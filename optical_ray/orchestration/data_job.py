"""Independent tasks as a Ray Data job: what `build_corpus` does one after the other, on every CPU of the cluster."""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import ray
import ray.data
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from optical_ray.errors import ArtifactError, OpticalError, ResourceError

RETRIES = 3
"""Times that a task is done again whose process died; without a limit, one that kills every process would be tried for ever."""

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
        ResourceError: a task kills every process that does it, or Ray itself broke down.
    """
    if not tasks:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it tells its plan at every execution, and tracebacks of what is raised below

    def run(row: dict[str, str]) -> dict[str, Any]:
        return _run(function, row["task"])

    rows = [{"task": json.dumps(task, ensure_ascii=False)} for task in tasks]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of max_retries, which has no other name in Ray 2.60
        job = ray.data.from_items(rows, override_num_blocks=len(rows)).map(run, num_cpus=1, max_retries=RETRIES)
    try:
        for row in job.iter_rows():
            if row["error"] is not None:
                raise pickle.loads(row["error"])
            yield json.loads(row["summary"])
    except RayError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ResourceError(
            f"Ray broke off ({type(error).__name__}: {reason}); what is done is kept: run it again, with more memory where processes were "
            "killed for the lack of it, or with --in-process to see what a process dies of"
        ) from None


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
