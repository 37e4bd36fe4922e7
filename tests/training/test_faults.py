"""Faults happen where they are named, as often as they are, and nowhere else."""

import signal
import subprocess
import sys

import pytest

from optical_ray.errors import ConfigError, NumericsError, ResourceError
from optical_ray.recipe import Resources
from optical_ray.runs.folder import RunFolder
from optical_ray.training.faults import Fault, InjectedFault, parse_faults, with_faults
from optical_ray.trial import run_trial


def test_they_are_read_from_one_line():
    assert parse_faults("") == parse_faults(" ; ") == ()
    assert parse_faults("kill step=120; nan step=4 trial=ab12 ;hang step=1 rank=1 times=2") == (
        Fault("kill", 120),
        Fault("nan", 4, trial="ab12"),
        Fault("hang", 1, rank=1, times=2),
    )


@pytest.mark.parametrize("text", ["kill", "kill step=0", "burn step=3", "kill step=x", "kill step=3 when=now", "kill step=-1"])
def test_what_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="OPTICAL_FAULTS: .*expected kill|hang|raise|nan|oom step=N"):
        parse_faults(text)


def test_an_objective_without_faults_is_itself(tmp_path, monkeypatch):
    objective = object()
    assert with_faults(objective, tmp_path, "abc", 0, 0) is objective
    monkeypatch.setenv("OPTICAL_FAULTS", "kill step=1 trial=b; kill step=1 rank=1")
    assert with_faults(objective, tmp_path, "abc", 0, 0) is objective
    assert with_faults(objective, tmp_path, "abc", 1, 0) is not objective


def run(world, tmp_path, monkeypatch, fault):
    monkeypatch.setenv("OPTICAL_FAULTS", fault)
    return run_trial(world.recipe, Resources(), world.store, RunFolder(tmp_path))


def losses(tmp_path, world):
    rows = RunFolder(tmp_path).trial(world.recipe.trial_id).read_metrics()
    return [(row.step, row.value) for row in rows if row.name == "loss/total"]


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed")
    run_trial(world.recipe, Resources(), world.store, RunFolder(path))
    return losses(path, world)


def test_a_trial_that_raised_goes_on_and_is_not_hit_again(world, tmp_path, monkeypatch, undisturbed):
    with pytest.raises(InjectedFault, match="injected at step 13"):
        run(world, tmp_path, monkeypatch, "raise step=13")
    status = RunFolder(tmp_path).trial(world.recipe.trial_id).read_status()
    assert (status.state, status.error) == ("failed", "InjectedFault: injected at step 13")
    assert run(world, tmp_path, monkeypatch, "raise step=13").state == "finished"
    assert losses(tmp_path, world) == undisturbed


def test_a_loss_of_nan_names_the_step_and_the_last_good_checkpoint(world, tmp_path, monkeypatch):
    with pytest.raises(NumericsError, match=r"step 13: .*pairs of the batch: .*last good checkpoint: .*step-00000010"):
        run(world, tmp_path, monkeypatch, "nan step=13")


def test_memory_that_runs_out_once_is_borne_and_at_one_group_it_is_not(world, tmp_path, monkeypatch):
    assert run(world, tmp_path / "once", monkeypatch, "oom step=3").state == "finished"
    with pytest.raises(ResourceError, match="step 3: out of memory at one group of 8 pairs .*injected"):
        run(world, tmp_path / "always", monkeypatch, "oom step=3 times=9")


def test_a_kill_kills(world, tmp_path):
    lines = [
        "import pathlib, sys, torch",
        "from optical_ray.training.faults import with_faults",
        "class Objective:",
        "    group = 1",
        "    def counts(self, batch): return {}",
        "faulty = with_faults(Objective(), pathlib.Path(sys.argv[1]), 'abc', 0, 4)",
        "faulty.counts(None)",
        "faulty.price(None, None, {})",
    ]
    environment = {"OPTICAL_FAULTS": "kill step=5"}
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines), str(tmp_path)], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / ".faults-0").read_text() == "kill 5\n"
