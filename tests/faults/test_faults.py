"""One thing happens to a sweep. Is it whole, is nothing lost or done twice, are the numbers the same to the bit?"""

import signal
import time
from dataclasses import replace

import pytest
from cases import FAULT, of_seed

pytestmark = pytest.mark.faults


@pytest.fixture
def case(undisturbed, tmp_path):
    return replace(undisturbed, place=tmp_path / "runs", reports={})


def test_the_process_of_a_trial_is_killed(case, reference):
    case = replace(case, faults=of_seed(case, "kill"))
    assert case.go() == 0
    assert case.run.trial(case.trial_id(0)).read_status().attempts == 2
    assert "goes on from its last checkpoint" in case.said()
    case.recovered("the process of a trial is killed")
    case.check_whole(reference)


def test_the_driver_of_the_sweep_is_killed(case, reference):
    running = replace(case, faults=of_seed(case, "hang", seed=1)).start()
    running.await_fault(seed=1)
    running.wait_for(lambda: len(running.finished()) >= 1, "a trial's end")
    killed = time.time()
    running.signal(signal.SIGKILL)
    assert running.end() == -signal.SIGKILL
    before = running.finished()
    assert running.again().go() == 0, case.said()
    assert before.items() <= running.finished().items(), "nothing that finished runs again"
    case.recovered("the driver is killed, then --resume", seed=1, since=killed)
    case.check_whole(reference)


def test_an_interrupt_ends_it_cleanly(case, reference):
    running = replace(case, faults=of_seed(case, "hang", seed=1)).start()
    running.await_fault(seed=1)
    running.signal(signal.SIGINT)
    assert running.end() == 130
    assert "To finish them:" in case.said()
    assert case.state(1)[0] == "stopped"
    assert case.study()["RUNNING"] == 0
    ended = time.time()
    assert running.again().go() == 0, case.said()
    case.recovered("SIGINT, then --resume", seed=1, since=ended)
    case.check_whole(reference)


def test_two_interrupts_end_it_at_once(case, reference):
    running = replace(case, faults=of_seed(case, "hang", seed=1)).start()
    running.await_fault(seed=1)
    running.signal(signal.SIGINT)
    running.signal(signal.SIGINT)
    assert running.end(60) != 0
    assert "Traceback" not in case.said()
    assert running.again().go() == 0, case.said()
    case.check_whole(reference)


def test_a_trial_that_raises_leaves_the_others_alone(case, reference):
    case = replace(case, faults=of_seed(case, "raise"))
    assert case.go() == 1
    assert case.state(0) == ("failed", f"InjectedFault: injected at step {FAULT}")
    assert len(case.finished()) == 3
    before = case.finished()
    ended = time.time()
    assert replace(case, options=("--retry-failed",)).go() == 0
    case.recovered("a trial raises, then --retry-failed", since=ended)
    assert before.items() <= case.finished().items()
    case.check_whole(reference)


def test_a_loss_of_nan_is_named(case, reference):
    case = replace(case, faults=of_seed(case, "nan"))
    assert case.go() == 1
    state, line = case.state(0)
    assert state == "failed" and f"step {FAULT}: " in line and "step-00000020" in line
    assert case.again("--retry-failed").go() == 0
    case.check_whole(reference)


def test_memory_that_runs_out_once_is_borne(case):
    case = replace(case, faults=of_seed(case, "oom"), searched=0)
    assert case.go() == 0
    assert len(case.finished()) == 2


def test_memory_that_never_suffices_fails_the_trial(case, reference):
    case = replace(case, faults=of_seed(case, "oom", times=99))
    assert case.go() == 1
    state, line = case.state(0)
    assert state == "failed" and "out of memory at one group" in line
    assert len(case.finished()) == 3


def test_a_trial_that_hangs_is_ended_and_goes_on(case, reference):
    case = replace(case, faults=of_seed(case, "hang"), hang_minutes=0.1)
    assert case.go() == 0
    assert "hang_minutes" in case.said()
    case.recovered("a trial hangs; hang_minutes=0.1")
    case.check_whole(reference)


def test_a_damaged_checkpoint_is_passed_over(case, reference):
    running = replace(case, faults=of_seed(case, "hang", seed=1)).start()
    running.await_fault(seed=1)
    running.signal(signal.SIGKILL)
    running.end()
    newest = case.run.trial(case.trial_id(1)).checkpoint / "step-00000020"
    with (newest / "optimizer.pt").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"damage")
    damaged = time.time()
    assert running.again().go() == 0, case.said()
    case.recovered("the newest checkpoint is damaged, then --resume", seed=1, since=damaged)
    rows = [line for line in case.run.trial(case.trial_id(1)).metrics.read_text().splitlines() if '"resumed_from": 10' in line]
    assert rows, "it went on from the one before"
    assert case.losses() == reference


def test_an_edited_sweep_is_another_run(case):
    running = replace(case, searched=0, faults=of_seed(case, "hang", seed=1)).start()
    running.await_fault(seed=1)
    running.signal(signal.SIGINT)
    assert running.end() == 130
    edited = replace(running, recipe=running.recipe | {"seed": 7}, options=("--resume",), faults="")
    assert edited.go() == 2
    assert "no such run to resume" in case.said() and "base.seed 0 -> 7" in case.said()
    assert replace(edited, options=()).go() == 0
    assert edited.run.path != running.run.path
