"""What can go goes, and nothing else: not what a process uses, not what a trial needs to go on, not a student without its test rows."""

import fcntl

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs.standings import BASE, IDS, write_record, write_student, write_trial

from optical_ray.artifacts import write_json
from optical_ray.runs.disk import describe_bytes, measure_run
from optical_ray.runs.standing import read_standing
from optical_ray.runs.waste import find_waste, remove


def write_rows(trial):
    pq.write_table(pa.table({"rank": [1, 2]}), trial.queries)


@pytest.fixture
def run(tmp_path):
    """Three finished trials of rising quality and one that was stopped; optimizer state where a kill came at the wrong moment."""
    run = write_record(tmp_path / "run")
    for trial_id, objective in zip(IDS[:3], (0.3, 0.6, 0.5), strict=True):
        trial = write_trial(run, trial_id, "finished", 100, objective=objective)
        write_student(trial, optimizer=500 if trial_id == IDS[0] else 0)
        write_student(trial, "best")
        write_rows(trial)
    stopped = write_trial(run, IDS[3], "stopped", 50)
    write_student(stopped, optimizer=500)
    (stopped.checkpoint / ".step-00000150.scratch").mkdir()
    (stopped.path / ".status.json.1234").write_text("{")
    return run


def names(run, found):
    return sorted(str(waste.path.relative_to(run.path / "trials")) for waste in found)


def test_by_default_only_what_nothing_will_read_again(run):
    found = find_waste(run)
    assert names(run, found) == [
        f"{IDS[0]}/checkpoint/step-00000100/optimizer.pt",
        f"{IDS[3]}/.status.json.1234",
        f"{IDS[3]}/checkpoint/.step-00000150.scratch",
    ]
    assert {waste.lost for waste in found} == {"nothing"}
    before = measure_run(run)
    assert all(remove(waste) for waste in found)
    assert measure_run(run).optimizers == before.optimizers - 500
    assert (run.trial(IDS[3]).checkpoint / "step-00000100" / "optimizer.pt").is_file(), "a stopped trial goes on from it"
    assert find_waste(run) == []


def test_the_best_students_stay_and_all_rows_do(run):
    found = find_waste(run, keep_best=1)
    students = [waste for waste in found if waste.what == "student"]
    assert names(run, students) == [f"{trial_id}/checkpoint/{name}" for trial_id in (IDS[0], IDS[2]) for name in ("best", "step-00000100")]
    assert "exporting" in students[0].lost
    for waste in found:
        remove(waste)
    assert list(run.trial(IDS[0]).checkpoint.iterdir()) == []
    assert (run.trial(IDS[1]).checkpoint / "best" / "position.json").is_file()
    assert all(run.trial(trial_id).queries.is_file() for trial_id in IDS[:3])
    assert read_standing(run).count("finished") == 3
    assert find_waste(run, keep_best=1) == []


def test_each_language_set_keeps_its_best(run):
    """Judged on the languages it trains on, a trial of one easy language says nothing of one of sixteen."""
    for trial_id, size in zip(IDS[:3], (16, 1, 1), strict=True):
        write_json(run.trial(trial_id).recipe, BASE | {"languages": {"size": size}})
    assert {waste.trial.trial_id for waste in find_waste(run, keep_best=1) if waste.what == "student"} == {IDS[2]}
    run.trial(IDS[2]).recipe.write_text("{")
    assert not [waste for waste in find_waste(run, keep_best=1) if waste.what == "student"], "what it was judged on is not known"


def test_a_student_without_whole_test_rows_stays(run):
    run.trial(IDS[0]).queries.unlink()
    run.trial(IDS[2]).queries.write_bytes(b"PAR1 cut off")
    assert not [waste for waste in find_waste(run, keep_best=1) if waste.what == "student"]


def test_a_pruned_trial_keeps_its_curve_only(run):
    trial = write_trial(run, "a" * 12, "pruned", 50)
    write_student(trial, optimizer=500)
    assert f"{'a' * 12}/checkpoint/step-00000100/optimizer.pt" in names(run, find_waste(run))
    assert f"{'a' * 12}/checkpoint/step-00000100" in names(run, find_waste(run, keep_best=9))


def test_what_a_process_works_on_stays(run):
    with run.trial(IDS[0]).lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert f"{IDS[0]}/checkpoint/step-00000100/optimizer.pt" not in names(run, find_waste(run))
    with run.driver_lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert names(run, find_waste(run)) == [f"{IDS[0]}/checkpoint/step-00000100/optimizer.pt"], "nothing half-written under a driver"
    found = find_waste(run)
    with run.trial(IDS[0]).lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert [remove(waste) for waste in found].count(False) == 1, "a process came between listing and removing"
    assert (run.trial(IDS[0]).checkpoint / "step-00000100" / "optimizer.pt").is_file()


def test_a_damaged_trial_keeps_all_it_has(run):
    (run.trial(IDS[0]).path / "status.json").write_text("{")
    assert not [name for name in names(run, find_waste(run, keep_best=1)) if name.startswith(IDS[0])]


def test_bytes_are_said_as_disks_are_sold():
    assert [describe_bytes(n) for n in (0, 999, 1000, 12_345, 9.96e6, 1.5e9, 2e12)] == [
        "0 B", "999 B", "1.0 kB", "12 kB", "10.0 MB", "1.5 GB", "2.0 TB",
    ]  # fmt: skip
