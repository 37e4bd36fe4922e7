"""Only inside what run.sh made (`make test-cluster`): scratch folders, a token, two nodes, a sweep file that trains in seconds."""

import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster.private import USER, is_private, set_up_network

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BIN = Path(sys.executable).parent
PYTHONPATH = os.pathsep.join(str(path) for path in (ROOT, HERE, HERE.parent / "orchestration"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reason = os.environ.get("OPTICAL_CLUSTER_SKIP") or (None if is_private() else "by hand: make test-cluster")
    for item in items:
        if reason is not None and HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@dataclass(frozen=True)
class Place:
    """Where the test works, and as whom."""

    scratch: Path
    environment: dict[str, str]
    """Of everything that is started: a home of its own with a token in it, and nothing of the host's Ray."""

    def run(self, *command: str | Path, seconds: float = 600, check: bool = True, **more: str) -> str:
        """What a command says, standard output and error together; a failure shows it.

        Args:
            more: Environment variables on top.
        """
        done = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env=self.environment | more,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        lines = [
            line for line in done.stdout.splitlines() if "trials finished, " not in line
        ]  # the table that a terminal is shown, again and again
        print(f"\n$ {' '.join(str(part) for part in command)}\n" + "\n".join(lines))
        assert (done.returncode == 0) == check, f"{command}: exit status {done.returncode}\n{done.stdout}"
        return done.stdout


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The private network, and an environment without anything of this user's."""
    scratch = tmp_path_factory.mktemp("cluster")
    set_up_network(scratch)
    home = scratch / "launcher"
    (home / ".ray").mkdir(parents=True)
    token = home / ".ray/auth_token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    inherited = {name: os.environ[name] for name in ("LANG", "TERM") if name in os.environ}
    environment = {
        **inherited,
        "HOME": str(home),
        "USER": USER,
        "LOGNAME": USER,
        "TMPDIR": "/tmp/ray",  # ours, and short: a socket's path holds 107 characters
        "PATH": os.pathsep.join([str(BIN), "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]),
        "PYTHONPATH": PYTHONPATH,
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "200",
        "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "300",
        "RAY_worker_niceness": "0",  # everything here is as urgent; a busy machine would starve what yields
    }
    yield Place(scratch, environment)


@pytest.fixture(scope="module")
def two_nodes(place: Place) -> Iterator[str]:
    """HOST:PORT of a cluster of two nodes with two CPUs each, with a dashboard on 127.0.0.1:8265."""
    log = place.scratch / "two_nodes.log"
    command = [sys.executable, str(HERE / "two_nodes.py")]
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            command, env=place.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream, text=True
        ) as process,
    ):
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, log.read_text()
        yield address
        # The end of its standard input, which leaving the block brings about, shuts the nodes down.


@pytest.fixture(scope="session")
def sweep_file(place: Place, world) -> Path:
    """Four real trainings of a second each, by the command line that every sweep file has."""
    shared = place.scratch / "shared"
    shared.mkdir()
    for name in ("bitext", "teacher"):  # what every node must see
        shutil.copytree(getattr(world, name), shared / name)
    paths = {"corpus.sources": [str(shared / "bitext")], "teacher.path": str(shared / "teacher")}
    base = world.recipe.override({**paths, "training.max_steps": 10, "training.report_every": 2, "training.validate_every": 5})
    file = place.scratch / "tiny.py"
    file.write_text(
        "import json\n\nfrom optical_ray.cli import run\nfrom optical_ray.recipe import Recipe, Resources\n"
        "from optical_ray.sweep import GridPart, Sweep\n\n"
        f"BASE = json.loads({json.dumps(base.to_dict())!r})\n"
        "SWEEP = Sweep(\n"
        '    name="tiny", question="Is it the same everywhere?", expectation="yes", base=Recipe.parse(BASE, "base"),\n'
        '    parts=(GridPart("seeds", {"seed": (0, 1, 2, 3)}),), resources=Resources(threads=1), concurrent_trials=4,\n'
        ")\n\nif __name__ == '__main__':\n    run(SWEEP)\n"
    )
    return file


@pytest.fixture(scope="session")
def local_run(place: Place, sweep_file: Path) -> Path:
    """The run folder of the same file on a private cluster of this machine."""
    out = place.scratch / "local"
    command = [sys.executable, sweep_file, "--address", "local", "--out", out / "runs", "--store", out / "artifacts"]
    place.run(*command)
    (folder,) = (out / "runs").iterdir()
    return folder


@pytest.fixture
def prepared(tmp_path: Path, local_run: Path) -> Path:
    """A store that has what the sweep needs, where the test is not about building it."""
    return Path(shutil.copytree(local_run.parents[1] / "artifacts", tmp_path / "artifacts"))
