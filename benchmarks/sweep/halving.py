"""Does the shipped entropy/temperature sweep, which stops trials early, find what the full grid finds, and at how many steps?"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optical_ray.analysis.load import Run, Trial, load_run
from optical_ray.analysis.outcomes import SUCCESS
from optical_ray.analysis.sources import open_sources
from optical_ray.cli.sweep import load_sweep
from optical_ray.retrieval.intervals import Floats, QueryBootstrap, Strings

ROOT = Path(__file__).parents[2]
FILES = {"ASHA": ROOT / "sweeps" / "entropy_temperature.py", "full grid": ROOT / "benchmarks" / "sweep" / "full_grid.py"}


@dataclass(frozen=True)
class Searched:
    """One way to search, done."""

    run: Run
    best: Trial
    """By validation."""
    steps: int
    """Of all its trials."""

    @classmethod
    def read(cls, path: Path) -> Searched:
        """The run of a sweep that is whole."""
        run = load_run(path)
        open_trials = [trial.trial_id for trial in run.trials if trial.state not in ("finished", "pruned")]
        assert not open_trials, f"{path}: {', '.join(open_trials)} neither finished nor were stopped early"
        finished = [trial for trial in run.trials if trial.finished]
        best = max(finished, key=lambda trial: trial.status.objective if trial.status and trial.status.objective is not None else -1.0)
        return cls(run, best, sum(trial.status.step for trial in run.trials if trial.status))

    def outcomes(self) -> tuple[dict[str, Floats], dict[str, Strings]]:
        """Of the best trial on the test rows: by language, whether each query found its sentence first, and which that is."""
        found = open_sources(self.run).student([self.best])
        return ({name: own.at(SUCCESS) for name, own in found.items()}, {name: own.relevant_Q for name, own in found.items()})


def measure_halving(place: Path) -> list[dict[str, Any]]:
    """Both sweeps (gone on with where they were begun), and the paired difference of their best students on the test rows."""
    done = {}
    for name, file in FILES.items():
        run = place / "runs" / load_sweep(file).folder_name
        command = [sys.executable, str(file), "--out", str(place / "runs"), "--store", str(place / "store")]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"}
        subprocess.run([*command, *(["--resume"] if run.is_dir() else [])], cwd=ROOT, env=environment, check=True)
        done[name] = Searched.read(run)
    bootstrap = QueryBootstrap()
    grid_found, relevant = done["full grid"].outcomes()
    rows = []
    for name, searched in done.items():
        found, _ = searched.outcomes()
        difference = bootstrap.difference_over_languages(found, grid_found, relevant)
        assert searched.best.status is not None
        rows.append(
            {
                "section": "halving",
                "contender": name,
                "trials": len(searched.run.trials),
                "steps": searched.steps,
                "steps_over_grid": searched.steps / done["full grid"].steps,
                "best": searched.best.trial_id,
                "valid": searched.best.status.objective,
                "test": bootstrap.mean_over_languages(found, relevant).estimate,
                "difference": difference.estimate,
                "difference_low": difference.low,
                "difference_high": difference.high,
            }
        )
    return rows
