"""Stands in for `optical_ray.trial.run_trial`: the same files and promises, no training. Steps sleep; the objective is a known function."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store, write_json
from optical_ray.errors import NumericsError, WorkerDied
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.folder import RunFolder, utc_now
from optical_ray.runs.names import LOSS, VALID_SUCCESS_AT_1
from optical_ray.runs.schemas import TrialStatus

FAILING_SEED, NAN_SEED, DYING_SEED, SILENT_SEED, DYING_ONCE_SEED, DEAD_WORKER_SEED, HUNG_SEED, BROKEN_SEED = range(13, 21)
HELD_SEED, HOLD = 1, "hold"
"""A trial of this seed stays at its second step as long as the run folder holds a file of this name, a minute at most."""


def objective_of(recipe: Recipe) -> float:
    """Highest at epsilon = 0.1."""
    return 1.0 - abs(math.log10(recipe.transport.epsilon) + 1.0) / 4.0


def fake_trial(
    recipe: Recipe,
    resources: Resources,
    store: Store,
    run: RunFolder,
    on_report: Callable[[int, Mapping[str, float]], None] | None = None,
    distil: Any = None,
    pretrain: Any = None,
) -> TrialStatus:
    folder = run.trial(recipe.trial_id)
    status = folder.read_status()
    if status is not None and status.state == "finished":
        return status
    write_json(folder.recipe, recipe.to_dict())
    attempts = 1 if status is None else status.attempts + 1
    status = TrialStatus(
        trial_id=recipe.trial_id, state="running", max_steps=recipe.training.max_steps, attempts=attempts, started_at=utc_now()
    )
    folder.write_status(status)
    with (run.path / "calls.log").open("a") as stream:
        stream.write(f"{recipe.trial_id} {os.getpid()} {attempts}\n")
    if recipe.seed == FAILING_SEED and attempts == 1:
        error = NumericsError("step 3: the loss is NaN; lower training.learning_rate")
        folder.write_status(status.override({"state": "failed", "error": str(error)}))
        raise error
    if recipe.seed == BROKEN_SEED:
        raise ValueError("broken")  # and nobody writes it down
    if recipe.seed == DYING_SEED or (recipe.seed == DYING_ONCE_SEED and attempts == 1):
        os._exit(1)
    if recipe.seed == DEAD_WORKER_SEED and attempts == 1:
        died = WorkerDied("worker 1 died")
        folder.write_status(status.override({"state": "stopped", "error": str(died)}))
        raise died
    objective = math.nan if recipe.seed == NAN_SEED else objective_of(recipe)
    for step in range(1, recipe.training.max_steps + 1):
        time.sleep(0.05)
        if recipe.seed == HELD_SEED and step > 2:
            _wait_while(run.path / HOLD)
        folder.append_metrics(step, None, {LOSS: 1.0 / step})
        status = status.override({"step": step, "updated_at": utc_now()})
        folder.write_status(status)
        if on_report is not None:
            on_report(step, {LOSS: 1.0 / step} | ({} if recipe.seed == SILENT_SEED else {VALID_SUCCESS_AT_1: objective}))
        if recipe.seed == HUNG_SEED and attempts == 1:
            time.sleep(120)
    known = None if recipe.seed in (NAN_SEED, SILENT_SEED) else objective
    status = status.override({"state": "finished", "objective": known})
    folder.write_status(status)
    return status


def _wait_while(file: Path, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
