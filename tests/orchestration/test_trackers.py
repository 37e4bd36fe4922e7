"""Trackers are extras: missing ones are one clear line, present ones are shown the recipe field by field."""

import json

import pytest

from optical_ray.errors import ConfigError
from optical_ray.orchestration import trackers
from optical_ray.orchestration.trackers import make_trackers, with_recipe


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
    def __init__(self):
        self.runs, self.config = {}, None

    def log_trial_start(self, trial):
        self.runs[trial] = str(trial) + trial.trial_id
        self.config = trial.config

    def log_trial_end(self, trial):
        return self.runs.pop(trial)


def test_a_tracker_sees_recipe_fields_and_finds_the_trial_again():
    callback, trial = with_recipe(FakeCallback)(), FakeTrial()
    callback.log_trial_start(trial)
    assert callback.config == {"seed": 1, "languages.pool": "sw ha", "label": "seed=1"}
    assert callback.log_trial_end(trial) == "namet1"
