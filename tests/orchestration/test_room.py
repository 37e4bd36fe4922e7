"""Room is counted node by node, asked for, and waited for no longer than was said."""

import pytest

from optical_ray.errors import ResourceError
from optical_ray.orchestration import room
from optical_ray.orchestration.room import await_room, check_nodes, pieces, worker_places
from optical_ray.recipe import Resources


@pytest.mark.parametrize(
    ("resources", "nodes", "places"),
    [
        (Resources(threads=4), [{"CPU": 3.0}, {"CPU": 3.0}], 0),
        (Resources(threads=2), [{"CPU": 3.0}, {"CPU": 5.0}, {}], 3),
        (Resources(threads=1, gpus_per_worker=1), [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0}], 2),
        (Resources(threads=1, gpus_per_worker=0.5), [{"CPU": 3.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}], 5),
        (Resources(threads=1, gpus_per_worker=0.4), [{"CPU": 8.0, "GPU": 2.0}], 4),  # not 5: the fifth would lie on two GPUs
        (Resources(threads=1, gpus_per_worker=0.2), [{"CPU": 8.0, "GPU": 1.0}], 5),
        (Resources(threads=1, gpus_per_worker=2), [{"CPU": 8.0, "GPU": 3.0}, {"CPU": 8.0, "GPU": 1.0}], 1),
    ],
)
def test_a_worker_must_fit_on_one_node(resources, nodes, places):
    assert worker_places(resources, nodes) == places


def test_workers_that_fit_in_sum_only_are_refused_with_the_numbers():
    nodes = [{"CPU": 3.0, "GPU": 1.0}, {"CPU": 3.0}]
    check_nodes(Resources(threads=3), 2, nodes, "the cluster")
    expected = (
        r"^the cluster has 2 nodes \(3 CPUs \+ 1 GPUs, 3 CPUs\) that hold 0 workers of 4 CPUs whole, but 1 trials at a time x 1 workers "
        "need 1; lower the trials at a time, workers, threads or gpus_per_worker, or use larger nodes$"
    )
    with pytest.raises(ResourceError, match=expected):
        check_nodes(Resources(threads=4), 1, nodes, "the cluster")


@pytest.fixture
def asked(monkeypatch):
    """What an autoscaler was asked for."""
    asked = []
    monkeypatch.setattr(room, "request_resources", lambda bundles: asked.append(bundles))
    monkeypatch.setattr(room, "POLL_SECONDS", 0.001)
    return asked


def growing(*stages):
    """Nodes of a cluster at each look; the last one stays."""
    left = list(stages)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_a_cluster_with_room_is_not_waited_for_nor_asked_for_more(asked):
    assert await_room(Resources(threads=2), 2, 60, nodes=lambda: [{"CPU": 4.0}]) < 1
    assert asked == []


def test_nodes_are_waited_for_asked_for_and_told_once_each_and_no_longer_asked_for_at_the_end(asked):
    head, worker, told = {"CPU": 2.0}, {"CPU": 2.0, "GPU": 1.0}, []
    resources = Resources(threads=2, gpus_per_worker=1, device="cuda")
    await_room(resources, 2, 60, told.append, growing([head], [head], [head, worker], [head, worker, worker]))
    assert asked == [[{"CPU": 2.0, "GPU": 1}] * 2, []]
    assert told == [
        "Waiting for room, at most 60 s: 4 CPUs and 2 GPUs are needed; 1 nodes are there (2 CPUs)",
        "Waiting for room, at most 60 s: 4 CPUs and 2 GPUs are needed; 2 nodes are there (2 CPUs, 2 CPUs + 1 GPUs)",
    ]


def test_enough_in_sum_is_waited_for_until_it_is_enough_node_by_node(asked):
    looks = growing([{"CPU": 3.0}, {"CPU": 3.0}], [{"CPU": 3.0}, {"CPU": 3.0}, {"CPU": 4.0}])
    await_room(Resources(threads=4), 1, 60, nodes=looks)
    assert asked == [[{"CPU": 4.0}], []]


def test_waiting_ends_when_its_time_is_over_and_takes_back_what_it_asked_for(asked):
    assert await_room(Resources(threads=9), 1, 0.02, nodes=lambda: [{"CPU": 4.0}]) >= 0.02
    assert asked == [[{"CPU": 9.0}], []]
    assert await_room(Resources(threads=9), 1, 0, nodes=lambda: [{"CPU": 4.0}]) >= 0
    assert len(asked) == 2, "without time to wait nothing is asked for"


def test_an_interrupt_takes_back_what_was_asked_for(asked):
    def interrupted():
        if asked:
            raise KeyboardInterrupt
        return [{"CPU": 1.0}]

    with pytest.raises(KeyboardInterrupt):
        await_room(Resources(threads=9), 1, 60, nodes=interrupted)
    assert asked[-1] == []


def test_what_is_asked_for_is_what_trials_reserve():
    assert pieces(Resources(threads=2), 2) == [{"CPU": 2.0}, {"CPU": 2.0}]
    wanted = pieces(Resources(workers=2, threads=3, gpus_per_worker=0.5, device="cuda"), 1)
    assert wanted == [{"CPU": 3.0, "GPU": 0.5}, {"CPU": 3.0, "GPU": 0.5}, {"CPU": 0.01}, {"CPU": 1.0}]
    assert sum(piece["CPU"] for piece in wanted) == pytest.approx(room.required_cpus(Resources(workers=2, threads=3)))
