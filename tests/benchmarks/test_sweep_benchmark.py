"""The benchmark of a sweep: everyone runs the same trials, what is told follows from their files, earlier sections stay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.sweep.__main__ import describe, read_sections, read_trials, write
from benchmarks.sweep.contender import CONTENDERS
from benchmarks.sweep.full_grid import SHIPPED, SWEEP, middles
from benchmarks.sweep.halving import Searched
from benchmarks.sweep.startup import read_startup
from optical_ray.artifacts import write_json
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder, utc_now
from optical_ray.runs.schemas import SweepRecord, TrialStatus
from optical_ray.sweep import LogUniform

ROOT = Path(__file__).parents[2]


def make_trial(run, seed, began, ended, state="finished", step=10, objective=0.5):
    """With the times that files show."""
    recipe = Recipe().override({"seed": seed})
    folder = run.trial(recipe.trial_id)
    write_json(folder.recipe, recipe.to_dict())
    seconds = {"prepare": 1.0, "train": ended - began - 2.0, "validate": 0.5, "evaluate": 1.0}
    folder.write_status(
        TrialStatus(trial_id=recipe.trial_id, state=state, step=step, seconds=seconds, objective=objective, started_at=utc_now())
    )
    folder.queries.touch()
    os.utime(folder.recipe, (began, began))
    os.utime(folder.queries, (ended, ended))
    return recipe.trial_id


def test_overhead_first_start_and_pauses_are_those_of_the_files(tmp_path):
    run = RunFolder(tmp_path)
    for seed, (began, ended) in enumerate([(1010.0, 1020.0), (1011.0, 1021.0), (1020.5, 1030.0), (1021.5, 1031.0)]):
        make_trial(run, seed, began, ended)
    told = read_trials(run, seconds=25.0, began_at=1006.0, concurrent=2)
    assert told["worked_seconds"] == 39.0
    assert told["overhead"] == pytest.approx(50.0 / 39.0)
    assert (told["first_start_seconds"], told["pause_seconds"]) == (4.0, 0.5)


def test_a_section_measured_anew_leaves_the_others(tmp_path):
    row = {"section": "overhead", "contender": "tune", "repeat": 0, "seconds": 1.0}
    write(tmp_path, {"overhead": {"rows": [row]}})
    kept = read_sections(tmp_path) | {"cluster": {"rows": [{"section": "cluster", "contender": "optical_ray", "trials": 4}]}}
    write(tmp_path, kept)
    assert list(json.loads((tmp_path / "sweep.json").read_text())) == ["overhead", "cluster"]
    assert (tmp_path / "sweep.csv").read_text().splitlines() == [
        "section,contender,repeat,seconds,trials",
        "overhead,tune,0,1,",
        "cluster,optical_ray,,,4",
    ]


def test_the_grid_is_of_the_space_that_is_searched():
    (search,), (grid,) = SHIPPED.parts, SWEEP.parts
    assert grid.axes.keys() == search.space.keys()
    for name, values in grid.axes.items():
        assert all(search.space[name].low < value < search.space[name].high for value in values)
    assert middles(LogUniform(1.0, 16.0), 2) == (2.0, 8.0)
    assert SWEEP.num_trials == 32
    assert (SWEEP.base, SWEEP.fingerprint != SHIPPED.fingerprint) == (SHIPPED.base, True)


def test_the_best_is_by_validation_and_steps_of_stopped_trials_count(tmp_path):
    run = RunFolder(tmp_path)
    record = SweepRecord(
        name="s",
        fingerprint="f",
        question="?",
        expectation="?",
        base=Recipe().to_dict(),
        parts=[],
        metric="m",
        created_at="",
        provenance={},
    )
    run.write_sweep(record)
    for seed, (state, step, objective) in enumerate([("finished", 30, 0.4), ("finished", 30, 0.6), ("pruned", 10, 0.9)]):
        make_trial(run, seed, 0.0, 10.0, state, step, objective)
    searched = Searched.read(tmp_path)
    assert (searched.best.recipe["seed"], searched.steps) == (1, 70)
    make_trial(run, 3, 0.0, 10.0, "failed")
    with pytest.raises(AssertionError, match="neither finished nor"):
        Searched.read(tmp_path)


def test_startup_is_the_training_of_the_first_trial_and_the_median_of_later_ones(tmp_path):
    run = RunFolder(tmp_path)
    for seed, seconds in enumerate((9.0, 2.0, 4.0, 3.0)):
        trial_id = make_trial(run, seed, 0.0, seconds + 2.0)
        status = run.trial(trial_id).read_status()
        run.trial(trial_id).write_status(status.model_copy(update={"started_at": f"2026-01-01T00:00:0{seed}+00:00"}))
    assert read_startup(tmp_path) == {"first_seconds": 8.5, "later_seconds": 2.5}  # half a second of each is validation


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_everyone_has_a_row(tmp_path):
    command = [sys.executable, "-m", "benchmarks.sweep", "--quick", "--sections", "overhead", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "sweep.json").read_text())["overhead"]["rows"]
    assert {row["contender"] for row in rows} == set(CONTENDERS)
    assert all(row["trials"] == 2 and row["worked_seconds"] > 0 and row["overhead"] > 0 for row in rows)
    assert done.stdout.splitlines() == describe(rows)
