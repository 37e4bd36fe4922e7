"""Tasks of something slow to load, such as a teacher on a GPU, as a Ray Data job over a pool of actors that load it once each."""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import ray
import ray.data
from ray.exceptions import RayActorError
from ray.util.annotations import RayDeprecationWarning

from optical_ray.errors import OpticalError, ResourceError
from optical_ray.recipe import Resources

RESTARTS = 3
"""Of an actor that died, and tries of a task beyond the first; Ray Data's own default is to go on for ever."""

Setup = TypeVar("Setup", bound=Mapping[str, Any])
Task = TypeVar("Task", bound=Mapping[str, Any])
Summary = TypeVar("Summary", bound=Mapping[str, Any])


@dataclass(frozen=True, slots=True)
class ActorPool:
    """How many actors do the work, and what each of them reserves. An `EncoderPool` of data/teacher_pieces.py."""

    actors: int
    cpus: float
    """Logical CPUs of one actor, which are its torch threads too."""
    gpus: float
    device: str

    @classmethod
    def fill_cluster(cls, resources: Resources) -> ActorPool:
        """As many actors, each with what one worker of a trial gets, as the cluster of this `ray_session` has room for.

        Raises:
            ResourceError: there is no room for one.
        """
        total = ray.cluster_resources()
        cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
        actors = int(cpus // resources.threads)
        if resources.gpus_per_worker > 0:
            actors = min(actors, int(gpus // resources.gpus_per_worker))
        if actors == 0:
            raise ResourceError(
                f"the cluster has {cpus:g} logical CPUs and {gpus:g} GPUs, but one process that encodes needs {resources.threads} and "
                f"{resources.gpus_per_worker:g}; lower threads or gpus_per_worker, or use a larger cluster"
            )
        return cls(actors, resources.threads, resources.gpus_per_worker, resources.device)

    def map(self, factory: Callable[[Setup], Callable[[Task], Summary]], setup: Setup, tasks: Sequence[Task]) -> Iterator[Summary]:
        """As `map_with_actors`."""
        return map_with_actors(factory, setup, tasks, self.actors, self.cpus, self.gpus)


def map_with_actors(
    factory: Callable[[Setup], Callable[[Task], Summary]],
    setup: Setup,
    tasks: Sequence[Task],
    actors: int,
    num_cpus: float,
    num_gpus: float,
) -> Iterator[Summary]:
    """Call `factory(setup)` once in each actor, and what it gives with every task, inside a `ray_session`; results come in any order.

    A task whose actor dies is done again by another, so it must be safe to do twice.

    Args:
        factory: Importable where the workers run.
        setup: Plain data.
        tasks: Plain data; the first ones are begun first.
        actors: At most; never more than there are tasks.
        num_cpus: Of one actor.
        num_gpus: Of one actor.

    Raises:
        OpticalError: as the factory or a task raised it.
        ResourceError: the cluster has no room for a single actor, and would wait for it for ever; or a task kills every actor that does it.
    """
    if not tasks:
        return
    total = ray.cluster_resources()
    if num_cpus > total.get("CPU", 0.0) or num_gpus > total.get("GPU", 0.0):
        raise ResourceError(
            f"one actor needs {num_cpus:g} CPUs and {num_gpus:g} GPUs, the cluster has {total.get('CPU', 0.0):g} and "
            f"{total.get('GPU', 0.0):g}; ask for less, or use a larger cluster"
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it tells its plan at every execution, and tracebacks of what is raised below
    rows = [{"task": json.dumps(task, ensure_ascii=False)} for task in tasks]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of max_restarts, which has no other name in Ray 2.60
        job = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _Actor,
            fn_constructor_args=(factory, json.dumps(setup, ensure_ascii=False)),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(rows)), max_tasks_in_flight_per_actor=1),
            num_cpus=num_cpus,
            num_gpus=num_gpus,
            max_restarts=RESTARTS,
            max_task_retries=RESTARTS,
        )
    try:
        for row in job.iter_rows():
            if row["error"] is not None:
                raise pickle.loads(row["error"])
            yield json.loads(row["summary"])
    except RayActorError:
        raise ResourceError(
            f"processes of the actor pool keep dying (killed, out of memory, or crashed; {RESTARTS} restarts each); what is done is kept: "
            "give it more memory, or fewer actors, and run again"
        ) from None


class _Actor:
    def __init__(self, factory: Callable[[Any], Callable[[Any], Mapping[str, Any]]], setup: str) -> None:
        self._factory, self._setup = factory, setup
        self._work: Callable[[Any], Mapping[str, Any]] | None = None

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        # An error travels as a value: raised, it would come back as Ray's own exception around it, after retries of the task. So the
        # factory is called here too: what the constructor of an actor raises, Ray only reports as an actor that died.
        try:
            self._work = self._work or self._factory(json.loads(self._setup))
            summary, error = json.dumps(self._work(json.loads(rows["task"][0])), ensure_ascii=False), None
        except OpticalError as raised:
            summary, error = None, pickle.dumps(raised)
        return {"summary": np.array([summary], object), "error": np.array([error], object)}
