"""Runs a sweep of fake trials on a cluster and says what came out: `python placed_driver.py ADDRESS RUN_FOLDER`."""

import json
import sys
from pathlib import Path

from placed_trial import placed_trial

from optical_ray.artifacts import Store
from optical_ray.orchestration.session import ray_session
from optical_ray.orchestration.tune import run_sweep
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import GridPart, LogUniform, SearchPart, Sweep

if __name__ == "__main__":
    address, run = sys.argv[1], RunFolder(Path(sys.argv[2]))
    base = Recipe().override({"training.max_steps": 10})
    grid = GridPart("grid", {"seed": tuple(range(8))})
    # Seeded random search is asked for all it wants before a result is in, so it draws the same points everywhere.
    search = SearchPart("search", {"transport.epsilon": LogUniform(0.01, 1.0)}, num_trials=4, sampler="random")
    sweep = Sweep("placed", "where?", "everywhere", base, (grid, search), concurrent_trials=4)
    with ray_session(address, sweep.resources, sweep.concurrent_trials, wait_seconds=300):
        outcome = run_sweep(sweep, run, Store(run.path / "store"), run_trial=placed_trial)
    statuses = {trial_id: run.trial(trial_id).read_status() for trial_id in outcome.finished}
    values = {trial_id: status.objective for trial_id, status in statuses.items() if status is not None}
    nodes = {trial_id: (run.trial(trial_id).path / "node").read_text() for trial_id in outcome.finished}
    print(json.dumps({"values": values, "nodes": nodes, "failed": outcome.failed, "unfinished": outcome.unfinished}))
