"""Sweeps of trials that sleep, on a real private cluster: order, failures, resume, extension."""

import collections
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from fake_sweep import make_sweep
from fake_trial import (
    BROKEN_SEED,
    DEAD_WORKER_SEED,
    DYING_ONCE_SEED,
    DYING_SEED,
    FAILING_SEED,
    HELD_SEED,
    HOLD,
    HUNG_SEED,
    NAN_SEED,
    SILENT_SEED,
    fake_trial,
    objective_of,
)
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import OutOfMemoryError, RayActorError

from optical_ray.artifacts import Store
from optical_ray.errors import ConfigError, ResourceError
from optical_ray.orchestration import search
from optical_ray.orchestration.study import open_storage
from optical_ray.orchestration.tune import lost_processes_are_deaths, run_sweep
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import Asha, Categorical, Choice, GridPart, Integer, LogUniform, SearchPart, StopRules, Sweep

BASE = Recipe().override({"training.max_steps": 2})
EPSILON = {"transport.epsilon": LogUniform(0.01, 1.0)}


def run(sweep, path, **options):
    return run_sweep(sweep, RunFolder(path), Store(path / "store"), run_trial=fake_trial, progress_seconds=0.1, **options)


def sweep_of(*parts, **options):
    return Sweep("fake", "does it run?", "yes", BASE, parts, **{"concurrent_trials": 1, **options})


def calls(path):
    """Trial ids in the order in which they were started."""
    return [line.split()[0] for line in (path / "calls.log").read_text().splitlines()]


def processes(path):
    return {line.split()[1] for line in (path / "calls.log").read_text().splitlines()}


def history(path, part):
    return optuna.load_study(study_name=part, storage=open_storage(RunFolder(path).study)).trials


def states(path, part):
    return collections.Counter(trial.state.name for trial in history(path, part))


def test_a_grid_runs_in_its_order_in_one_process_and_is_told_as_it_goes(tmp_path, cluster, capfd):
    arms = (Choice("a", {"transport.epsilon": 0.1}), Choice("b", {"transport.epsilon": 1.0}))
    sweep = sweep_of(GridPart("grid", {"arm": arms, "seed": (0, 1)}), GridPart("control", changes={"training.max_steps": 0}))
    told, refused = [], []

    def listen(state):
        told.append(state)
        if not refused:
            with pytest.raises(ResourceError, match="another process is running this sweep") as caught:
                run(sweep, tmp_path, begin=lambda: pytest.fail("a second driver has changed the run's files"))
            refused.append(caught.value)

    outcome = run(sweep, tmp_path, progress=listen)
    assert refused, "a run has one driver at a time"
    assert calls(tmp_path) == list(sweep.planned())
    assert len(processes(tmp_path)) == 1, "actors are used again"
    assert outcome.finished == tuple(sweep.planned())
    assert (outcome.failed, outcome.unfinished, outcome.interrupted) == ((), (), False)
    assert (told[0].total, told[0].finished, told[0].pending) == (5, 0, 5)
    assert (told[-1].finished, told[-1].pending, told[-1].running) == (5, 0, ())
    running = {trial.label: trial for state in told for trial in state.running}
    assert "arm=a, seed=0" in running
    assert running["arm=b, seed=1"].max_steps == 2
    assert told[-1].seconds_left == 0
    assert capfd.readouterr().out == ""

    results = tune.ResultGrid(tune.ExperimentAnalysis(str(tmp_path / "ray")))
    assert {Path(result.path).name for result in results} == set(sweep.planned())
    assert {result.metrics["valid/Success@1"] for result in results} == {objective_of(recipe) for recipe in sweep.planned().values()}


def test_a_process_that_rays_memory_monitor_killed_has_died(monkeypatch):
    seen = []
    monkeypatch.setattr(RayActorManager, "_actor_task_failed", lambda manager, task, error: seen.append(error))
    fail = RayActorManager._actor_task_failed
    with lost_processes_are_deaths():
        for error in (OutOfMemoryError("2 worker(s) were killed"), RayActorError(error_msg="gone"), ZeroDivisionError("by 0")):
            RayActorManager._actor_task_failed(None, None, error)
    assert [type(error) for error in seen] == [RayActorError, RayActorError, ZeroDivisionError]
    assert "2 worker(s) were killed" in str(seen[0])
    assert RayActorManager._actor_task_failed is fail


