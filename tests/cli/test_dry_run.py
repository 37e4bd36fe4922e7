"""`--dry-run` tells the trials and their cost, without Ray and without writing; what is not known it does not make up."""

import io
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from optical_ray.artifacts import Store, write_json
from optical_ray.cli.dry_run import forecast, open_trials, print_trials
from optical_ray.cli.start import check_start, keep_best_students
from optical_ray.errors import ResourceError
from optical_ray.forecast import disk as disk_module
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import TrialStatus
from optical_ray.sweep import GridPart, LogUniform, SearchPart, Sweep

BASE = Recipe().override({"training.max_steps": 100, "languages.pool": ["sw", "ha"]})
PARTS = (GridPart("grid", {"seed": (0, 1, 2)}), SearchPart("search", {"transport.epsilon": LogUniform(0.1, 1.0)}, 4, changes={"seed": 9}))
SWEEP = Sweep("dry", "What will it cost?", "Little.", BASE, PARTS)


@pytest.fixture
def places(tmp_path):
    return RunFolder(tmp_path / "runs" / "dry"), Store(tmp_path / "store")


def printed(*arguments):
    stream = io.StringIO()
    print_trials(Console(file=stream, width=160), *arguments)
    return " ".join(stream.getvalue().split())


def finish(run, trial_id, train):
    write_json(run.trial(trial_id).recipe, {})
    seconds = {"prepare": 1.0, "train": train, "evaluate": 1.0}
    run.trial(trial_id).write_status(TrialStatus(trial_id=trial_id, state="finished", step=100, max_steps=100, seconds=seconds))


def test_an_unknown_time_is_called_unknown_with_the_way_to_learn_it(places, tmp_path):
    text = printed(SWEEP, *places, 2)
    assert "Time: not known" in text
    assert "--calibrate" in text
    assert text.count(" ? ") >= 4, "of each trial too"
    assert "Disk of the run:" in text
    assert "Disk of the store: not known how much still to be built" in text, "and not none"
    assert "Not counted: the corpus (not built yet" in text
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_what_is_open_is_told_from_trials_that_have_finished(places):
    run, store = places
    for trial_id in list(SWEEP.planned())[:2]:
        finish(run, trial_id, train=58.0)
    finish(run, "searched0000", train=58.0)
    assert [count for _, count in open_trials(SWEEP, run)] == [1, 3]
    assert forecast(SWEEP, run, store, concurrent=2).seconds == pytest.approx(4 * 60.0 / 2)
    text = printed(SWEEP, run, store, 2)
    assert "Time: about 2:00 for what is open, 2 at a time; from 3 finished trials of this run" in text
    assert "1:00" in text


def test_a_disk_that_is_too_small_is_refused_before_anything_starts(places, monkeypatch):
    run, store = places
    usage = disk_module.shutil.disk_usage("/")
    monkeypatch.setattr(disk_module.shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(ResourceError, match=r"will take up to .* MB there, 10 kB are free"):
        check_start(Console(), SWEEP, run, store, session=SimpleNamespace(trials=1), keep_best=None)


def test_keep_best_is_off_unless_asked_for_and_acts_when_a_trial_finishes(tmp_path, monkeypatch):
    from optical_ray.cli import start

    def show(progress):
        told.append(progress)

    told, asked = [], []
    assert keep_best_students(RunFolder(tmp_path), None, show) is show
    monkeypatch.setattr(start, "find_waste", lambda run, count: asked.append(count) or [])
    listen = keep_best_students(RunFolder(tmp_path), 2, show)

    class Progress:
        def __init__(self, finished):
            self.finished = finished

    for finished in (0, 0, 1, 1, 2):
        listen(Progress(finished))
    assert asked == [2, 2, 2]
    assert [progress.finished for progress in told] == [0, 0, 1, 1, 2]


def test_ray_is_not_needed(places, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert "7 trials" in printed(SWEEP, *places, 1)
