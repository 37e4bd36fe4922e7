"""Trackers are extras: missing ones are one clear line, present ones are shown the recipe field by field."""

import json

import pytest

from optical_ray.errors import ConfigError
from optical_ray.orchestration import trackers
from optical_ray.orchestration.trackers import adapt, make_trackers, shown_result


def test_none_is_made_unless_asked_for():
    assert make_trackers("sweep", None, None) == []


@pytest.mark.parametrize(("arguments", "package"), [(("project", None), "wandb"), ((None, "sqlite:///x.db"), "mlflow")])
def test_a_missing_package_is_named_with_the_command(arguments, package, monkeypatch):
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"--{package}: {package} is not installed; .*pip install 'optical-ray\[{package}\]'"):
        make_trackers("sweep", *arguments)


class FakeTrial:
    def __init__(self):
        self.config = {"recipe": json.dumps({"seed": 1, "languages": {"pool": ["sw", "ha"]}}), "run": "/secret/path", "label": "seed=1"}
        self.trial_id = "t1"

    def __str__(self):
        return "name"


class FakeCallback:
    """Like those of Ray: what it keeps, it keeps by trial."""

    def __init__(self, fails_at=()):
        self.fails_at = fails_at
        self.runs, self.config, self.results, self.ended, self.calls = {}, None, [], [], 0

    def _act(self, hook):
        self.calls += 1
        if hook in self.fails_at:
            raise RuntimeError("HTTP 500\nwith a long page")

    def setup(self, *args, **info):
        self._act("setup")

    def log_trial_start(self, trial):
        self._act("start")
        self.runs[trial] = str(trial) + trial.trial_id
        self.config = trial.config

    def log_trial_result(self, iteration, trial, result):
        self._act("result")
        self.results.append((self.runs[trial], result))

    def log_trial_end(self, trial, failed=False):
        self._act("end")
        self.ended.append((self.runs.pop(trial), failed))

    def on_experiment_end(self, trials, **info):
        self._act("experiment end")
        assert not self.runs, "W&B waits for trials that were not closed"


def make_callback(**options):
    callback = adapt(FakeCallback, "--fake")(**options)
    callback.setup()
    return callback


REPORT = {
    "step": 40,
    "valid/Success@1": 0.5,
    "training_iteration": 3,
    "time_total_s": 9.0,
    "pid": 7,
    "config": {"recipe": "{}"},
    "state": "finished",
}


def test_a_tracker_sees_recipe_fields_and_finds_the_trial_again():
    callback, trial = make_callback(), FakeTrial()
    callback.log_trial_start(trial)
    assert callback.config == {"seed": 1, "languages.pool": "sw ha", "label": "seed=1"}
    callback.log_trial_result(3, trial, REPORT)
    callback.log_trial_end(trial)
    callback.on_experiment_end([trial])
    assert callback.results == [("namet1", shown_result(REPORT))]
    assert callback.ended == [("namet1", False)]


def test_numbers_come_by_training_step_under_names_that_every_tracker_takes():
    assert shown_result(REPORT) == {"step": 40, "valid/Success_at_1": 0.5, "training_iteration": 40, "state": "finished"}
    assert shown_result({"step": 0, "training_iteration": 1})["training_iteration"] == 0
    assert shown_result({"valid/nDCG@10/zh-Hant<b>": 1.0, "training_iteration": 2}) == {
        "valid/nDCG_at_10/zh-Hant_b_": 1.0,
        "training_iteration": 2,
    }


@pytest.mark.parametrize("hook", ["start", "result", "end", "experiment end"])
def test_a_tracker_that_fails_ends_and_the_sweep_goes_on(hook, caplog):
    callback, trial = make_callback(fails_at=(hook,)), FakeTrial()
    callback.log_trial_start(trial)
    callback.log_trial_result(1, trial, REPORT)
    callback.log_trial_end(trial)
    callback.on_experiment_end([trial])
    (line,) = [record.getMessage() for record in caplog.records]
    assert "--fake" in line and "RuntimeError: HTTP 500'" in line and "the sweep goes on" in line
    calls = callback.calls
    callback.log_trial_start(FakeTrial())
    assert callback.calls == calls


def test_trials_that_were_stopped_are_closed_at_the_end():
    callback, trial = make_callback(), FakeTrial()
    callback.log_trial_start(trial)
    callback.on_experiment_end([trial])
    callback.log_trial_end(trial)  # by the watcher, afterwards
    assert callback.ended == [("namet1", True)]


def test_a_tracker_that_cannot_be_set_up_is_refused_before_the_first_trial():
    with pytest.raises(ConfigError, match=r"^--fake: RuntimeError: HTTP 500; check what it names"):
        make_callback(fails_at=("setup",))