def test_a_failing_trial_leaves_the_others_alone_and_shows(tmp_path, cluster):
    grid = GridPart("grid", {"seed": (0, FAILING_SEED, DYING_SEED, BROKEN_SEED, 1)})
    nans = SearchPart("nans", EPSILON, 1, changes={"seed": NAN_SEED})
    silent = SearchPart("silent", EPSILON, 1, changes={"seed": SILENT_SEED})
    sweep = sweep_of(grid, nans, silent, restarts=1)
    first, failing, dying, broken, last = sweep.planned()
    outcome = run(sweep, tmp_path)
    assert {first, last} <= set(outcome.finished)
    failed = dict(outcome.failed)
    assert set(failed) == {failing, dying, broken}
    assert failed[broken] == "ValueError: broken"
    assert failed[failing] == "step 3: the loss is NaN; lower training.learning_rate"
    assert "process died" in failed[dying]
    assert collections.Counter(calls(tmp_path))[dying] == 2, "it went on once, and died again"
    started = collections.Counter(calls(tmp_path))
    assert [started[trial_id] for trial_id in (failing, broken)] == [1, 1], "what raises would raise again"
    assert RunFolder(tmp_path).trial(dying).read_status().state == "failed"
    assert "NaN" in (tmp_path / "ray" / failing / "error.txt").read_text()
    assert states(tmp_path, "nans") == {"FAIL": 1}
    assert states(tmp_path, "silent") == {"FAIL": 1}

    again = run(sweep, tmp_path)
    assert dict(again.failed) == failed
    assert first not in calls(tmp_path)[8:], "nothing that finished runs again"
    retried = run(sweep_of(GridPart("grid", {"seed": (FAILING_SEED,)})), tmp_path, retry_failed=True)
    assert failing in retried.finished, "it fails only at its first attempt"


def test_what_dies_goes_on_in_the_same_start_and_no_one_counts_it_failed(tmp_path, cluster, caplog):
    seeds = (DYING_ONCE_SEED, DEAD_WORKER_SEED, HUNG_SEED, 0)
    grid, search = GridPart("grid", {"seed": seeds}), SearchPart("search", EPSILON, 1, changes={"seed": DYING_ONCE_SEED})
    told = []
    outcome = run(sweep_of(grid, search, hang_minutes=0.02), tmp_path, progress=told.append)
    assert (len(outcome.finished), outcome.failed, outcome.unfinished, outcome.interrupted) == (5, (), (), False)
    started = collections.Counter(calls(tmp_path))
    died = [BASE.override({"seed": seed}).trial_id for seed in seeds[:3]]
    assert [started[trial_id] for trial_id in died] == [2, 2, 2]
    assert sum(started.values()) == 5 + 4
    assert states(tmp_path, "search") == {"COMPLETE": 1}, "to the study it is one trial"
    assert (told[-1].finished, told[-1].pending, told[-1].failed) == (5, 0, ())
    assert len(told[-1].died) == 4 and set(died) < set(told[-1].died)
    lines = [record.message for record in caplog.records if "goes on from its last checkpoint" in record.message]
    assert len(lines) == 4
    assert any("hang_minutes" in line and "hang.txt" in line for line in lines)
    assert any("worker 1 died" in line for line in lines)


def test_a_finished_search_is_extended_with_its_memory(tmp_path, cluster):
    sweep = sweep_of(SearchPart("search", EPSILON, 3, startup_trials=2))
    first = run(sweep, tmp_path)
    assert len(first.finished) == 3
    assert run(sweep, tmp_path).finished == first.finished
    assert calls(tmp_path) == list(first.finished), "a finished sweep has nothing to do"
    second = run(sweep, tmp_path, num_trials={"search": 5})
    assert second.finished[:3] == first.finished
    assert calls(tmp_path) == list(second.finished)
    assert states(tmp_path, "search") == {"COMPLETE": 5}
    for trial, trial_id in zip(history(tmp_path, "search"), second.finished, strict=True):
        recipe = BASE.override(trial.params)
        assert recipe.trial_id == trial_id
        assert trial.value == objective_of(recipe)
    with pytest.raises(ConfigError, match="no search part 'grid'.*it has search"):
        run(sweep, tmp_path, num_trials={"grid": 5})


