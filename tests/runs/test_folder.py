import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optical_ray.errors import RunFolderError
from optical_ray.runs.folder import RunFolder, TrialFolder, write_table_once
from optical_ray.runs.provenance import describe_provenance
from optical_ray.runs.schemas import QUERIES, TrialStatus


def test_metrics_come_back_as_written_without_numbers_that_are_none(tmp_path):
    trial = TrialFolder(tmp_path / "t")
    trial.append_metrics(0, None, {"a": 1.0})
    trial.append_metrics(10, None, {"a": 0.5, "b": float("nan")})
    assert [(row.step, row.name, row.value) for row in trial.read_metrics()] == [(0, "a", 1.0), (10, "a", 0.5), (10, "b", None)]


def test_a_resumed_attempt_supersedes_what_lies_beyond_its_checkpoint(tmp_path):
    trial = TrialFolder(tmp_path / "t")
    for step in (0, 5, 10, 15):
        trial.append_metrics(step, None, {"a": float(step)})
    for step in (15, 20):
        trial.append_metrics(step, 10, {"a": step + 0.5})
    for value in (98.0, 99.0):  # killed again, and again, before a new checkpoint: both start from 10, too
        trial.append_metrics(15, 10, {"a": value})
    rows = trial.read_metrics()
    assert [(row.step, row.value) for row in rows] == [(0, 0.0), (5, 5.0), (10, 10.0), (15, 99.0)]


def test_an_attempt_from_the_start_supersedes_everything(tmp_path):
    trial = TrialFolder(tmp_path / "t")
    for value in (1.0, 2.0):
        for step in (0, 5):
            trial.append_metrics(step, None, {"a": value})
    assert [(row.step, row.value) for row in trial.read_metrics()] == [(0, 2.0), (5, 2.0)]


def test_a_half_written_line_is_left_out(tmp_path):
    trial = TrialFolder(tmp_path / "t")
    trial.append_metrics(0, None, {"a": 1.0})
    with trial.metrics.open("a") as stream:
        stream.write('{"step": 5, "resumed_fr')
    assert len(trial.read_metrics()) == 1
    trial.append_metrics(5, None, {"a": 2.0})
    assert [(row.step, row.value) for row in trial.read_metrics()] == [(0, 1.0), (5, 2.0)]


def test_a_status_comes_back_and_another_format_is_refused(tmp_path):
    trial = TrialFolder(tmp_path / "t")
    assert trial.read_status() is None
    status = TrialStatus(trial_id="t", state="running", step=3, seconds={"train": 1.5})
    trial.write_status(status)
    assert trial.read_status() == status
    values = json.loads((tmp_path / "t" / "status.json").read_text())
    (tmp_path / "t" / "status.json").write_text(json.dumps(values | {"format_version": 99}))
    with pytest.raises(RunFolderError, match=r"status.json: format version 99, this one reads 1"):
        trial.read_status()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "no such folder; expected a run folder"),
        (lambda path: path.mkdir(), "not a run folder .it has no sweep.json"),
        (lambda path: (path.mkdir(), (path / "sweep.json").write_text("{")), "cannot be read"),
        (lambda path: (path.mkdir(), (path / "sweep.json").write_text("[]")), "expected a JSON object"),
        (lambda path: (path.mkdir(), (path / "sweep.json").write_text('{"format_version": 7}')), "format version 7"),
    ],
)
def test_a_folder_that_is_no_run_is_one_clear_line(tmp_path, prepare, message):
    prepare(tmp_path / "run")
    with pytest.raises(RunFolderError, match=message):
        RunFolder(tmp_path / "run").read_sweep()


def test_query_rows_have_the_schema_or_are_not_written(tmp_path):
    trial = TrialFolder(tmp_path / "t")
    with pytest.raises((KeyError, pa.ArrowInvalid)):
        trial.write_queries(pa.table({"system": ["student"]}))
    assert not trial.queries.exists()
    row = {name: ["x"] for name in QUERIES.names} | {"rank": [1], "num_relevant": [1], "num_candidates": [9], "AP": [1.0], "AP@20": [1.0]}
    trial.write_queries(pa.table(row | {"nDCG@10": [1.0], "R@100": [1.0], "asked": [7], "among": [9]}))
    assert pq.read_schema(trial.queries).equals(QUERIES)


def test_the_first_of_several_writers_stays(tmp_path):
    path = tmp_path / "tasks" / "bitext.parquet"
    write_table_once(path, pa.table({"a": [1]}))
    write_table_once(path, pa.table({"a": [2]}))
    assert pq.read_table(path)["a"].to_pylist() == [1]


@pytest.mark.parametrize("content", ["", '{"state": "fin', "[]"])
def test_a_damaged_status_says_what_to_do(tmp_path, content):
    trial = RunFolder(tmp_path).trial("0123456789ab")
    trial.path.mkdir(parents=True)
    (trial.path / "status.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"status\.json: .*; remove it, and the trial runs again from its last checkpoint"):
        trial.read_status()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["../my.py", "--resume"], ["../my.py", "--resume"]),
        (["/home/me/.venv/bin/optical", "sweep", "../my.py"], ["optical", "sweep", "../my.py"]),
    ],
)
def test_the_command_can_be_given_again_where_it_was_given(argv, expected, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert describe_provenance()["command"] == expected


def test_provenance_is_plain_data_without_names_of_machine_or_user():
    found = describe_provenance()
    text = json.dumps(found)
    assert found["versions"]["torch"]
    assert found["machine"]["cpus"] >= 1
    import getpass
    import platform

    assert platform.node() not in text.split('"')
    assert getpass.getuser() not in text.split('"')
