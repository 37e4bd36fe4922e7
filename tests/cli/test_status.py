"""`optical status`: a table for eyes, JSON for programs, one line for what cannot be shown."""

import datetime
import io
import json
import subprocess
import sys

import pytest
from rich.console import Console
from runs.standings import IDS, write_record, write_student, write_trial

from optical_ray.cli import main
from optical_ray.cli import status as status_module
from optical_ray.cli.progress import describe_resources, minutes
from optical_ray.runs.folder import RunFolder


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.fixture
def run(tmp_path):
    run = write_record(tmp_path / "run")
    write_student(write_trial(run, IDS[0], "finished", 100, objective=0.625, verdicts=["plan_uniform"]))
    write_trial(run, IDS[1], "failed", 50, error="step 50: the loss is NaN")
    write_trial(run, IDS[2], "running", 60)  # dated long ago, and nobody holds its lock
    return run


def test_the_table_says_what_is_dead_what_failed_what_is_best_and_how_to_go_on(run, capsys):
    (run.trial(IDS[1]).resources).write_text("{")
    assert call("status", run.path) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "7 trials: 1 finished, 1 failed, 1 dead, 4 waiting" in out
    assert f"Dead: {IDS[2]} (seeds: seed=2) says running at step 60/100" in out
    assert "To go on, where it was started: optical sweep small.py --out 'my runs' --resume" in out
    assert f"Failed: {IDS[1]} (seeds: seed=1): step 50: the loss is NaN" in out
    assert "0.625" in out and "plan_uniform" in out
    assert "Disk:" in out
    assert f"Unreadable: {run.trial(IDS[1]).resources}: cannot be read" in out


def test_json_holds_everything(run, capsys):
    assert call("status", run.path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["states"] == {"failed": 1, "finished": 1, "running": 1}
    assert [trial["dead"] for trial in found["trials"]] == [False, False, True]
    assert found["disk_bytes"]["students"] > 1000
    assert found["points"] == {}


def test_searched_points_are_counted_from_the_journal_while_it_is_written(run, capsys):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name="search", storage=JournalStorage(JournalFileBackend(str(run.study))))
    study.tell(study.ask(), 0.5)
    refused = study.ask()
    refused.set_user_attr("invalid", "no such batch")
    study.tell(refused, state=optuna.trial.TrialState.FAIL)
    study.ask()
    with run.study.open("a") as stream:
        stream.write('{"op_code": 4, "wor')
    assert call("status", run.path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["points"] == {"search": {"complete": 1, "invalid": 1, "running": 1}}
    run.study.write_text("{}\n[]\n")
    assert call("status", run.path, "--json") == 0
    assert "Optuna cannot read it" in json.loads(capsys.readouterr().out)["problems"][-1]


def test_a_log_file_is_told_changes_only(run, capsys, monkeypatch):
    ticks = iter([None, lambda: write_trial(run, IDS[3], "finished", 100), None])

    def sleep(seconds):
        try:
            change = next(ticks)
        except StopIteration:
            raise KeyboardInterrupt from None
        if change:
            change()

    monkeypatch.setattr(status_module.time, "sleep", sleep)
    assert call("status", run.path, "--watch") == 130
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == ["7 trials: 1 finished", "7 trials: 2 finished"]


def test_a_running_trial_is_a_row(tmp_path):
    run = write_record(tmp_path / "run")
    trial = write_trial(run, IDS[0], "running", 60)
    status = trial.read_status()
    trial.write_status(status.override({"updated_at": datetime.datetime.now(datetime.UTC).isoformat()}))
    console = Console(width=160, record=True, file=io.StringIO())
    for part in status_module.render(status_module.Reader(RunFolder(run.path)).read()):
        console.print(part)
    text = console.export_text()
    assert "seeds: seed=0" in text
    assert "60/100" in text
    assert "1 x 2 CPU" in text
    assert "0:08" in text, "40 steps at 0.2 s are left"


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    assert call("status", tmp_path / "nowhere") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_numbers_are_short():
    assert [minutes(seconds) for seconds in (None, 5, 245, 7445.9)] == ["?", "0:05", "4:05", "2:04:06"]
    assert describe_resources({"workers": 2, "threads": 1, "gpus_per_worker": 0.5}) == "2 x (1 CPU + 0.5 GPU)"
    assert describe_resources(None) == ""


def test_status_and_clean_start_without_torch_or_ray(run):
    code = (
        "import sys, optical_ray.cli.status, optical_ray.cli.clean;"
        "print([m for m in ('torch', 'transformers', 'ray', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