def test_a_recipe_that_two_parts_ask_for_runs_once(tmp_path, cluster):
    grid = GridPart("grid", {"seed": (0, 1)})
    seeds = SearchPart("search", {"seed": Categorical((0, 1))}, 5, sampler="random")
    outcome = run(sweep_of(grid, seeds, concurrent_trials=2), tmp_path)
    assert sorted(calls(tmp_path)) == sorted(outcome.finished)
    assert len(outcome.finished) == 2
    assert states(tmp_path, "search") == {"COMPLETE": 5}


PAIRS = {"batch.pairs": Integer(32, 128)}
"""Both corners are multiples of batch.group=32, and so is one point in 24."""


def test_a_point_without_a_recipe_is_passed_over_named_and_kept_and_the_search_goes_on(tmp_path, cluster, caplog):
    sweep = sweep_of(SearchPart("search", PAIRS, 2, startup_trials=1))
    outcome = run(sweep, tmp_path)
    assert states(tmp_path, "search")["COMPLETE"] == 2
    failed = [trial for trial in history(tmp_path, "search") if trial.state.name == "FAIL"]
    assert failed, "this seed draws invalid points"
    assert all(f"batch.pairs={trial.params['batch.pairs']} is not a multiple" in trial.user_attrs["invalid"] for trial in failed)
    assert {point for point, _ in outcome.invalid} == {f"search: batch.pairs={trial.params['batch.pairs']}" for trial in failed}
    assert f"state=invalid point=(batch.pairs={failed[0].params['batch.pairs']})" in caplog.text
    assert (outcome.failed, outcome.unfinished, outcome.interrupted) == ((), (), False)
    assert sorted(set(calls(tmp_path))) == sorted(outcome.finished)

    extended = run(sweep, tmp_path, num_trials={"search": 3})
    assert states(tmp_path, "search")["COMPLETE"] == 3
    assert set(outcome.invalid) <= set(extended.invalid)


