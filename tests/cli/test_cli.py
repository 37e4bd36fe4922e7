"""The command line as a user meets it: what works, and one clear line with exit status 2 for what does not."""

import argparse
import json
import logging
from pathlib import Path

import pytest

from optical_ray.artifacts import write_json
from optical_ray.cli import main
from optical_ray.cli.record import record
from optical_ray.cli.resume import choose_trials, describe_end, write_record
from optical_ray.cli.sweep import load_sweep
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import TrialStatus

SWEEPS = Path(__file__).parents[2] / "sweeps"

SWEEP = """
from optical_ray.cli import run
from optical_ray.recipe import Recipe
from optical_ray.sweep import GridPart, LogUniform, SearchPart, Sweep

SWEEP = Sweep("tiny", "Does it run?", "It does.", Recipe().override({"languages.pool": ["sw", "ha"]}),
    (GridPart("grid", {"languages.size": (1, 2)}), SearchPart("search", {"transport.epsilon": LogUniform(0.1, 1.0)}, 3)))

if __name__ == "__main__":
    run(SWEEP)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: None)  # the handlers belong to pytest here


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.fixture
def recipe_file(world, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(world.recipe.to_dict()))
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["data"],
        ["data", "build"],
        ["data", "show"],
        ["pretrain"],
        ["train"],
        ["train-teacher"],
        ["sweep"],
        ["report"],
        ["status"],
        ["clean"],
        ["doctor"],
        ["compare"],
        ["recipe", "fields"],
    ],
)
def test_every_verb_has_help(arguments, capsys):
    assert call(*arguments, "--help") == 0
    assert "usage: optical" in capsys.readouterr().out


def test_a_recipe_is_trained_evaluated_and_reported(world, recipe_file, capsys):
    assert call("train", recipe_file, "training.max_steps=12", "--threads", 1, "seed=0", "--store", world.store.root) == 0
    out = capsys.readouterr().out
    assert "step     12/12: loss" in out
    assert "valid Success@1" in out
    assert "student       maxsim" in out
    run = next(path for path in (recipe_file.parent / "runs").iterdir())
    assert RunFolder(run).read_sweep().parts[0]["num_trials"] == 1
    assert call("train", recipe_file, "training.max_steps=12", "--threads", 1, "--store", world.store.root) == 0  # finished: nothing to do
    (trial,) = RunFolder(run).trials()
    assert call("train", "--from", run / trial.trial_id, "--threads", 1, "--store", world.store.root) == 0
    assert trial.read_status().attempts == 1, "the same recipe is the same trial"
    assert call("report", run) == 0
    assert (run / "report" / "index.html").is_file()


def test_a_corpus_is_built_and_shown(world, capsys):
    arguments = (str(world.bitext), "min_pairs=50", "--store", world.store.root.parent / "cli-store")
    assert call("data", "show", *arguments) == 2
    assert "build it with `optical data build" in capsys.readouterr().err
    assert call("data", "build", *arguments, "--in-process") == 0
    assert "4 languages" in capsys.readouterr().out
    assert call("data", "build", *arguments) == 0
    assert "Built already" in capsys.readouterr().out
    assert call("data", "show", *arguments) == 0
    assert "Swahili" in capsys.readouterr().out


def test_a_sweep_that_was_begun_is_not_begun_again_and_a_finished_one_is_reported(world, tmp_path, capsys):
    (tmp_path / "tiny.py").write_text(SWEEP)
    sweep = load_sweep(tmp_path / "tiny.py")
    run = RunFolder(tmp_path / "runs" / sweep.folder_name)
    run.write_sweep(record(sweep))
    for index, recipe in enumerate(sweep.planned().values()):
        write_json(run.trial(recipe.trial_id).recipe, recipe.to_dict())
        run.trial(recipe.trial_id).write_status(TrialStatus(trial_id=recipe.trial_id, state="finished" if index else "failed"))
    assert call("sweep", "tiny.py") == 2
    assert "1 of 5 trials are finished; to go on: optical sweep tiny.py --resume" in capsys.readouterr().err
    for name in (*sweep.planned(), "a", "b", "c"):
        run.trial(name).write_status(TrialStatus(trial_id=name, state="finished"))
        write_json(run.trial(name).recipe, sweep.base.to_dict())
    assert call("sweep", "tiny.py") == 0
    assert "All 5 trials are finished already" in capsys.readouterr().out
    assert (run.report / "index.html").is_file()
    assert call("sweep", "tiny.py", "--resume", "transport.epsilon=0.3") == 2  # other data, another run: nothing to go on with
    assert "base.transport.epsilon 0.15 -> 0.3" in capsys.readouterr().err


def test_recipe_fields_and_show(tmp_path, capsys):
    assert call("recipe", "fields") == 0
    out = capsys.readouterr().out
    assert "transport.epsilon = 0.15" in out
    assert "in units of `cost.scale`" in " ".join(out.split())
    assert call("recipe", "show", "seed=7") == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 7


def test_a_dry_run_prints_the_trials_and_writes_nothing(tmp_path, capsys):
    (tmp_path / "tiny.py").write_text(SWEEP)
    assert call("sweep", "tiny.py", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "Does it run?" in out
    assert "languages.size=2" in out
    assert "3 by tpe" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere.json"], "nowhere.json: cannot be read"),
        (["train", "corpus.path=here"], "corpus.path=here: expected a recipe's file first, then FIELD=VALUE"),
        (["train", "recipe.json", "transport.epsilonn=1"], "SinkhornConfig has no field 'epsilonn'; it has epsilon"),
        (["train", "recipe.json", "transport.epsilon=cold"], "found 'cold'"),
        (["train", "recipe.json", "languages.pool=sw"], "expected a list"),
        (["train", "recipe.json", "nonsense"], "expected FIELD=VALUE"),
        (["train"], "optical train: expected a recipe's file first, then FIELD=VALUE"),
        (["train", "--from", "nowhere/0123"], "--from nowhere/0123: no trial there (looked for nowhere/trials/0123/recipe.json)"),
        (["train", "recipe.json", "languages.size=9"], "9 languages asked for, the pool holds 4"),
        (["train", "recipe.json", 'languages.pool=["sw","xx-unknown"]'], "xx-unknown"),
        (["train", "recipe.json", "--workers", "3"], "3 workers cannot share 2 groups"),
        (["train", "recipe.json", "--workers", "0"], "--workers 0: expected at least 1"),
        (["train", "recipe.json", "--threads", "0"], "threads"),
        (["train", "recipe.json", "--device", "cuda"], "no CUDA device"),
        (["train", "recipe.json", "teacher.path=/nowhere"], "no such folder, and not a hub id"),
        (["train", "recipe.json", "corpus.sources=/nowhere"], "/nowhere"),
        (["sweep", "nowhere.py"], "nowhere.py: no such file"),
        (["sweep", "tiny.py", "--trials", "1"], "holds 2 trials and is not cut"),
        (["sweep", "tiny.py", "--resume"], "no such run to resume"),
        (["sweep", "tiny.py", "--retry-failed"], "no such run to resume"),
        (["sweep", "tiny.py", "--extend", "2"], "no such run to resume"),
        (["sweep", "tiny.py", "--extend", "0"], "--extend 0: expected at least 1"),
        (["sweep", "tiny.py", "--extend", "2", "--trials", "9"], "one says how many in all, the other how many more"),
        (["sweep", "tiny.py", "--concurrent", "0"], "--concurrent 0: expected at least 1"),
        (["sweep", "tiny.py", "--wait", "-1"], "--wait -1: expected seconds, 0 or more"),
        (["sweep", "tiny.py", "--wait", "inf"], "--wait inf: expected seconds, 0 or more"),
        (["sweep", "tiny.py", "--keep-best", "0"], "--keep-best 0: expected at least 1"),
        (["sweep", "tiny.py", "--wandb", "x"], "--wandb: wandb is not installed"),
        (["sweep", "tiny.py", "--out", "recipe.json"], "--out recipe.json: a file is there; expected a folder"),
        (["doctor", "seed=1"], "give it with --sweep FILE"),
        (["train", "recipe.json", "--out", "recipe.json"], "recipe.json"),
        (["train", "recipe.json", "student.init=/nowhere"], "no such folder, and not a hub id"),
        (
            ["train", "recipe.json", "training.max_steps=1", "batch.pairs=2", "batch.group=2"],
            "training.max_steps x batch.pairs: 2 pairs for 4",
        ),
        (["report", "nowhere"], "nowhere: no such folder"),
        (["report", "."], "not a run folder"),
        (["data", "build", "/nowhere"], "/nowhere"),
        (["data", "build", "min_pears=3"], "CorpusConfig has no field 'min_pears'"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message, recipe_file, world, capsys):
    (recipe_file.parent / "tiny.py").write_text(SWEEP)
    takes_store = arguments[0] in ("train", "sweep", "data", "doctor")
    assert call(*arguments, *(["--store", world.store.root] if takes_store else [])) == 2
    error = capsys.readouterr().err
    assert error.startswith("optical: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.fixture
def begun(tmp_path):
    """A run of the tiny sweep whose two grid trials and three searched ones have ended, one of them failed, one stopped early."""
    (tmp_path / "tiny.py").write_text(SWEEP)
    sweep = load_sweep(tmp_path / "tiny.py")
    run = RunFolder(tmp_path / "runs" / sweep.folder_name)
    run.write_sweep(record(sweep))
    for trial_id, state in zip((*sweep.planned(), "a", "b", "c"), ("finished", "finished", "failed", "pruned", "finished"), strict=True):
        run.trial(trial_id).write_status(TrialStatus(trial_id=trial_id, state=state))
        write_json(run.trial(trial_id).recipe, sweep.base.to_dict())
    return sweep, run


def test_a_sweep_whose_trials_have_all_ended_says_how_and_resume_runs_nothing_again(begun, capsys):
    for option in ((), ("--resume",)):
        assert call("sweep", "tiny.py", *option) == 1
        expected = "All trials have ended: 3 finished, 1 stopped early, 1 failed (--retry-failed runs those again)."
        assert expected in capsys.readouterr().out
    sweep, run = begun
    assert describe_end(run, sweep, retry_failed=True) is None, "there is a failed one to run"


def test_the_command_that_goes_on_says_all_that_the_first_one_said(begun, capsys):
    _, run = begun
    (run.trial("c").path / "status.json").unlink()  # one searched trial is open again
    given = ("--concurrent", "2", "--wait", "90.5", "--keep-best", "3")
    assert call("sweep", "tiny.py", *given) == 2
    assert f"to go on: optical sweep tiny.py {' '.join(given)} --resume" in capsys.readouterr().err


def test_an_extension_adds_to_the_last_search_and_is_remembered(begun, capsys):
    sweep, run = begun
    extended = choose_trials(sweep, run, argparse.Namespace(trials=None, extend=4))
    assert [part.num_trials for part in extended.parts] == [2, 7]
    assert extended.fingerprint == sweep.fingerprint
    write_record(run, sweep, extended, extended=True)
    assert [part["num_trials"] for part in run.read_sweep().parts] == [2, 7]
    resumed = choose_trials(sweep, run, argparse.Namespace(trials=None, extend=None))
    assert resumed.num_trials == 9
    assert describe_end(run, resumed, retry_failed=False) is None
    assert choose_trials(sweep, run, argparse.Namespace(trials=None, extend=1)).num_trials == 10
    assert choose_trials(sweep, run, argparse.Namespace(trials=5, extend=None)).num_trials == 5, "--trials says how many in all"
    assert call("sweep", "tiny.py", "--extend", "4", "--dry-run") == 0
    assert "11 by tpe" in capsys.readouterr().out


def test_every_shipped_sweep_passes_a_dry_run(capsys):
    for path in sorted(SWEEPS.glob("*.py")):
        sweep = load_sweep(path)
        assert call("sweep", path, "--dry-run") == 0
        out = capsys.readouterr().out
        assert f"{sweep.folder_name}: {sweep.num_trials} trials" in " ".join(out.split())
