"""A sweep by the command line, on a cluster that it joins: checked first, told event by event, cleaned as it goes, read from outside."""

import json
import logging

import pytest

from optical_ray.cli import main
from optical_ray.runs.folder import RunFolder

SWEEP = """
import json, pathlib
from optical_ray.recipe import Recipe, Resources
from optical_ray.sweep import GridPart, Sweep

BASE = Recipe.parse(json.loads(pathlib.Path("base.json").read_text()), "base.json").override({"training.max_steps": 2})
SWEEP = Sweep("upkeep", "Is it looked after?", "It is.", BASE, (GridPart("grid", {"seed": (0, 1)}),), Resources(threads=1))
"""


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.mark.slow
def test_a_sweep_keeps_the_best_student_and_tells_each_event_once(world, tmp_path, cluster, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: None)
    (tmp_path / "base.json").write_text(json.dumps(world.recipe.to_dict()))
    (tmp_path / "upkeep.py").write_text(SWEEP)
    assert call("sweep", "upkeep.py", "--keep-best", 1, "--store", world.store.root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("started") for line in lines) <= 2, "one line for each event"
    assert any("2/2 finished" in line for line in lines)
    run = RunFolder(next((tmp_path / "runs").iterdir()))
    trials = list(run.trials())
    best = max(trials, key=lambda trial: (trial.read_status().objective, [-ord(letter) for letter in trial.trial_id]))
    assert [trial.trial_id for trial in trials if list(trial.checkpoint.iterdir())] == [best.trial_id]
    assert all(trial.queries.is_file() for trial in trials)
    assert not list(tmp_path.rglob(".doctor-*")), "the check of the shared folders leaves nothing"

    assert call("status", run.path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["states"] == {"finished": 2}
    assert [trial["label"] for trial in found["trials"]] == ["seed=0", "seed=1"]
    assert call("sweep", "upkeep.py", "--dry-run", "--trials", 2, "--store", world.store.root) == 0
    assert "from 2 finished trials of this run" in capsys.readouterr().out
    assert call("doctor", "--sweep", "upkeep.py", "--store", world.store.root, "--json") == 0
    checks = {check["name"]: check["state"] for check in json.loads(capsys.readouterr().out)}
    assert checks["same versions"] == checks["models and data"] == checks["time"] == "ok"
    assert call("doctor", "--sweep", "upkeep.py", "--concurrent", 64, "--store", world.store.root, "--json") == 1
    failed = [check for check in json.loads(capsys.readouterr().out) if check["state"] == "fail"]
    assert [check["name"] for check in failed] == ["room for the trials"]
    assert "64 trials at a time x (1 threads) need 64" in failed[0]["found"]
