"""Many trials on many nodes that are none: six logical nodes on this machine, trials of two workers that sleep and import no torch.

Does it end, what does a trial cost beside its sleep, does the driver grow? Run with PLAN.json; the last line that it prints is JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from optical_ray.artifacts import Store, write_json
from optical_ray.orchestration.session import ray_session
from optical_ray.orchestration.tune import run_sweep
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.folder import RunFolder, utc_now
from optical_ray.runs.names import VALID_SUCCESS_AT_1
from optical_ray.runs.schemas import TrialStatus
from optical_ray.sweep import LogUniform, SearchPart, Sweep

STEPS = 4
SAMPLE_SECONDS = 1.0


@ray.remote(num_cpus=1, max_retries=0, scheduling_strategy="SPREAD")  # not in the bundle of the trial, as Ray Train's workers are not
def work(seconds: float) -> None:
    """A worker."""
    time.sleep(seconds)


def sleeping_trial(
    recipe: Recipe, resources: Resources, store: Store, run: RunFolder, on_report: Any = None, distil: Any = None, pretrain: Any = None
) -> TrialStatus:
    """In place of `run_trial`: two workers that sleep for so many seconds as the run's file says, and the files of a trial."""
    seconds = float((run.path / "sleep").read_text())
    folder = run.trial(recipe.trial_id)
    write_json(folder.recipe, recipe.to_dict())
    status = TrialStatus(trial_id=recipe.trial_id, state="running", max_steps=STEPS, attempts=1, started_at=utc_now())
    folder.write_status(status)
    for step in range(1, STEPS + 1):
        ray.get([work.remote(seconds / STEPS) for _ in range(resources.workers)])
        folder.append_metrics(step, None, {VALID_SUCCESS_AT_1: 0.5})
        status = status.override({"step": step})
        folder.write_status(status)
        if on_report is not None:
            on_report(step, {VALID_SUCCESS_AT_1: 0.5})
    folder.write_status(status.override({"state": "finished", "objective": 0.5}))
    return status.override({"state": "finished", "objective": 0.5})


def resident_mb() -> float:
    """Of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Run it; what was seen."""
    run = RunFolder(Path(plan["run"]))
    run.path.mkdir(parents=True, exist_ok=True)
    (run.path / "sleep").write_text(str(plan["sleep_seconds"]))
    base = Recipe().override({"training.max_steps": STEPS})
    resources = Resources(workers=2)
    search = SearchPart("search", {"transport.epsilon": LogUniform(0.05, 2.0)}, plan["trials"])
    sweep = Sweep("simulated", "?", "?", base, (search,), resources)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": plan["cpus_per_node"], "include_dashboard": False})
    for _ in range(plan["nodes"] - 1):
        cluster.add_node(num_cpus=plan["cpus_per_node"])
    sizes: list[tuple[float, float]] = []
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            sizes.append((time.monotonic(), resident_mb()))

    with ray_session(cluster.address, resources, None) as session:
        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        started, begun = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
        outcome = run_sweep(sweep, run, Store(run.path / "store"), concurrent_trials=session.trials, run_trial=sleeping_trial)
        seconds, used = time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF)
        ended.set()
        sampler.join()
        concurrent = session.trials
    cluster.shutdown()
    rounds = -(-plan["trials"] // concurrent)
    half = sizes[len(sizes) // 2 :]
    return {
        "finished": len(outcome.finished),
        "concurrent": concurrent,
        "seconds": seconds,
        "beyond_sleep_per_round": (seconds - rounds * plan["sleep_seconds"]) / rounds,
        "driver_cpu_seconds": used.ru_utime + used.ru_stime - begun.ru_utime - begun.ru_stime,
        "study_bytes": run.study.stat().st_size if run.study.is_file() else 0,
        "driver_mb": sizes[-1][1],
        "driver_mb_per_minute": 60 * (half[-1][1] - half[0][1]) / max(1.0, half[-1][0] - half[0][0]),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
