"""The disk of a run takes nothing more in mid-run: one line says so, and when it does again the sweep goes on."""

import time
from dataclasses import replace

import pytest
from cases import of_seed
from disks import filled, needs_root, read_only, small_disk

pytestmark = [pytest.mark.faults, needs_root]
MEGABYTES = 64
"""Several times what the sweep is forecast to take, or it would be refused at its start."""


@pytest.mark.parametrize(("spoilt", "expected"), [(filled, "the disk is full"), (read_only, "the disk is read-only")])
def test_a_disk_that_takes_nothing_more(undisturbed, tmp_path, reference, spoilt, expected):
    """It befalls while one trial computes a step; that one is ended as a hung one, and cannot begin again."""
    case = replace(undisturbed, place=tmp_path / "runs", faults=of_seed(undisturbed, "hang", seed=1), hang_minutes=0.2, reports={})
    with small_disk(case.place, MEGABYTES):
        running = case.start()
        running.await_fault(seed=1)
        with spoilt(case.place):
            assert running.end() == 2
            assert "Traceback" not in case.said()
            assert expected in case.said().splitlines()[-1]
        before = case.finished()
        assert len(before) < 4
        mended = time.time()
        assert replace(case.again("--resume", "--retry-failed"), hang_minutes=None).go() == 0, case.said()
        assert before.items() <= case.finished().items()
        case.recovered(f"{expected}; mended, then --resume", seed=1, since=mended)
        case.check_whole(reference)
