"""One way to run the same trials, in a process of its own: `python -m benchmarks.sweep.contender NAME PLAN.json`.

optical_ray    `run_sweep`: actors that are used again, Optuna's journal, our files
tune           plain Ray Tune: a fresh process for each trial, reports to Tune
optuna         Optuna's journal and a grid sampler, one subprocess for each trial
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.names import VALID_SUCCESS_AT_1

Plan = dict[str, Any]
"""recipe, store, run (folders), seeds, concurrent; workers of a trial, ours alone."""


def run_ours(plan: Plan) -> None:
    from optical_ray.orchestration.session import ray_session
    from optical_ray.sweep import GridPart, Sweep

    base, concurrent = Recipe.parse(plan["recipe"], "plan"), plan["concurrent"]
    parts, resources = (GridPart("grid", {"seed": tuple(plan["seeds"])}),), Resources(workers=plan.get("workers", 1))
    sweep = Sweep("benchmark", "?", "?", base, parts, resources, concurrent_trials=concurrent)
    with ray_session("local", sweep.resources, concurrent, meanwhile=["optical_ray.orchestration.tune"]):
        from optical_ray.orchestration.tune import run_sweep

        outcome = run_sweep(sweep, RunFolder(Path(plan["run"])), Store(Path(plan["store"])))
    assert len(outcome.finished) == len(plan["seeds"]), outcome


def run_tune(plan: Plan) -> None:
    import ray
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        run_one(plan, config["seed"], lambda metrics: tune.report(metrics))

    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    ray.init(address="local", num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        trial,
        param_space={"seed": tune.grid_search(plan["seeds"])},
        tune_config=tune.TuneConfig(max_concurrent_trials=plan["concurrent"], reuse_actors=False),
        run_config=tune.RunConfig(name="ray", storage_path=plan["run"], verbose=0),
    )
    results = tuner.fit()
    assert not results.errors and len(results) == len(plan["seeds"])


def run_optuna(plan: Plan) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    def objective(trial: optuna.Trial) -> float:
        seed = trial.suggest_categorical("seed", plan["seeds"])
        command = [sys.executable, "-m", "benchmarks.sweep.contender", "one", json.dumps(plan), str(seed)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout.split()[-1])

    Path(plan["run"]).mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(Path(plan["run"]) / "study.journal")))
    study = optuna.create_study(storage=storage, sampler=optuna.samplers.GridSampler({"seed": plan["seeds"]}), direction="maximize")
    study.optimize(objective, n_trials=len(plan["seeds"]), n_jobs=plan["concurrent"])


def run_one(plan: Plan, seed: int, report: Callable[[dict[str, float]], None]) -> float:
    """One trial of it, in this process; its objective."""
    from optical_ray.trial import run_trial

    def on_report(step: int, metrics: Any) -> None:
        if VALID_SUCCESS_AT_1 in metrics:
            report({"step": step, **{name: float(value) for name, value in metrics.items()}})

    recipe = Recipe.parse(plan["recipe"], "plan").override({"seed": seed})
    status = run_trial(recipe, Resources(), Store(Path(plan["store"])), RunFolder(Path(plan["run"])), on_report)
    assert status.objective is not None
    return status.objective


CONTENDERS: dict[str, Callable[[Plan], None]] = {"optical_ray": run_ours, "tune": run_tune, "optuna": run_optuna}

if __name__ == "__main__":
    if sys.argv[1] == "one":
        print(run_one(json.loads(sys.argv[2]), int(sys.argv[3]), lambda metrics: None))
    else:
        CONTENDERS[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")))
