"""What a process finds on its node. Apart from the doctor's other modules, so that it imports no torch, and answers soon."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled

import optical_ray

SEEN_SECONDS = 5.0
"""Until a file that was just written must be seen elsewhere: network file systems remember for a while what was not there."""
FROM_DRIVER = "driver"
"""The file that the driver has written into each folder."""


def probe(node_id: str, folders: dict[str, str], paths: list[str]) -> dict[str, Any]:
    """What a process finds on its node. Runs there; plain data."""
    return {
        "versions": own_versions(),
        "places": {place: _try_folder(Path(folder), node_id) for place, folder in folders.items()},
        "free": {place: shutil.disk_usage(folder).free for place, folder in folders.items() if os.path.isdir(folder)},
        "missing": [path for path in paths if not os.path.exists(path)],
        "token_auth": is_token_auth_enabled(),
    }


def _try_folder(folder: Path, name: str) -> str:
    """Empty, or why the folder is not shared and writable."""
    if why := why_unseen(folder / FROM_DRIVER):
        return f"what the driver wrote is not there {why}"
    try:
        own, passing = folder / name, folder / f"{name}.deleted"
        passing.write_text(folder.name, encoding="utf-8")
        if passing.read_text(encoding="utf-8") != folder.name:
            return "what was written there is not what is read"
        passing.unlink()
        own.write_text(folder.name, encoding="utf-8")
    except OSError as error:
        return f"not writable ({error.strerror or error})"
    return ""


def why_unseen(path: Path) -> str:
    """Empty as soon as the file is there with what belongs in it; else why not."""
    deadline = time.monotonic() + SEEN_SECONDS
    while True:
        try:
            if path.read_text(encoding="utf-8") == path.parent.name:
                return ""
            why = "(it holds something else)"
        except OSError as error:
            why = f"({error.strerror or error})"
        if time.monotonic() > deadline:
            return why
        time.sleep(0.1)


def own_versions() -> dict[str, str | None]:
    """Of this process, and the digest of the code that it runs."""

    def of(package: str) -> str | None:
        try:
            return version(package).partition("+")[0]  # a build for CPUs on one node, for CUDA on another: the same version
        except PackageNotFoundError:
            return None

    return {"python": platform.python_version(), "ray": ray.__version__, "torch": of("torch"), "code": code_digest()}


def code_digest() -> str:
    """16 hex digits of optical_ray's own Python files: equal where the same code runs."""
    digest = hashlib.sha256()
    root = Path(optical_ray.__path__[0])
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
