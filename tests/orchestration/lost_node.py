"""A sweep on two nodes, of which one is killed while a trial runs on each, in a process of its own: `python lost_node.py RUN_FOLDER`."""

import json
import sys
import time
from pathlib import Path

from fake_trial import HELD_SEED, HOLD, fake_trial
from ray.cluster_utils import Cluster

from optical_ray.artifacts import Store
from optical_ray.orchestration.session import ray_session
from optical_ray.orchestration.tune import run_sweep
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import GridPart, Sweep

BASE = Recipe().override({"training.max_steps": 4, "seed": HELD_SEED})
GRID = GridPart("grid", {"transport.epsilon": (0.1, 0.2, 0.3)})
"""All of them held at their second step until the node is gone."""


def wait_for_a_death(processes: list[int], seconds: float = 60.0) -> None:
    """Until one of them is gone: a worker outlives its node by a moment, in which its trial could finish."""
    end = time.monotonic() + seconds
    while all(map(is_alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    """Not gone, and not waiting to be buried."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def main(run: RunFolder) -> None:
    sweep = Sweep("fake", "does it bear it?", "yes", BASE, (GRID,), concurrent_trials=2)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1)]
    (run.path / HOLD).touch()

    def kill(state) -> None:
        if nodes and [trial.step for trial in state.running] == [2, 2]:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            wait_for_a_death([int(line.split()[1]) for line in (run.path / "calls.log").read_text().splitlines()])
            (run.path / HOLD).unlink()

    with ray_session(cluster.address, sweep.resources, sweep.concurrent_trials):
        outcome = run_sweep(sweep, run, Store(run.path / "store"), run_trial=fake_trial, progress=kill, progress_seconds=0.1)
    cluster.shutdown()
    print(json.dumps({"finished": outcome.finished, "failed": outcome.failed, "lost": not nodes}))


if __name__ == "__main__":
    folder = RunFolder(Path(sys.argv[1]))
    folder.path.mkdir(parents=True, exist_ok=True)
    main(folder)
