"""Two runs beside each other, several at once, and a report that follows a run."""

import threading
import time

import pytest

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.answer import answer
from optical_ray.analysis.compare import BESIDE
from optical_ray.analysis.load import load_run
from optical_ray.cli import main
from optical_ray.retrieval.intervals import QueryBootstrap
from optical_ray.runs.folder import RunFolder

BOOTSTRAP = QueryBootstrap(resamples=500)


def call(arguments):
    """The exit status."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


def better(arm, k, language, trained, system):
    return 0.8 if trained and arm == "OT" and system == "student" else 0.3


@pytest.fixture(scope="module")
def two(tmp_path_factory, sweep_writer):
    folder = tmp_path_factory.mktemp("two")
    small = {"sizes": (4,), "searches": 0, "queries": 60}
    first = sweep_writer(folder / "first", better, **small)
    second = sweep_writer(folder / "second", lambda *what: 0.3, **small)
    return first, second


def test_the_same_settings_of_two_runs_are_paired(two):
    first, second = map(load_run, two)
    analysis = analyse(first, BOOTSTRAP, other=second)
    rows = {row.arm: row for row in analysis.comparisons if row.kind == BESIDE and row.measure == "Success@1"}
    assert set(rows) == {"OT", "OT + contrastive", "contrastive"}
    assert rows["OT"].second == "OT, k = 4 of second"
    assert (rows["OT"].direction, rows["contrastive"].direction) == ("above", "not shown")
    assert (rows["OT"].num_queries, rows["OT"].unmatched) == (4 * 60, 0)
    sentence = answer(analysis)[-1]
    assert sentence.startswith("Beside second, at the same arm and k on the same queries: OT, k = 4 is above by 0.")
    assert "no difference could be shown for OT + contrastive" in sentence


def test_runs_without_a_setting_in_common_say_so(two, tmp_path, sweep_writer):
    other = load_run(sweep_writer(tmp_path / "other", sizes=(1,), searches=0, queries=60))
    analysis = analyse(load_run(two[0]), BOOTSTRAP, other=other)
    assert "No setting of other with the same arm and k has queries in common" in answer(analysis)[-1]


def test_several_runs_are_written_side_by_side(two, tmp_path, capsys):
    assert call(["report", *map(str, two), "--out", str(tmp_path)]) == 0
    assert all((tmp_path / run.name / "index.html").is_file() for run in two)
    assert call(["report", str(two[0]), "--compare", str(two[1]), "--out", str(tmp_path / "both")]) == 0
    assert "of second" in (tmp_path / "both" / "comparisons.csv").read_text()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--watch", "0"], "--watch 0: expected seconds, more than 0"),
        (["--compare", "nowhere"], "nowhere: no such folder"),
        (["--baseline", "greedy"], "baseline 'greedy'"),
    ],
)
def test_bad_options_are_told_in_one_line(two, tmp_path, capsys, options, expected):
    assert call(["report", str(two[0]), "--out", str(tmp_path), *options]) == 2
    assert expected in capsys.readouterr().err


def test_several_runs_need_a_place(two, capsys):
    assert call(["report", *map(str, two)]) == 2
    assert "several runs: expected --out DIR" in capsys.readouterr().err


def test_two_runs_of_one_name_do_not_take_each_others_place(two, tmp_path, capsys):
    assert call(["report", str(two[0]), str(two[0]), "--out", str(tmp_path)]) == 2
    assert "first: named twice, or two runs of one name" in capsys.readouterr().err


def test_a_report_follows_its_run_to_the_end(tmp_path, sweep_writer, capsys):
    path = sweep_writer(tmp_path / "run", sizes=(1,), arms=("OT",), searches=0, queries=30, begun=1)
    page = path / "report" / "index.html"
    watching = threading.Thread(target=call, args=(["report", str(path), "--watch", "0.2"],), daemon=True)
    watching.start()
    wait_for(lambda: page.is_file() and 'http-equiv="refresh"' in page.read_text())
    sweep_writer(path, sizes=(1,), arms=("OT",), searches=0, queries=30)
    assert {trial.read_status().state for trial in RunFolder(path).trials()} == {"finished"}
    watching.join(60)
    assert not watching.is_alive(), "it ends with the run"
    assert 'http-equiv="refresh"' not in page.read_text()
    assert "2 of 2 trials finished" in capsys.readouterr().out


def wait_for(claim, seconds=60.0):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.05)
