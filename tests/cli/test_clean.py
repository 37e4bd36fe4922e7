"""`optical clean` lists before it removes."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs.standings import IDS, write_record, write_student, write_trial

from optical_ray.artifacts import Store, write_json
from optical_ray.cli import main


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


@pytest.fixture
def run(tmp_path):
    run = write_record(tmp_path / "runs" / "run")
    for trial_id, objective in zip(IDS[:2], (0.3, 0.6), strict=True):
        trial = write_trial(run, trial_id, "finished", 100, objective=objective)
        write_student(trial, student=2_000_000)
        pq.write_table(pa.table({"rank": [1]}), trial.queries)
        write_json(trial.artifacts, [])
    return run


def test_what_would_go_is_listed_with_what_is_lost_and_goes_with_yes(run, tmp_path, capsys):
    assert call("clean", run.path) == 0
    assert capsys.readouterr().out == "Nothing to free.\n"
    assert call("clean", run.path, "--keep-best", 1) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "exporting it" in out
    assert "2.0 MB would be freed. Nothing was removed: add --yes" in out
    assert list(run.trial(IDS[0]).checkpoint.iterdir()), "a listing removes nothing"
    assert call("clean", run.path, "--keep-best", 1, "--yes") == 0
    assert "2.0 MB freed." in capsys.readouterr().out
    assert not list(run.trial(IDS[0]).checkpoint.iterdir())
    assert list(run.trial(IDS[1]).checkpoint.iterdir()), "the best one"


def test_a_store_is_cleaned_of_what_the_given_runs_do_not_stand_on(run, tmp_path, capsys):
    write_record(tmp_path / "runs" / "other")
    store = Store(tmp_path / "store")
    path = store.build("corpus", {}, lambda folder: None)
    assert call("clean", run.path, "--store", store.root) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "not given, so what only they stand on counts as unused: other" in out
    assert "corpus" in out and "would be freed" in out
    assert path.is_dir()
    assert call("clean", run.path, "--store", store.root, "--yes") == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--keep-best", "0"], "--keep-best 0: expected at least 1"), (["--store", "/nowhere/store"], "no such folder")],
)
def test_bad_options_are_one_line(run, arguments, message, capsys):
    assert call("clean", run.path, *arguments) == 2
    assert message in capsys.readouterr().err
