"""A small disk of its own for a test, that can be filled or become read-only while files are open on it. Linux, and root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[None]:
    """Mounted at a new folder."""
    place.mkdir(parents=True)
    try:
        mount("-t", "tmpfs", "-o", f"size={megabytes}m", "optical-tests", str(place))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine, a container perhaps, mounts nothing: {error}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextlib.contextmanager
def filled(place: Path) -> Iterator[None]:
    """A disk without room, as long as the block lasts."""
    ballast = place / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while stream.write(bytes(2**20)) == 2**20:
            pass
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def read_only(place: Path) -> Iterator[None]:
    """What is opened below the folder from here on is on a read-only disk of the same files; what is open stays writable."""
    mount("--bind", str(place), str(place))
    try:
        mount("-o", "remount,bind,ro", str(place))
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def mount(*words: str) -> None:
    """Or the test has failed."""
    subprocess.run(["mount", *words], check=True)
