"""A sweep's driver in a process of its own, for tests that kill it: `python killed_driver.py RUN_FOLDER`."""

import sys
from pathlib import Path

from fake_sweep import make_sweep
from fake_trial import fake_trial

from optical_ray.artifacts import Store
from optical_ray.orchestration.session import ray_session
from optical_ray.orchestration.tune import run_sweep
from optical_ray.runs.folder import RunFolder

if __name__ == "__main__":
    sweep = make_sweep()
    with ray_session("local", sweep.resources, sweep.concurrent_trials):
        outcome = run_sweep(sweep, RunFolder(Path(sys.argv[1])), Store(Path(sys.argv[1]) / "store"), run_trial=fake_trial)
    print(outcome)
