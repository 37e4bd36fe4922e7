"""A Ray Data job does what `map` does."""

import os
import signal

import pytest

from optical_ray.errors import DataError, ResourceError
from optical_ray.orchestration.data_job import map_tasks


def describe(task):
    if task["number"] == 7:
        raise DataError("data/bitext/sw.tsv, line 1204: 3 columns, expected 2")
    extra = {f"only in {task['number']}": [None, 0.5, "é"]} if task["number"] % 2 else {}
    return {"number": task["number"], "square": task["number"] ** 2, "empty": {}, "pid": os.getpid()} | extra


def without_pid(row):
    return {name: value for name, value in row.items() if name != "pid"}


def test_a_data_job_equals_map(cluster):
    tasks = [{"number": n, "texts": ["ka", "கா"], "nothing": None} for n in range(6)]
    rows = list(map_tasks(describe, tasks))
    assert sorted(map(without_pid, rows), key=lambda row: row["number"]) == [without_pid(describe(task)) for task in tasks]
    assert os.getpid() not in {row["pid"] for row in rows}


def test_an_error_of_a_task_comes_back_as_it_was(cluster):
    with pytest.raises(DataError, match="^data/bitext/sw.tsv, line 1204: 3 columns, expected 2$"):
        list(map_tasks(describe, [{"number": n} for n in (1, 7, 2)]))


def die(task):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_task_that_kills_every_process_ends_the_job_in_one_line(cluster, monkeypatch):
    monkeypatch.setattr("optical_ray.orchestration.data_job.RETRIES", 1)
    with pytest.raises(ResourceError, match=r"^Ray broke off \(WorkerCrashedError: .*run it again") as raised:
        list(map_tasks(die, [{"number": 1}]))
    assert "\n" not in str(raised.value)


def test_no_tasks_no_job():
    assert list(map_tasks(describe, [])) == []
