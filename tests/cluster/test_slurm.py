"""cluster/slurm.sh with stand-ins for srun and scontrol: two Ray nodes here, the signal before the end, and going on after it."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from cluster.private import GATEWAY, wait_until
from cluster.results import values

from optical_ray.runs.folder import RunFolder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def slurm(place):
    """Starts the script as Slurm would, in processes of its own that end with it."""
    commands = place.scratch / "slurm"
    commands.mkdir()
    for name, text in {
        # A step runs its command on other machines; here on this one.
        "srun": 'while [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"',
        "scontrol": f"echo {GATEWAY}\necho {GATEWAY}",
    }.items():
        (commands / name).write_text(f"#!/bin/bash\n{text}\n")
        (commands / name).chmod(0o755)
    checkout = place.scratch / "checkout"  # where .venv/bin is; sbatch is called there
    (checkout / ".venv").mkdir(parents=True)
    (checkout / ".venv/bin").symlink_to(Path(place.environment["PATH"].split(os.pathsep)[0]))
    job = {
        "SLURM_SUBMIT_DIR": str(checkout),
        "SLURM_JOB_NODELIST": "machine[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "2",
        "OPTICAL_SHARED": str(place.scratch / "slurm-out"),
    }
    environment = place.environment | job | {"PATH": f"{commands}:{place.environment['PATH']}"}
    started = []

    def start(number, *arguments):
        log = place.scratch / f"slurm-{number}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [
                    "unshare",
                    "--pid",
                    "--fork",
                    "--kill-child",
                    "--mount",
                    "--mount-proc",
                    "bash",
                    str(ROOT / "cluster/slurm.sh"),
                    *arguments,
                ],
                env=environment | {"SLURM_JOB_ID": str(number)},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=place.scratch,
            )
        started.append((number, process))
        return process, log

    yield start
    for number, process in started:
        process.kill()
        process.wait()
        shutil.rmtree(f"/tmp/ray-{number}", ignore_errors=True)


def test_a_slurm_job_is_told_before_its_end_and_the_next_one_goes_on(place, slurm, sweep_file, local_run):
    shutil.copytree(local_run.parents[1] / "artifacts", place.scratch / "slurm-out/artifacts")
    process, log = slurm(700001, str(sweep_file), "--concurrent", "1")
    runs = place.scratch / "slurm-out/runs"

    def finished():
        assert process.poll() is None, log.read_text()
        states = [trial.read_status() for folder in runs.glob("tiny-*") for trial in RunFolder(folder).trials()]
        return any(status is not None and status.state == "finished" for status in states)

    wait_until(finished, f"a finished trial; {log} says why")
    (script,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(script), signal.SIGINT)
    assert process.wait(timeout=300) == 130
    print(f"\n{log.read_text()}")
    assert "--resume" in log.read_text()

    process, log = slurm(700002, str(sweep_file), "--concurrent", "4", "--resume")
    assert process.wait(timeout=300) == 0, log.read_text()
    print(f"\n{log.read_text()}")
    (folder,) = runs.iterdir()
    assert values(folder) == values(local_run)
