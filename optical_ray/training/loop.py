"""The loop. It knows torch; not Ray, not files, not a tracker: what happens at a report, a validation, a checkpoint is handed in."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic

from optical_ray.data.plan import Position
from optical_ray.errors import NumericsError
from optical_ray.runs import names
from optical_ray.training.accumulation import Gradient, count_languages, global_gradient
from optical_ray.training.config import TrainingConfig
from optical_ray.training.parallel import Parallel
from optical_ray.training.precision import prepare_forward
from optical_ray.training.protocols import B, Objective
from optical_ray.training.state import M, TrainingState, body_rate

log = logging.getLogger(__name__)
Report = Callable[[int, Mapping[str, float]], None]
"""(step, metrics by runs/names.py)."""


@dataclass(frozen=True, slots=True)
class Hooks(Generic[M]):
    """What the loop calls on the main worker, and `last_checkpoint` on any."""

    validate: Callable[[TrainingState[M]], dict[str, float]]
    """Metrics of the model on validation rows; the model comes back as it was."""
    judge: Callable[[Mapping[str, float]], float]
    """What of those metrics the best model has most of."""
    report: Callable[[TrainingState[M], dict[str, float]], None]
    """Writes a report down."""
    checkpoint: Callable[[TrainingState[M]], None]
    announce: Report
    """Tells the caller of a report that is written, with its checkpoint beside it where one is due."""
    last_checkpoint: Callable[[], str]
    """Names the newest checkpoint, for an error."""


def train(
    state: TrainingState[M],
    batches: Iterator[tuple[B, Position]],
    objective: Objective[B],
    config: TrainingConfig,
    parallel: Parallel,
    seed: int,
    hooks: Hooks[M],
    languages: tuple[str, ...],
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
        languages: What a batch's `language_B` indexes.

    Raises:
        NumericsError: more losses or gradients than `config.skip_nonfinite` are not finite; the model is as after the last good step.
        ResourceError: memory does not suffice for one group of pairs, on any worker.
    """
    parallel.share_weights(state.model)
    forward = prepare_forward(state.model, config, parallel.device)
    since = time.monotonic()
    last_report = state.step
    while state.step < config.max_steps:
        batch, after = next(batches)
        state.set_rates(config)
        gradient = global_gradient(state, forward, batch, objective, parallel, seed)
        grad_norm = state.clip_gradients(config.max_grad_norm) if gradient.scalars else math.nan
        if math.isfinite(gradient.scalars.get(names.LOSS, math.nan)) and math.isfinite(grad_norm):
            state.optimizer.step()
            objective.step_taken(gradient.parts)
        else:
            _skip(state, gradient, grad_norm, count_languages(batch, languages, parallel), config, hooks)
        state.drop_gradients()
        state.step, state.position = state.step + 1, after

        def due(every: int) -> bool:
            return state.step % every == 0 or state.step == config.max_steps

        if not parallel.is_main:
            continue
        metrics: dict[str, float] = {}
        best = False
        if due(config.report_every) or due(config.validate_every):
            metrics = gradient.scalars | {
                names.GRAD_NORM: grad_norm,
                names.LEARNING_RATE: body_rate(state.optimizer),
                names.STEP_SECONDS: (time.monotonic() - since) / (state.step - last_report),
            }
            if config.skip_nonfinite:
                metrics[names.SKIPPED_STEPS] = float(state.skipped)
            if due(config.validate_every):
                metrics |= hooks.validate(state)
                best = state.note_validation(hooks.judge(metrics))
            hooks.report(state, metrics)
        # After the report: a kill in between redoes the report's steps, and the repeated rows supersede the first ones.
        if due(config.checkpoint_every) or best:
            hooks.checkpoint(state)
        if metrics:
            hooks.announce(state.step, metrics)
            since, last_report = time.monotonic(), state.step


def _skip(
    state: TrainingState[M],
    gradient: Gradient,
    grad_norm: float,
    mix: dict[str, int],
    config: TrainingConfig,
    hooks: Hooks[M],
) -> None:
    """Count a step whose loss or gradient is not finite, or end the training; all workers do the same, as they judge by reduced numbers."""
    loss = gradient.scalars.get(names.LOSS, math.nan)
    found = gradient.detail or f"loss {loss:.4g}, gradient norm {grad_norm:.4g}"
    languages = ", ".join(f"{tag} {count}" for tag, count in mix.items())
    if state.skipped < config.skip_nonfinite:
        state.skipped += 1
        log.warning("event=skipped_step step=%d skipped=%d found=%r languages=%r", state.step + 1, state.skipped, found, languages)
        return
    raise NumericsError(
        f"step {state.step + 1}: {found}; pairs of the batch: {languages}; steps skipped before: {state.skipped} of "
        f"training.skip_nonfinite={config.skip_nonfinite}; last good checkpoint: {hooks.last_checkpoint()}; lower the learning "
        "rates or, where transport is in play, raise transport.epsilon"
    )
