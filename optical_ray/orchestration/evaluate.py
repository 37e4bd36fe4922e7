"""A search of many documents on several workers: each takes whole blocks, and what they find is put together whatever their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError, WorkerCrashedError

from optical_ray.errors import OpticalError, ResourceError
from optical_ray.recipe import Resources
from optical_ray.retrieval.ranking import Progress, Round, sweep_in_process
from optical_ray.retrieval.search.index import BlockWork
from optical_ray.retrieval.search.ranker import Ranker

RETRIES = 3
"""Of a block whose worker died."""
AHEAD = 2
"""Blocks for each worker that are under way or waiting: what is found must be fetched before more is begun."""


@dataclass(frozen=True, slots=True)
class RaySweep:
    """A `Sweep` inside a `ray_session`."""

    resources: Resources
    """Of all workers; each block is done by one."""

    def __call__(self, found: Round, progress: Progress) -> list[dict[str, Ranker]]:
        """As `Sweep`.

        Raises:
            OpticalError: as a worker raised it.
            ResourceError: a block kills every worker that does it.
        """
        if found.num_blocks <= 1:
            return sweep_in_process(found, progress)
        shared = ray.put(found)
        score = ray.remote(_score_block).options(
            num_cpus=self.resources.threads, num_gpus=self.resources.gpus_per_worker, max_retries=RETRIES
        )
        waiting = list(range(found.num_blocks))[::-1]
        running: list[Any] = []
        rankers = [search.rankers() for search in found.searches]
        done = 0
        while waiting or running:
            while waiting and len(running) < AHEAD * self.resources.workers:
                running.append(score.remote(shared, waiting.pop(), self.resources.threads))
            ready, running = ray.wait(running)
            parts = _fetch(ready[0])
            for own, part in zip(rankers, parts, strict=True):
                for name, ranker in part.items():
                    own[name].merge(ranker)
            done += 1
            progress(f"blocks {done} of {found.num_blocks}")
        return rankers


def _score_block(found: Round, number: int, threads: int) -> list[dict[str, Ranker]]:
    torch.set_num_threads(threads)
    return found.run(number, number + 1)


def encode_on_ray(resources: Resources, work: BlockWork, numbers: Sequence[int]) -> None:
    """Encode blocks that are to be kept, each on any worker, inside a `ray_session`.

    Raises:
        OpticalError: as a worker raised it.
    """
    do = ray.remote(_do_block).options(num_cpus=resources.threads, num_gpus=resources.gpus_per_worker, max_retries=RETRIES)
    shared = ray.put(work)
    waiting = list(numbers)[::-1]
    running: list[Any] = []
    while waiting or running:
        while waiting and len(running) < AHEAD * resources.workers:
            running.append(do.remote(shared, waiting.pop(), resources.threads))
        ready, running = ray.wait(running)
        _fetch(ready[0])


def _do_block(work: BlockWork, number: int, threads: int) -> None:
    torch.set_num_threads(threads)
    work(number)


def _fetch(reference: Any) -> Any:
    """A block's result, or the error that its worker raised."""
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, OpticalError):
            raise error.cause from None
        raise
    except WorkerCrashedError:
        raise ResourceError(
            f"processes that work on blocks keep dying (killed, out of memory, or crashed; {RETRIES} retries each): give them more memory, "
            "or fewer workers, and run again"
        ) from None
