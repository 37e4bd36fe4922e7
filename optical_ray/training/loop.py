"""The loop. It knows torch; not Ray, not files, not a tracker: what happens at a report, a validation, a checkpoint is handed in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from optical_ray.data.batches import Batch
from optical_ray.data.plan import Position
from optical_ray.errors import NumericsError
from optical_ray.runs import names
from optical_ray.seeding import derive_seed
from optical_ray.training.config import TrainingConfig
from optical_ray.training.objectives import Distillation
from optical_ray.training.parallel import Parallel
from optical_ray.training.state import TrainingState, body_rate


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the loop calls on the main worker."""

    validate: Callable[[TrainingState], dict[str, float]]
    """Metrics of the student on validation rows; the student comes back as it was."""
    report: Callable[[TrainingState, dict[str, float]], None]
    """Writes a report down."""
    checkpoint: Callable[[TrainingState], None]
    announce: Callable[[int, dict[str, float]], None]
    """Tells the caller of a report that is written, with its checkpoint beside it where one is due."""


def distil(
    state: TrainingState,
    batches: Iterator[tuple[Batch, Position]],
    objective: Distillation,
    config: TrainingConfig,
    parallel: Parallel,
    seed: int,
    hooks: Hooks,
) -> None:
    """Train from `state.step` to `config.max_steps`.

    Args:
        state: Changed in place.
        batches: This worker's part of every global batch from `state.position` on, with the position after it; as many as steps are left.
        objective: Prices a batch.
        config: Length, rates, how often what is called.
        parallel: This worker among its peers.
        seed: Root of the dropout's randomness.
        hooks: Called on the main worker only; the others wait at the next reduction.

    Raises:
        NumericsError: a loss or a gradient is not finite; the student of the last checkpoint is intact.
    """
    model = parallel.wrap(state.student.train())
    devices = [torch.device(parallel.device)] if parallel.device.startswith("cuda") else []
    since = time.monotonic()
    last_report = state.step
    while state.step < config.max_steps:
        batch, after = next(batches)
        batch = batch.to(parallel.device)
        state.set_rates(config)
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(seed, "dropout", state.step, parallel.rank))
            losses = objective(model, batch)
        losses.total.backward()  # type: ignore[no-untyped-call]
        grad_norm = state.optimizer_step(config.max_grad_norm)
        if not (math.isfinite(losses.scalars[names.LOSS]) and math.isfinite(grad_norm)):
            raise NumericsError(
                f"step {state.step + 1}: loss {losses.scalars[names.LOSS]:.4g}, gradient norm {grad_norm:.4g}; lower "
                "training.learning_rate and training.embedding_learning_rate, or raise transport.epsilon"
            )
        state.step, state.position = state.step + 1, after

        def due(every: int) -> bool:
            return state.step % every == 0 or state.step == config.max_steps

        if not parallel.is_main:
            continue
        metrics: dict[str, float] = {}
        if due(config.report_every) or due(config.validate_every):
            metrics = losses.scalars | {
                names.GRAD_NORM: grad_norm,
                names.LEARNING_RATE: body_rate(state.optimizer),
                names.STEP_SECONDS: (time.monotonic() - since) / (state.step - last_report),
            }
            if due(config.validate_every):
                metrics |= hooks.validate(state)
            hooks.report(state, metrics)
        # After the report: a kill in between redoes the report's steps, and the repeated rows supersede the first ones.
        if due(config.checkpoint_every):
            hooks.checkpoint(state)
        if metrics:
            hooks.announce(state.step, metrics)
            since, last_report = time.monotonic(), state.step
