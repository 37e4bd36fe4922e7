"""A process that says nothing is ended, and tells where it hung."""

import subprocess
import sys
from pathlib import Path

from optical_ray.orchestration.hang import end_hang

SCRIPT = """
import sys, time
from pathlib import Path
from optical_ray.orchestration.hang import end_hang

def hang_here():
    time.sleep(60)

with end_hang(0.5, Path(sys.argv[1])) as alive:
    for _ in range(3):
        alive(False)
        time.sleep(0.2)
    alive(sys.argv[2] == "done")
    if sys.argv[2] == "done":
        time.sleep(1)
        sys.exit(7)
    hang_here()
"""


def run(told, how):
    return subprocess.run([sys.executable, "-c", SCRIPT, str(told), how], timeout=50, check=False).returncode


def test_it_is_ended_and_its_traceback_kept(tmp_path):
    told = tmp_path / "hang.txt"
    assert run(told, "hang") == 1
    assert "hang_here" in told.read_text()


def test_what_comes_after_the_last_report_takes_its_time(tmp_path):
    told = tmp_path / "hang.txt"
    told.write_text("of an earlier start")
    assert run(told, "done") == 7
    assert not told.exists()


def test_without_a_limit_nothing_is_written(tmp_path):
    with end_hang(None, Path(tmp_path / "hang.txt")) as alive:
        alive(False)
    assert list(tmp_path.iterdir()) == []
