"""A pool of actors does what one process does."""

import os
import signal
from pathlib import Path

import pytest

from optical_ray.artifacts import Store
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.teacher_cache import build_teacher_tokens
from optical_ray.errors import DataError, ResourceError
from optical_ray.orchestration import encode_job
from optical_ray.orchestration.encode_job import ActorPool, map_with_actors
from optical_ray.recipe import Resources


class Squares:
    def __init__(self, setup):
        if setup["name"] == "broken":
            raise DataError("models/teacher: no config.json")
        self.name, self.done = setup["name"], 0

    def __call__(self, task):
        once = task.get("once")
        if task["number"] == -1 or (once is not None and not Path(once).exists()):
            if once is not None:
                Path(once).touch()
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
        self.done += 1
        return {"square": task["number"] ** 2, "name": self.name, "pid": os.getpid(), "done": self.done}


def test_actors_are_made_once_and_do_every_task_once(cluster):
    rows = list(map_with_actors(Squares, {"name": "é"}, [{"number": n} for n in range(6)], 2, 1, 0))
    assert sorted(row["square"] for row in rows) == [0, 1, 4, 9, 16, 25]
    assert {row["name"] for row in rows} == {"é"}
    workers = {row["pid"] for row in rows}
    assert len(workers) <= 2 and os.getpid() not in workers
    for pid in workers:  # one object in each, that counts on
        counts = sorted(row["done"] for row in rows if row["pid"] == pid)
        assert counts == list(range(1, len(counts) + 1))


def test_an_error_comes_back_as_it_was_even_where_nothing_could_be_loaded(cluster):
    with pytest.raises(DataError, match="^models/teacher: no config.json$"):
        list(map_with_actors(Squares, {"name": "broken"}, [{"number": n} for n in range(3)], 1, 1, 0))


def test_more_than_the_cluster_has_is_refused_and_not_waited_for(cluster):
    with pytest.raises(ResourceError, match="one actor needs 1000 CPUs and 0 GPUs, the cluster has"):
        list(map_with_actors(Squares, {"name": "fine"}, [{"number": 1}], 1, 1000, 0))
    with pytest.raises(ResourceError, match="one process that encodes needs 1 and 1"):
        ActorPool.fill_cluster(Resources(device="cpu", gpus_per_worker=1))


def test_a_task_that_kills_its_process_is_given_up_and_one_whose_process_died_is_not(cluster, monkeypatch, tmp_path):
    monkeypatch.setattr(encode_job, "RETRIES", 1)
    rows = map_with_actors(
        Squares, {"name": "fine"}, [{"number": -2, "once": str(tmp_path / "died")}, {"number": 3}, {"number": -1}], 1, 1, 0
    )
    assert [next(rows)["square"], next(rows)["square"]] == [4, 9]
    with pytest.raises(ResourceError, match="^processes of the actor pool keep dying .* 1 retries of a task"):
        next(rows)


def test_no_tasks_no_job():
    assert list(map_with_actors(Squares, {"name": "fine"}, [], 1, 1, 0)) == []


def test_actors_write_the_same_bytes_as_one_process(cluster, world, tmp_path):
    corpus = build_corpus(world.store, world.recipe.corpus)
    pool = ActorPool.fill_cluster(Resources())
    assert pool.actors == int(cluster.cpus)
    folders = [
        build_teacher_tokens(Store(tmp_path / name), corpus, world.recipe.teacher, str(world.teacher), None, chosen)
        for name, chosen in (("actors", pool), ("here", None))
    ]
    actors, here = ({path.name: path.read_bytes() for path in folder.glob("*.npy")} for folder in folders)
    assert actors == here
    assert set(here) == {"part-00000.npy", "part-00000.offsets.npy", "centre.npy"}
