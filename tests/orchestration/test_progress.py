"""Progress is read from files, whatever their state."""

from optical_ray.artifacts import write_json
from optical_ray.orchestration.planned import PlannedTrial
from optical_ray.orchestration.progress import ProgressClock, TrialProgress, estimate_seconds_left
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.names import LOSS, STEP_SECONDS
from optical_ray.runs.schemas import TrialStatus


def running(step, max_steps):
    return TrialProgress("id", "part", "label", step, max_steps, None, None, 1.0)


def test_the_time_left_counts_parts_of_trials():
    assert estimate_seconds_left([], [running(5, 10)], 3, 1) is None
    assert estimate_seconds_left([30.0], [running(5, 10)], 3, 1) == 3.5 * 30
    assert estimate_seconds_left([90.0, 30.0, 10.0], [running(5, 10), running(0, 0)], 2, 2) == 3.5 * 20 / 2, (
        "the first trial built artifacts"
    )


def test_the_clock_tells_who_runs_and_who_is_done(tmp_path):
    run = RunFolder(tmp_path)
    first, second = (PlannedTrial("grid", f"seed={seed}", Recipe().override({"seed": seed})) for seed in (0, 1))
    clock = ProgressClock(run, total=4, finished_before=1, concurrent=2)
    clock.start(first)
    clock.start(second)
    run.trial(first.trial_id).write_status(TrialStatus(trial_id=first.trial_id, state="running", step=50, max_steps=300, objective=0.25))
    folder = run.trial(first.trial_id)
    folder.append_metrics(50, None, {LOSS: 0.5, STEP_SECONDS: 0.1})
    write_json(folder.resources, {"workers": 1, "threads": 2, "gpus_per_worker": 0.0})
    state = clock.read()
    assert (state.total, state.finished, state.pending) == (4, 1, 1)
    assert (state.running[0].loss, state.running[0].seconds_left) == (0.5, 25.0), "250 steps at 0.1 s"
    assert state.running[0].resources["threads"] == 2
    assert (state.running[1].seconds_left, state.running[1].resources) == (None, {})
    assert [(t.label, t.step, t.max_steps, t.objective) for t in state.running] == [("seed=0", 50, 300, 0.25), ("seed=1", 0, 0, None)]
    clock.finish(first.trial_id)
    clock.fail(second.trial_id, "out of memory")
    state = clock.read()
    assert (state.finished, state.running, state.pending) == (2, (), 1)
    assert state.failed == ((second.trial_id, "out of memory"),)
