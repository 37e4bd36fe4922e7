"""The disk of a run is full in mid-run: one line says so, and with room again the sweep goes on."""

import contextlib
import subprocess
from dataclasses import replace

import pytest
from cases import needs_root, of_seed

pytestmark = [pytest.mark.faults, needs_root]
MEGABYTES = 64
"""Several times what the sweep is forecast to take, or it would be refused at its start."""


@contextlib.contextmanager
def small_disk(place):
    """A disk of its own, mounted there."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "optical-faults", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(file):
    """With zeros, until there is no room."""
    with contextlib.suppress(OSError), file.open("wb", buffering=0) as stream:
        while stream.write(bytes(2**20)) == 2**20:
            pass


def test_a_full_disk(undisturbed, tmp_path, reference):
    """It fills up while one trial computes a step; that one is ended as a hung one, and cannot begin again."""
    case = replace(undisturbed, place=tmp_path / "runs", faults=of_seed(undisturbed, "hang", seed=1), hang_minutes=0.2)
    with small_disk(case.place):
        running = case.start()
        running.await_fault(seed=1)
        fill(case.place / "ballast")
        assert running.end() == 2
        assert "Traceback" not in case.said()
        assert "the disk is full" in case.said().splitlines()[-1]
        before = case.finished()
        assert len(before) < 4
        (case.place / "ballast").unlink()
        assert replace(case.again("--resume", "--retry-failed"), hang_minutes=None).go() == 0, case.said()
        assert before.items() <= case.finished().items()
        case.check_whole(reference)