def test_a_search_of_invalid_points_only_gives_up_when_all_else_has_run(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(search, "MAX_INVALID_POINTS", 20)
    # Each corner is valid, and hardly a point between them.
    hopeless = SearchPart("hopeless", {name: Integer(1024, 1048576) for name in ("batch.pairs", "batch.group")}, 3)
    sweep = sweep_of(GridPart("grid", {"seed": (0, 1)}), hopeless, SearchPart("search", EPSILON, 1))
    expected = r"part 'hopeless': 20 points in a row \(20 different ones\) give no recipe; the last: batch.group=\d+, .*Narrow the space"
    for start in (1, 2):
        with pytest.raises(ConfigError, match=expected):
            run(sweep, tmp_path)
        assert states(tmp_path, "hopeless") == {"FAIL": 20 * start}
        assert len(calls(tmp_path)) == 3, "the other parts run, once"
    assert states(tmp_path, "search") == {"COMPLETE": 1}


def test_sigint_ends_cleanly_and_the_same_call_finishes(tmp_path, cluster):
    sweep = make_sweep()
    held = next(trial_id for trial_id, recipe in sweep.planned().items() if recipe.seed == HELD_SEED)
    (tmp_path / HOLD).touch()

    def interrupt(state):
        if state.finished >= 1 and any(trial.step == 2 and trial.label == f"seed={HELD_SEED}" for trial in state.running):
            os.kill(os.getpid(), signal.SIGINT)

    outcome = run(sweep, tmp_path, progress=interrupt)
    (tmp_path / HOLD).unlink()
    assert outcome.interrupted
    assert 1 <= len(outcome.finished) < 9
    begun = {
        trial_id: RunFolder(tmp_path).trial(trial_id).read_status().state for trial_id in outcome.unfinished if trial_id in calls(tmp_path)
    }
    assert begun[held] == "stopped"
    assert set(begun.values()) == {"stopped"}
    assert states(tmp_path, "search")["RUNNING"] == 0
    done = run(sweep, tmp_path)
    assert (len(done.finished), done.unfinished, done.interrupted) == (9, (), False)
    assert set(outcome.finished) <= set(done.finished)


def test_a_killed_driver_loses_nothing_and_repeats_nothing_that_finished(tmp_path, cluster):
    sweep, folder = make_sweep(), RunFolder(tmp_path)
    script = Path(__file__).with_name("killed_driver.py")
    driver = subprocess.Popen([sys.executable, str(script), str(tmp_path)], start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline and driver.poll() is None:
            found = [status for trial in folder.trials() if (status := trial.read_status()) is not None]
            if sum(status.state == "finished" for status in found) >= 4 and any(0 < s.step < s.max_steps for s in found):
                break
            time.sleep(0.02)
        assert driver.poll() is None, "the sweep ended before it was killed"
    finally:
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    before = {trial.trial_id: status for trial in folder.trials() if (status := trial.read_status()) is not None}
    finished = {trial_id for trial_id, status in before.items() if status.state == "finished"}
    assert 4 <= len(finished) < 9
    assert {status.state for status in before.values()} > {"finished"}

    outcome = run(sweep, tmp_path)
    assert len(outcome.finished) == len(set(outcome.finished)) == 9
    assert (outcome.failed, outcome.unfinished, outcome.interrupted) == ((), (), False)
    started = collections.Counter(calls(tmp_path))
    assert set(started) == set(outcome.finished), "no other trial was tried in place of one that was lost"
    assert all(started[trial_id] == 1 for trial_id in finished), "nothing that finished runs again"
    assert set(before) <= set(outcome.finished), "what was begun is finished under the same id"
    after = states(tmp_path, "search")
    assert after["COMPLETE"] == 6
    assert set(after) <= {"COMPLETE", "FAIL"}
    complete = [trial for trial in history(tmp_path, "search") if trial.state.name == "COMPLETE"]
    assert all(trial.value == objective_of(sweep.base.override(trial.params)) for trial in complete)


def test_a_scheduler_stops_trials_early_and_neither_a_resume_nor_the_study_loses_one(tmp_path, cluster):
    part = SearchPart("search", EPSILON, 4, sampler="random", scheduler=Asha(grace_steps=2, reduction=2))
    base = BASE.override({"training.max_steps": 4, "training.validate_every": 1})
    sweep = Sweep("fake", "does it stop?", "yes", base, (part, GridPart("grid", {"seed": (1,)})), concurrent_trials=1)
    outcome = run(sweep, tmp_path)
    assert outcome.pruned
    assert len(outcome.pruned) + len(outcome.finished) == 5
    assert (outcome.failed, outcome.unfinished, outcome.interrupted) == ((), (), False)
    assert len(processes(tmp_path)) == 1, "an actor whose trial was stopped is used again"
    counts = states(tmp_path, "search")
    assert counts == {"PRUNED": len(outcome.pruned), "COMPLETE": 4 - len(outcome.pruned)}
    for trial in history(tmp_path, "search"):
        value = objective_of(base.override(trial.params))
        assert trial.value == value
        assert trial.user_attrs["step"] == (4 if trial.state.name == "COMPLETE" else 2)
    for trial_id in outcome.pruned:
        folder = RunFolder(tmp_path).trial(trial_id)
        assert (folder.read_status().state, folder.read_status().step) == ("pruned", 2)
        assert folder.read_metrics()
    again = run(sweep, tmp_path, num_trials={"search": 5})
    assert set(outcome.pruned) <= set(again.pruned)
    assert collections.Counter(calls(tmp_path)).most_common(1)[0][1] == 1, "nothing runs twice"
    assert len(calls(tmp_path)) == 6


def test_when_time_is_over_what_runs_is_stopped_and_resume_finishes_it(tmp_path, cluster, monkeypatch):
    base = BASE.override({"training.max_steps": 4})
    parts = (GridPart("grid", {"seed": (0,)}), SearchPart("search", EPSILON, 2, sampler="random"))
    sweep = Sweep("fake", "does it stop?", "yes", base, parts, concurrent_trials=1, stop=StopRules(max_minutes=60))

    def searched_trial_runs(self):  # in place of a clock: the search's first trial has begun
        over = len(calls(tmp_path)) == 2 if (tmp_path / "calls.log").is_file() else False
        if over:
            self.stopped["max_minutes"] = "the time is over"
        return over

    monkeypatch.setattr(search.SweepSearch, "is_out_of_time", searched_trial_runs)
    outcome = run(sweep, tmp_path)
    assert outcome.stopped == ("the time is over",)
    assert not outcome.interrupted
    assert (len(outcome.finished), len(outcome.unfinished)) == (1, 1)
    assert RunFolder(tmp_path).trial(outcome.unfinished[0]).read_status().state == "stopped"
    assert states(tmp_path, "search") == {"FAIL": 1}
    monkeypatch.undo()
    done = run(sweep, tmp_path)
    assert (len(done.finished), done.unfinished, done.stopped) == (3, (), ())
    assert states(tmp_path, "search") == {"FAIL": 1, "COMPLETE": 2}
    assert outcome.unfinished[0] in done.finished
