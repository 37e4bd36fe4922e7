"""The private network and the machines in it: namespaces that end with the process that made them.

Inside what run.sh made (this process is root there, and nowhere else) lies a bridge with the test's own address; every machine has a
network, process, mount and host name space of its own, an address on the bridge, and an unprivileged user.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GATEWAY = "10.77.0.254"
"""Address of the test itself; every default route points there, because Ray asks the kernel how it would go outside for its address."""
USER, USER_ID = "optical", 1000
HERE = Path(__file__).parent


def run(*command: str | Path, **options: object) -> str:
    """Its standard output; a failure shows what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def wait_until(claim: Callable[[], object], what: str, seconds: float = 300.0) -> None:
    """Poll a state; never sleep for it."""
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, f"after {seconds:g} s still not: {what}"
        time.sleep(0.05)


def is_private() -> bool:
    """True in the namespaces of run.sh: nothing here may run outside of them."""
    outside = os.environ.get("OPTICAL_CLUSTER_OUTSIDE")
    return outside is not None and os.readlink("/proc/self/ns/net") != outside


def set_up_network(scratch: Path) -> None:
    """A bridge, and a /tmp/ray of our own, so that no Ray of the host is found by its files."""
    assert is_private()
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "bridge", "type", "bridge")
    run("ip", "address", "add", f"{GATEWAY}/24", "dev", "bridge")
    run("ip", "link", "set", "bridge", "up")
    # A bridge has no carrier, and no route is used over it, before something is plugged in.
    run("ip", "link", "add", "plug", "type", "veth", "peer", "name", "socket")
    run("ip", "link", "set", "plug", "master", "bridge", "up")
    run("ip", "link", "set", "socket", "up")
    run("ip", "route", "add", "default", "dev", "bridge")
    Path("/tmp/ray").mkdir(exist_ok=True)
    (scratch / "ray").mkdir()
    run("mount", "--bind", scratch / "ray", "/tmp/ray")


@dataclass(frozen=True)
class Machine:
    """One node: a directory, an address, a running sshd."""

    name: str
    address: str
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        """What the machine's user sees as its home, seen from outside."""
        return self.folder / "home"

    def end(self) -> None:
        self.process.kill()  # and with it, by --kill-child, its init, and with that every process of the machine
        self.process.wait()


def start_machine(number: int, scratch: Path, tools: Path, authorized_key: str, environment: dict[str, str]) -> Machine:
    """Boot a machine of the number, with sshd on port 22.

    Args:
        scratch: Shared by all machines; the home lies at `scratch/home` on each of them, with other content.
        tools: Where run.sh unpacked sshd and rsync.
        authorized_key: The public key that opens it.
        environment: What every session there has.
    """
    name, address = f"machine{number}", f"10.77.0.{number}"
    folder = scratch / name
    for part in ("home", "ray", "etc"):
        (folder / part).mkdir(parents=True)
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    (folder / "etc/passwd").write_text(f"root:x:0:0::/root:/bin/bash\n{USER}:x:{USER_ID}:{USER_ID}::{home}:/bin/bash\n")
    # No group tty: sshd would give it the terminal, and a number that the user namespace does not have.
    (folder / "etc/group").write_text(f"root:x:0:\n{USER}:x:{USER_ID}:\n")
    (folder / "etc/hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    (folder / "etc/authorized_keys").write_text(authorized_key)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "etc/host_key")
    sshd = tools / "usr/sbin/sshd" if (tools / "usr/sbin/sshd").exists() else Path("/usr/sbin/sshd")
    sent = " ".join(f'"{key}={value}"' for key, value in environment.items())
    (folder / "etc/sshd_config").write_text(
        f"Port 22\nListenAddress {address}\nHostKey {folder}/etc/host_key\nAuthorizedKeysFile {folder}/etc/authorized_keys\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nMaxStartups 100\nMaxSessions 100\n"
        f"SetEnv {sent}\n"
    )
    link = f"link{number}"
    run("ip", "link", "add", link, "type", "veth", "peer", "name", f"inside{number}")
    run("ip", "link", "set", link, "master", "bridge", "up")
    arguments = [name, f"inside{number}", address, GATEWAY, str(folder), str(home), str(USER_ID), str(sshd)]
    with (folder / "boot.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount", "--uts", "bash", str(HERE / "machine.sh"), *arguments],
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": library_path(tools)},
        )
    ours = os.readlink("/proc/self/ns/net")
    wait_until(lambda: os.readlink(f"/proc/{process.pid}/ns/net") != ours, f"{name} has a network of its own")
    run("ip", "link", "set", f"inside{number}", "netns", str(process.pid))
    machine = Machine(name, address, folder, process)
    wait_until(lambda: answers(machine), f"sshd of {name}; {(folder / 'boot.log')} says why")
    return machine


def answers(machine: Machine) -> bool:
    assert machine.process.poll() is None, (machine.folder / "boot.log").read_text()
    return subprocess.run(["bash", "-c", f"exec 3<> /dev/tcp/{machine.address}/22"], capture_output=True).returncode == 0


def library_path(tools: Path) -> str:
    return ":".join(str(path) for path in sorted(tools.glob("*lib/*-linux-gnu")) + sorted(tools.glob("usr/lib/*-linux-gnu")))


def rsync_wrapper(tools: Path, folder: Path) -> Path:
    """A folder for PATH with rsync in it, which finds its library whoever calls it."""
    folder.mkdir()
    if not (tools / "usr/bin/rsync").exists():
        os.symlink(str(shutil.which("rsync")), folder / "rsync")
        return folder
    script = folder / "rsync"
    script.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={library_path(tools)} exec {tools}/usr/bin/rsync "$@"\n')
    script.chmod(0o755)
    return folder
