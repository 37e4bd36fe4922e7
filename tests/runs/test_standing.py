"""How a run stands is read from its folder alone: while it is written, dead, old, or damaged."""

import fcntl
import json

import pytest
from runs.standings import BASE, IDS, NOW, write_record, write_trial

from optical_ray.artifacts import write_json
from optical_ray.errors import RunFolderError
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.standing import estimate_run, read_standing, to_plain


def hold(path):
    """As the process that works on it does."""
    stream = path.open("w")
    fcntl.flock(stream, fcntl.LOCK_EX)
    return stream


def test_trials_are_counted_by_state_and_part_with_those_that_have_not_begun(tmp_path):
    run = write_record(tmp_path / "run")
    write_trial(run, IDS[0], "finished", 100, 30, objective=0.4, seconds={"prepare": 2, "train": 20, "evaluate": 5, "validate": 3})
    write_trial(run, IDS[1], "finished", 100, 20, objective=0.6, seconds={"prepare": 2, "train": 20, "evaluate": 7})
    write_trial(run, IDS[2], "failed", 50, 10, error="step 50: the loss is NaN")
    write_trial(run, "a" * 12, "stopped", 50, 10)
    found = read_standing(run, NOW)
    assert (found.name, found.total, found.waiting) == ("small", 7, 3)
    assert [(part.name, part.planned, part.states) for part in found.parts] == [
        ("seeds", 4, {"finished": 2, "failed": 1}),
        ("search", 3, {"stopped": 1}),
    ]
    assert [(trial.part, trial.label) for trial in found.trials][-1] == ("search", "transport.epsilon=0.5")
    assert [[trial.label for trial in group] for group in found.best(1)] == [["seed=1"]]
    assert found.best(9)[0][1].seconds == 27, "validation is part of training"
    assert found.problems == ()
    assert to_plain(found)["states"] == {"failed": 1, "finished": 2, "stopped": 1}
    json.dumps(to_plain(found), allow_nan=False)


def test_trials_judged_on_other_languages_are_not_ranked_together(tmp_path):
    run = write_record(tmp_path / "run")
    for trial_id, size, objective in zip(IDS, (1, 16, 1, 16), (0.7, 0.5, 0.8, 0.4), strict=True):
        trial = write_trial(run, trial_id, "finished", 100, objective=objective)
        write_json(trial.recipe, BASE | {"languages": {"size": size}})
    assert [[trial.objective for trial in group] for group in read_standing(run, NOW).best(9)] == [[0.8, 0.7], [0.5, 0.4]]
    assert [[trial.objective for trial in group] for group in read_standing(run, NOW).best(1)] == [[0.8], [0.5]]


def test_a_running_trial_shows_its_pace_and_what_is_left(tmp_path):
    run = write_record(tmp_path / "run")
    write_trial(run, IDS[0], "finished", 100, 30, seconds={"prepare": 2, "train": 20, "evaluate": 6})
    trial = write_trial(run, IDS[1], "running", 60, 0.1, seconds={"prepare": 2, "train": 15, "validate": 4})
    with hold(run.driver_lock), hold(trial.lock):
        found = read_standing(run, NOW)
        assert found.driver is True
        one = next(each for each in found.trials if each.state == "running")
        assert (one.loss, one.silent_seconds, one.dead) == (0.5, 6.0, False)
        assert one.seconds_left == 40 * 0.2 + 1 * 2.0 + 6, "steps, the last validation (two took 4 s), and what an evaluation took"
        assert found.seconds_left == one.seconds_left + 5 * 28, "and five trials that have not begun, one at a time"


@pytest.mark.parametrize(
    ("minutes_ago", "held", "dead"),
    [(10, "nothing", True), (0.5, "nothing", False), (10, "driver", False), (10, "trial", False)],
)
def test_dead_is_what_says_running_and_is_silent_and_held_by_nobody(tmp_path, minutes_ago, held, dead):
    run = write_record(tmp_path / "run")
    trial = write_trial(run, IDS[0], "running", 60, minutes_ago)
    with hold(run.driver_lock if held == "driver" else trial.lock if held == "trial" else tmp_path / "other"):
        found = read_standing(run, NOW)
    assert [each.dead for each in found.trials] == [dead]
    assert found.resume == "optical sweep small.py --out 'my runs' --resume"


def test_reading_makes_no_file(tmp_path):
    run = write_record(tmp_path / "run")
    write_trial(run, IDS[0], "running", 60)
    before = sorted(tmp_path.rglob("*"))
    read_standing(run, NOW)
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_files_are_named_and_the_others_shown(tmp_path):
    run = write_record(tmp_path / "run")
    for trial_id in IDS:
        write_trial(run, trial_id, "finished", 100, objective=0.5)
    (run.trial(IDS[0]).path / "status.json").write_text('{"format_ver')
    run.trial(IDS[1]).recipe.write_text("[]")
    (run.trial(IDS[2]).path / "status.json").write_text('{"format_version": 1, "trial_id": "x", "state": "asleep"}')
    run.trial(IDS[3]).metrics.write_bytes(b"\xff\xfe{}\n[1]\n")
    found = read_standing(run, NOW)
    states = {trial.trial_id: trial.state for trial in found.trials}
    assert states == {IDS[0]: "unreadable", IDS[1]: "finished", IDS[2]: "unreadable", IDS[3]: "finished"}
    assert len(found.problems) == 3
    assert all(str(run.trial(trial_id).path) in problem for trial_id, problem in zip(IDS, found.problems, strict=False))
    assert found.total == 7

    (run.path / "sweep.json").write_text("{")
    again = read_standing(run, NOW)
    assert again.name is None
    assert "sweep.json: cannot be read" in again.problems[0]
    assert len(again.trials) == 4


def test_files_of_older_versions_lack_fields_and_are_read(tmp_path):
    run = write_record(tmp_path / "run", provenance={}, parts=[])
    trial = run.trial(IDS[0])
    write_json(trial.recipe, BASE)
    write_json(trial.path / "status.json", {"format_version": 1, "trial_id": IDS[0], "state": "running"})
    (run.path / "trials" / "begun").mkdir()
    found = read_standing(run, NOW)
    assert [(each.state, each.resources, each.silent_seconds, each.dead) for each in found.trials] == [
        ("running", None, None, False),
        ("pending", None, None, False),
    ]
    assert (found.resume, found.seconds_left, found.total) == (None, None, 2)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="not a run folder"):
        read_standing(RunFolder(tmp_path))
    with pytest.raises(RunFolderError, match="no such folder"):
        read_standing(RunFolder(tmp_path / "nowhere"))


def test_nothing_is_estimated_from_nothing():
    assert estimate_run([], 3, [10.0]) is None, "nobody is at work"
