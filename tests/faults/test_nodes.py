"""What stands beside the driver's own machine is lost: a worker of a group, a whole node."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from cases import HERE, of_seed

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def of_two_workers(undisturbed, tmp_path_factory):
    """The same, each trial on two workers; undisturbed."""
    place = tmp_path_factory.mktemp("of_two_workers") / "runs"
    case = replace(undisturbed, place=place, workers=2, seeds=(0,), searched=0, concurrent=1)
    assert case.go() == 0, case.said()
    return case


@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_of_a_group_is_killed(of_two_workers, tmp_path, rank):
    case = replace(of_two_workers, place=tmp_path / "runs", reports={})
    case = replace(case, faults=of_seed(case, "kill", rank=rank))
    assert case.go() == 0, case.said()
    assert f"worker {rank} died" in case.said()
    assert case.run.trial(case.trial_id(0)).read_status().attempts == 2
    case.recovered(f"worker {rank} of two is killed", rank=rank)
    case.check_whole(of_two_workers.losses())


def test_the_driver_of_a_group_is_killed(of_two_workers, tmp_path):
    case = replace(of_two_workers, place=tmp_path / "runs", reports={})
    running = replace(case, faults=of_seed(case, "hang")).start()
    running.await_fault()
    (driver,) = running.trial_processes()
    killed = time.time()
    os.kill(driver, signal.SIGKILL)
    assert running.end() == 0, case.said()
    case.recovered("the driver of a trial of two workers is killed", since=killed)
    assert "the trial's process died" in case.said()
    case.check_whole(of_two_workers.losses())


def test_a_node_is_lost(undisturbed, tmp_path, reference):
    """Both trials of the first round are at work, one on each node, when the second node's processes are killed."""
    case = replace(undisturbed, place=tmp_path / "runs", reports={})
    case = replace(case, faults="; ".join(of_seed(case, "hang", seed=seed) for seed in (0, 1)), hang_minutes=0.3)
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "OPTICAL_FAULTS": case.faults}  # of the nodes' workers
    command = [sys.executable, str(HERE / "second_node.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as cluster:
        try:
            running = replace(case, address=cluster.stdout.readline().strip()).start()
            running.await_fault(seed=0)
            running.await_fault(seed=1)
            killed = time.time()
            print("kill the node", file=cluster.stdin, flush=True)
            assert cluster.stdout.readline() == "killed\n"
            assert running.end() == 0, case.said()
            case.recovered("a node of two is lost, and the other is full for another 18 s", seed=None, since=killed)
        finally:
            cluster.stdin.close()
            cluster.wait(60)
    assert "process died" in case.said(), "the node's trial, at once; the other one was ended as a hung one"
    case.check_whole(reference)
