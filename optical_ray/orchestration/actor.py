"""What a Tune actor does for one trial. Apart from the driver's modules, so that an actor imports neither Optuna nor the search."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from ray import tune

from optical_ray.artifacts import Store
from optical_ray.errors import ResourceError, WorkerDied
from optical_ray.orchestration.hang import end_hang
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.folder import RunFolder, TrialFolder, utc_now
from optical_ray.runs.objectives import trial_facts
from optical_ray.runs.schemas import TrialStatus

RunTrial = Callable[..., TrialStatus]
"""`optical_ray.trial.run_trial`, or what stands in for it; importable where the workers run."""
ORPHAN_SECONDS = 60.0
"""How long to wait for a trial that is still running elsewhere: what a killed driver left behind is gone by then."""


def work(config: Mapping[str, Any], run_trial: RunTrial | None) -> None:
    """Plain data in, validations out; everything else goes to the run folder.

    Args:
        config: `trial_id`, `recipe` (JSON text) and, the same for all trials, `run`, `store`, `cwd`, `resources`, `metric`, `hang_seconds`.
        run_trial: None: `optical_ray.trial.run_trial`.

    Raises:
        ResourceError: this process has another version of the code than the driver.
    """
    with contextlib.suppress(FileNotFoundError):  # Tune moves to a folder of its own; relative paths of a recipe are the driver's
        os.chdir(config["cwd"])
    recipe = Recipe.parse(json.loads(config["recipe"]), f"trial {config['trial_id']}")
    if recipe.trial_id != config["trial_id"]:
        raise ResourceError(
            f"trial {config['trial_id']}: here its recipe has the id {recipe.trial_id}, so this process runs another version of "
            "optical_ray than the driver; install the same version on every node, and leave the code alone while a sweep runs"
        )
    resources = Resources.parse(config["resources"], "resources")
    run, metric = RunFolder(Path(config["run"])), config["metric"]

    def report(step: int, metrics: Mapping[str, float]) -> None:
        if metric in metrics:
            tune.report({"step": step, **{name: float(value) for name, value in metrics.items()}})

    if run_trial is None:
        from optical_ray import trial  # not needed, and seconds to import, where something stands in for it

        run_trial = trial.run_trial
    through_ray: dict[str, Any] = {}
    if resources.workers > 1:
        from optical_ray.orchestration import train  # likewise Ray Train

        through_ray = {"distil": train.distil_with_ray, "pretrain": train.pretrain_with_ray}
    folder = run.trial(recipe.trial_id)
    _await_orphan(folder)
    with end_hang(config["hang_seconds"], folder.hang) as alive:

        def report_and_live(step: int, metrics: Mapping[str, float]) -> None:
            alive(step >= recipe.training.max_steps)
            report(step, metrics)

        try:
            status = run_trial(recipe, resources, Store(Path(config["store"])), run, on_report=report_and_live, **through_ray)
        except (WorkerDied, ResourceError):  # of the machine, or of another process that has the trial
            raise
        except Exception as error:
            _say_failed(folder, error)
            raise
    # Once more at the end: a trial that was finished before this start has reported nothing yet.
    tune.report({"step": status.step, "state": status.state, **trial_facts(folder)})


def _say_failed(folder: TrialFolder, error: Exception) -> None:
    """What raised would raise again: its status says so, where the trial itself did not."""
    status = folder.read_status()
    if status is not None and status.state == "running":
        line = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no message')}"
        folder.write_status(status.override({"state": "failed", "error": line, "updated_at": utc_now()}))


def _await_orphan(folder: TrialFolder) -> None:
    """Wait until nobody holds the lock that `run_trial` takes: the process of a driver that was just killed lives a moment longer."""
    folder.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.lock)
    try:
        lock.acquire(timeout=ORPHAN_SECONDS)
    except Timeout:
        raise ResourceError(
            f"{folder.path}: another process has been running this trial for {ORPHAN_SECONDS:g} s; end it, then resume"
        ) from None
    lock.release()
