"""cluster/on-premise.yaml for true: `ray up`, `ray submit`, `ray job submit`, `ray down`, by ssh between two made-up machines."""

import filecmp
import json
import os
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest
from cluster.private import USER, Machine, rsync_wrapper, run, start_machine, wait_until
from cluster.results import values

pytestmark = pytest.mark.skipif("OPTICAL_CLUSTER_NO_SSHD" in os.environ, reason=os.environ.get("OPTICAL_CLUSTER_NO_SSHD", ""))

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHIPPED = ROOT / "cluster/on-premise.yaml"


def lay_environment(machine: Machine, commands: Path) -> None:
    """This test's environment in the place of `make .venv/ready`, as if it had run: what the lock file holds takes minutes to install."""
    environment = machine.home / "optical_ray/.venv"
    (environment / "bin").mkdir(parents=True)
    for part in Path(sys.prefix).iterdir():
        if part.name != "bin":
            (environment / part.name).symlink_to(part)
    for command in [*Path(sys.prefix, "bin").iterdir(), *commands.iterdir()]:
        (environment / "bin" / command.name).symlink_to(command)
    (environment / "ready").unlink(missing_ok=True)
    (environment / "ready").touch()


@pytest.fixture(scope="module")
def commands(place):
    return rsync_wrapper(Path(os.environ["OPTICAL_CLUSTER_TOOLS"]), place.scratch / "commands")


@pytest.fixture(scope="module")
def key(place):
    path = place.scratch / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
    return path


@pytest.fixture(scope="module")
def machines(place, commands, key):
    environment = {
        "PATH": f"{commands}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        # This checkout, not the copy that the launcher sends: what numba compiled lies in it, and would be compiled again on every machine.
        "PYTHONPATH": place.environment["PYTHONPATH"],
        "HF_HUB_OFFLINE": "1",
        "LANG": "C.UTF-8",
        "RAY_worker_niceness": "0",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
    }
    control = Path("/tmp") / f"ray_ssh_{hash_of_user()}"
    known = control.exists()
    machines = []
    try:
        for number in (1, 2):
            tools = Path(os.environ["OPTICAL_CLUSTER_TOOLS"])
            machines.append(start_machine(number, place.scratch, tools, key.with_suffix(".pub").read_text(), environment))
            lay_environment(machines[-1], commands)
        yield machines
    finally:
        for machine in machines:
            machine.end()
        if not known:
            shutil.rmtree(control, ignore_errors=True)


def hash_of_user():
    """As Ray names the folder of its ssh connections."""
    return sha256(USER.encode()).hexdigest()[:10]


@pytest.fixture(scope="module")
def config(place, machines, key):
    """The shipped file with addresses, key and shared folder replaced, and nothing else."""
    text = SHIPPED.read_text()
    shared = place.scratch / "shared"
    for old, new in {
        "192.0.2.1": machines[0].address,
        "192.0.2.2": machines[1].address,
        "~/.ssh/optical_cluster": str(key),
        "/shared/optical": str(shared),
    }.items():
        assert old in text
        text = text.replace(old, new)
    assert f"ssh_user: {USER}" in text
    path = place.scratch / "on-premise.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def ray(place, commands):
    """Ray's command, with the time it took."""
    path = f"{commands}:{place.environment['PATH']}"

    def call(*arguments, **options):
        started = time.monotonic()
        output = place.run("ray", *arguments, PATH=path, **options)
        print(f"ray {arguments[0]}: {time.monotonic() - started:.1f} s")
        return output

    return call


def raylets(machine, key):
    """How many raylets live on the machine."""
    script = "for p in /proc/[0-9]*/exe; do readlink $p; done | grep -c raylet$"
    ssh = ["ssh", "-i", str(key), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    done = subprocess.run([*ssh, f"{USER}@{machine.address}", script], capture_output=True, text=True, timeout=30)
    return int(done.stdout)


@pytest.mark.timeout(1200)
def test_up_submit_job_submit_down(place, machines, key, config, ray, sweep_file, local_run):
    ray("up", "-y", config)
    assert (machines[0].home / "optical_ray/requirements.lock").read_bytes() == (ROOT / "requirements.lock").read_bytes()
    sent = filecmp.dircmp(ROOT / "optical_ray", machines[0].home / "optical_ray/optical_ray", ignore=["__pycache__"])
    assert (sent.left_only, sent.right_only, sent.diff_files) == ([], [], [])
    shared = place.scratch / "shared"
    options = ["--concurrent", "4", "--wait", "300", "--store", str(shared / "artifacts"), "--out"]
    # Fake trials first: they wait for each other, so that both machines must have come up, and both have run some.
    output = ray("submit", config, HERE / "placed_driver.py", "--", "auto", shared / "placed")
    (line,) = [line for line in output.splitlines() if line.startswith('{"values"')]
    placed = json.loads(line)
    assert (len(placed["values"]), placed["failed"], placed["unfinished"]) == (12, [], [])
    assert len(set(placed["nodes"].values())) == 2
    ray("submit", config, sweep_file, "--", "--address", "auto", *options, shared / "runs")
    (folder,) = (shared / "runs").iterdir()
    assert folder.name == local_run.name
    assert values(folder) == values(local_run)

    # Once more as a job, through the tunnel that `ray dashboard` opens: from outside, the head listens to nothing but ssh and Ray's own.
    tunnel = subprocess.Popen(
        ["ray", "dashboard", str(config)],
        env=place.environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        probe = ["bash", "-c", "exec 3<> /dev/tcp/127.0.0.1/8265"]
        wait_until(lambda: subprocess.run(probe, capture_output=True).returncode == 0, "the tunnel to the dashboard")
        # `ray submit` put the file into the home of the user, where jobs start.
        job = ["python", sweep_file.name, "--address", "auto", *options, str(shared / "job")]
        output = ray("job", "submit", "--address", "http://127.0.0.1:8265", "--", *job)
        assert "succeeded" in output
    finally:
        tunnel.terminate()
        tunnel.wait(timeout=30)
    (folder,) = (shared / "job").iterdir()
    assert values(folder) == values(local_run)

    # Why the README says: quote twice.
    script = place.scratch / "arguments.py"
    script.write_text("import sys\n\nprint('arguments:', sys.argv[1:])\n")
    output = ray("submit", config, script, "--", "two words", "'two words'")
    assert "arguments: ['two', 'words', 'two words']" in output

    assert [raylets(machine, key) for machine in machines] == [1, 1]
    ray("down", "-y", config)
    assert raylets(machines[0], key) == 0
    print(f"raylets that `ray down` left on the worker: {raylets(machines[1], key)}")
