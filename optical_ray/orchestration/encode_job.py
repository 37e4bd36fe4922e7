"""Tasks of something slow to load, such as a teacher on a GPU, done by a pool of actors that load it once each."""

from __future__ import annotations

import contextlib
import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import ray
from ray.exceptions import RayActorError

from optical_ray.errors import OpticalError, ResourceError
from optical_ray.recipe import Resources

RETRIES = 3
"""Of a task whose actor died, each by a new actor; Ray Data's pools, and plain tasks, would go on for ever by themselves."""

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
    remote = ray.remote(_Actor).options(num_cpus=num_cpus, num_gpus=num_gpus, scheduling_strategy="SPREAD")
    waiting = deque(range(len(tasks)))
    tries: Counter[int] = Counter()
    running: dict[Any, _Run] = {}

    def begin_actor() -> None:  # Nothing is given to an actor before it lives: one that finds no room holds up no task
        actor = remote.remote(factory, setup)
        running[actor.live.remote()] = _Run(actor, None)

    for _ in range(min(actors, len(tasks))):
        begin_actor()
    remaining = len(tasks)
    try:
        while remaining:
            [reference], _ = ray.wait(list(running))
            actor, number = running.pop(reference)
            try:
                done = ray.get(reference)
            except RayActorError:
                _kill(actor)
                if number is not None:
                    tries[number] += 1
                    waiting.appendleft(number)
                else:
                    tries[-1] += 1
                if max(tries.values()) > RETRIES:
                    raise ResourceError(
                        f"processes of the actor pool keep dying (killed, out of memory, or crashed; {RETRIES} retries of a task); what is "
                        "done is kept: give it more memory, or fewer actors, and run again"
                    ) from None
                begin_actor()
                continue
            if isinstance(done, bytes):
                raise pickle.loads(done)
            if waiting:
                following = waiting.popleft()
                running[actor.work.remote(tasks[following])] = _Run(actor, following)
            if number is not None:
                remaining -= 1
                yield done
    finally:
        for actor, _ in running.values():
            _kill(actor)


class _Run(NamedTuple):
    actor: Any
    task: int | None
    """Its number; None: the actor is only asked whether it lives."""


def _kill(actor: Any) -> None:
    with contextlib.suppress(RayActorError):
        ray.kill(actor)


class _Actor:
    def __init__(self, factory: Callable[[Any], Callable[[Any], Mapping[str, Any]]], setup: Mapping[str, Any]) -> None:
        self._factory, self._setup = factory, setup
        self._work: Callable[[Any], Mapping[str, Any]] | None = None

    def live(self) -> None:
        """Answers once the process runs."""

    def work(self, task: Mapping[str, Any]) -> Mapping[str, Any] | bytes:
        """What the task gives, or a pickled error: raised, it would come back as Ray's own exception around it. So the factory is called
        here too: what the constructor of an actor raises, Ray only reports as an actor that died."""
        try:
            self._work = self._work or self._factory(self._setup)
            return self._work(task)
        except OpticalError as raised:
            return pickle.dumps(raised)
