"""The gradient of one global batch, whatever the memory of the workers.

Each worker goes through its part in micro-batches, alone. Then all agree on how that went, before any gradient is reduced: a worker that
runs out of memory in its backward pass would leave the others waiting in a reduction that is part of theirs (torch's DDP does). If memory
ran out anywhere, all drop what they have, halve their micro-batch and do the same global batch again; a pair's share of the loss depends on
its group alone and is divided by counts of the global batch, so the result stays.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

import torch

from optical_ray.errors import NumericsError, ResourceError
from optical_ray.seeding import derive_seed
from optical_ray.training.parallel import Parallel
from optical_ray.training.protocols import B, Encode, Objective, Priced
from optical_ray.training.state import M, TrainingState

log = logging.getLogger(__name__)


class Status(IntEnum):
    """How a worker's part went; of several workers the largest counts."""

    OK = 0
    NONFINITE = 1
    OUT_OF_MEMORY = 2


@dataclass(frozen=True, slots=True)
class Pass:
    """A worker's way through its part."""

    status: Status
    parts: list[Priced]
    detail: str = ""
    """What was not finite, or which memory ran out."""


@dataclass(frozen=True, slots=True)
class Gradient:
    """What is known of a global batch whose gradient lies in the model's parameters."""

    scalars: dict[str, float]
    """Global means by metric name; none where the objective could not be priced."""
    detail: str = ""
    """What could not be priced, and why; the same on every worker."""
    parts: list[Priced] = field(default_factory=list)
    """This worker's."""


def global_gradient(state: TrainingState[M], forward: Encode, batch: B, objective: Objective[B], parallel: Parallel, seed: int) -> Gradient:
    """Put the gradient of a global batch into the model's parameters, the same on every worker; every worker must call.

    Dropout is seeded by step, rank and the first group of a micro-batch, so a repeated batch draws the same masks where it is cut alike.

    Args:
        state: Its model has no gradients yet. `micro_groups` is halved where memory runs out.
        forward: The model as it computes in training.
        batch: This worker's part.
        objective: Prices it.
        parallel: This worker among its peers.
        seed: Root of the dropout's randomness.

    Raises:
        ResourceError: memory does not suffice for one group, on any worker.
    """
    counts = objective.counts(batch)
    parameters = [parameter for parameter in state.model.parameters() if parameter.requires_grad]
    while True:
        done = _pass_through(state, forward, batch, objective, counts, parallel, seed)
        facts = [done.status, len(batch.language_B) // objective.group, *(parameter.grad is not None for parameter in parameters)]
        status, groups, *used = parallel.largest(torch.tensor(facts, dtype=torch.int64)).tolist()
        if status == Status.OUT_OF_MEMORY:
            state.drop_gradients()
            _free_memory(parallel.device)
            state.micro_groups = _halve(state, groups, objective.group, parallel.gather_text(done.detail))
            continue
        if status == Status.NONFINITE:
            state.drop_gradients()
            return Gradient({}, parallel.gather_text(done.detail))
        # A weight that no worker used has no gradient, as with one worker: AdamW must not let it decay.
        parallel.sum_gradients([parameter for parameter, is_used in zip(parameters, used, strict=True) if is_used])
        return Gradient(objective.scalars(done.parts, counts), parts=done.parts)


def _pass_through(
    state: TrainingState[M],
    forward: Encode,
    batch: B,
    objective: Objective[B],
    counts: dict[str, float],
    parallel: Parallel,
    seed: int,
) -> Pass:
    """Add up the gradients of this worker's part. No collective stands in here, so that it may fail alone."""
    devices = [torch.device(parallel.device)] if parallel.device.startswith("cuda") else []
    pairs = len(batch.language_B) if state.micro_groups is None else state.micro_groups * objective.group
    parts = []
    try:
        for first, micro in split_batch(batch, pairs):
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(derive_seed(seed, "dropout", state.step, parallel.rank, first // objective.group))
                part = objective.price(forward, micro.to(parallel.device), counts)
            part.total.backward()  # type: ignore[no-untyped-call]
            parts.append(part.without_graph())
    except NumericsError as error:
        return Pass(Status.NONFINITE, [], f"worker {parallel.rank}, pairs from {len(parts) * pairs} of its part on: {error}")
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Pass(Status.OUT_OF_MEMORY, [], f"worker {parallel.rank}: {first_line}")
    return Pass(Status.OK, parts)


def split_batch(batch: B, pairs: int) -> Iterator[tuple[int, B]]:
    """(first pair, micro-batch) of at most so many pairs each, in order; views of the batch, padded as it is."""
    for first in range(0, len(batch.language_B), pairs):
        yield first, batch.part(slice(first, first + pairs))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left; torch has no type of its own for the latter, nor cuBLAS."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in ("can't allocate memory", "ALLOC_FAILED", "out of memory"))


def _halve(state: TrainingState[M], groups: int, group: int, detail: str) -> int:
    """Half of what the worker with the most groups reads at once; the same on every worker."""
    before = groups if state.micro_groups is None else min(groups, state.micro_groups)
    if before == 1:
        raise ResourceError(
            f"step {state.step + 1}: out of memory at one group of {group} pairs ({detail}); lower batch.group, the length limits, or "
            "the size of the model"
        )
    after = before // 2
    log.warning("event=out_of_memory step=%d groups_before=%d groups=%d detail=%r", state.step + 1, before, after, detail)
    return after


def _free_memory(device: str) -> None:
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def count_languages(batch: B, languages: tuple[str, ...], parallel: Parallel) -> dict[str, int]:
    """Pairs of each language in the global batch, most first; languages without any are left out. Every worker must call."""
    counts = parallel.sum(torch.bincount(batch.language_B.cpu(), minlength=len(languages))).tolist()
    return {tag: count for count, tag in sorted(zip(counts, languages, strict=True), key=lambda each: -each[0]) if count}
