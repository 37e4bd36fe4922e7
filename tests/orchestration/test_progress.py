"""Progress is read from files, whatever their length or state."""

import pytest

from optical_ray.orchestration.planned import PlannedTrial
from optical_ray.orchestration.progress import ProgressClock, TrialProgress, estimate_seconds_left, last_value
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.names import LOSS
from optical_ray.runs.schemas import TrialStatus


def running(step, max_steps):
    return TrialProgress("id", "part", "label", step, max_steps, None, None, 1.0)


@pytest.mark.parametrize("rows", [1, 3, 5000])
def test_the_last_value_is_found_at_the_end_of_any_file(tmp_path, rows):
    folder = RunFolder(tmp_path).trial("0123456789ab")
    for step in range(rows):
        folder.append_metrics(step, None, {LOSS: 1.0 / (step + 1), "other": 9.0}) if rows < 10 else None
    if rows >= 10:
        lines = [f'{{"step": {n}, "resumed_from": null, "name": "{LOSS}", "value": {1.0 / (n + 1)}}}' for n in range(rows)]
        folder.path.mkdir(parents=True)
        folder.metrics.write_text("\n".join(lines) + "\n")
    assert last_value(folder.metrics, LOSS) == 1.0 / rows
    with folder.metrics.open("a") as stream:
        stream.write('{"step": 9999, "resumed_fr')
    assert last_value(folder.metrics, LOSS) == 1.0 / rows, "a line that is being written does not count"
    assert last_value(folder.metrics, "absent") is None


def test_without_metrics_there_is_no_value(tmp_path):
    assert last_value(tmp_path / "metrics.jsonl", LOSS) is None


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
    state = clock.read()
    assert (state.total, state.finished, state.pending) == (4, 1, 1)
    assert [(t.label, t.step, t.max_steps, t.objective) for t in state.running] == [("seed=0", 50, 300, 0.25), ("seed=1", 0, 0, None)]
    clock.finish(first.trial_id)
    clock.fail(second.trial_id, "out of memory")
    state = clock.read()
    assert (state.finished, state.running, state.pending) == (2, (), 1)
    assert state.failed == ((second.trial_id, "out of memory"),)
