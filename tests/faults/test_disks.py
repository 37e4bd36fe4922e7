"""The disk of a run is full, or turns read-only, in mid-run: one line says so, and with room again the sweep goes on."""

import contextlib
import subprocess
from dataclasses import replace

import pytest
from cases import needs_root, of_seed

pytestmark = [pytest.mark.faults, needs_root]


@contextlib.contextmanager
def small_disk(place, kilobytes):
    """A disk of its own, mounted there."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "optical-faults", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def remount(place, option):
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


def test_a_full_disk(undisturbed, tmp_path, reference):
    used = sum(path.stat().st_size for path in undisturbed.place.rglob("*") if path.is_file())
    case = replace(undisturbed, place=tmp_path / "runs")
    with small_disk(case.place, used // 2048):
        assert case.go() != 0
        assert "Traceback" not in case.said()
        assert "disk is full" in case.said() or "No space left" in case.said()
        before = case.finished()
        assert len(before) < 4
        remount(case.place, "size=1g")
        assert case.again("--resume", "--retry-failed").go() == 0, case.said()
        assert before.items() <= case.finished().items()
        case.check_whole(reference)


def test_a_disk_that_turns_read_only(undisturbed, tmp_path, reference):
    case = replace(undisturbed, place=tmp_path / "runs", faults=of_seed(undisturbed, "hang", seed=1), hang_minutes=0.2)
    with small_disk(case.place, 2**20):
        running = case.start()
        running.await_fault(seed=1)
        remount(case.place, "ro")
        assert running.end() != 0
        assert "Traceback" not in case.said()
        assert "read-only" in case.said().lower()
        remount(case.place, "rw")
        assert replace(case.again("--resume", "--retry-failed"), hang_minutes=None).go() == 0, case.said()
        case.check_whole(reference)
