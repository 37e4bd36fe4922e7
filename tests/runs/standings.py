"""Run folders of a small sweep, in any state: written by hand, without torch or Ray."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from optical_ray.artifacts import write_json
from optical_ray.runs.folder import RunFolder, TrialFolder
from optical_ray.runs.names import LOSS, STEP_SECONDS, VALID_SUCCESS_AT_1
from optical_ray.runs.schemas import SweepRecord, TrialStatus

NOW = datetime.datetime(2026, 1, 1, 12, 0, 0, tzinfo=datetime.UTC)
BASE = {"seed": 0, "transport": {"epsilon": 0.15}, "training": {"max_steps": 100, "validate_every": 50}}
IDS = tuple(f"{number:012x}" for number in range(4))


def at(minutes_ago: float) -> str:
    return (NOW - datetime.timedelta(minutes=minutes_ago)).isoformat(timespec="seconds")


def write_record(path: Path, **changes: Any) -> RunFolder:
    """A grid of four seeds, and a search of three trials."""
    run = RunFolder(path)
    grid = {"kind": "grid", "name": "seeds", "axes": {"seed": [0, 1, 2, 3]}, "changes": {}, "num_trials": 4, "trial_ids": list(IDS)}
    space = {"transport.epsilon": {"kind": "LogUniform", "low": 0.01, "high": 1.0}}
    search = {"kind": "search", "name": "search", "space": space, "changes": {}, "num_trials": 3, "trial_ids": None}
    values = {
        "name": "small",
        "fingerprint": "f" * 40,
        "question": "Does it stand?",
        "expectation": "It does.",
        "base": BASE,
        "parts": [grid, search],
        "metric": VALID_SUCCESS_AT_1,
        "created_at": at(60),
        "provenance": {"command": ["optical", "sweep", "small.py", "--out", "my runs"]},
    }
    run.write_sweep(SweepRecord.parse(values | changes, "test"))
    return run


def write_trial(run: RunFolder, trial_id: str, state: str, step: int = 0, minutes_ago: float = 0.0, **status: Any) -> TrialFolder:
    """A trial of seed `trial_id`, with the files that its state calls for."""
    trial = run.trial(trial_id)
    recipe = BASE | {"seed": int(trial_id, 16)} if trial_id in IDS else BASE | {"transport": {"epsilon": 0.5}}
    write_json(trial.recipe, recipe)
    write_json(trial.resources, {"workers": 1, "threads": 2, "gpus_per_worker": 0.0, "device": "cpu"})
    when = {"started_at": at(minutes_ago + 1), "updated_at": at(minutes_ago)}
    values = {"trial_id": trial_id, "state": state, "step": step, "max_steps": 100, **when}
    trial.write_status(TrialStatus.parse(values | {"attempts": 1} | status, "test"))
    if step:
        trial.append_metrics(step, None, {LOSS: 0.5, STEP_SECONDS: 0.2})
        _age(trial.metrics, minutes_ago)
    return trial


def _age(path: Path, minutes_ago: float) -> None:
    when = (NOW - datetime.timedelta(minutes=minutes_ago)).timestamp()
    os.utime(path, (when, when))


def write_student(trial: TrialFolder, name: str = "step-00000100", student: int = 1000, optimizer: int = 0) -> Path:
    """A checkpoint of so many bytes."""
    folder = trial.checkpoint / name
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"w" * student)
    if optimizer:
        (folder / "optimizer.pt").write_bytes(b"o" * optimizer)
    write_json(folder / "position.json", {"step": 100})
    return folder
