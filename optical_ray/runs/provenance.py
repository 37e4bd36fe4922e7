"""Where a result came from: versions, git state, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from optical_ray.artifacts import write_json
from optical_ray.errors import RunFolderError
from optical_ray.runs.folder import TrialFolder, read_object, utc_now

PACKAGES = ("optical-ray", "ray", "torch", "transformers", "tokenizers", "optuna", "POT", "pyarrow", "numpy", "numba")


def describe_provenance() -> dict[str, Any]:
    """Plain data for sweep.json; a package that is not installed is None. The command stands as it was typed, paths and all."""
    program = (
        sys.argv[0] if sys.argv[0].endswith(".py") else Path(sys.argv[0]).name
    )  # `python ../FILE` needs its folder, `optical` does not
    return describe_process() | {"command": [program, *sys.argv[1:]]}


def describe_process(device: str = "cpu") -> dict[str, Any]:
    """What this process is made of and runs on: versions, git state, machine. Without its command, which in a worker of Ray is Ray's own.

    Args:
        device: `cuda`: the GPUs that torch sees are listed too.
    """
    machine: dict[str, Any] = {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_GiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }
    if device == "cuda":
        machine["gpus"] = _gpus()
    return {
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "git": _git_state(),
        "machine": machine,
    }


def _gpus() -> list[dict[str, Any]]:
    import torch  # seconds to import, for a process that has no use for it

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_GiB": round(gpu.total_memory / 2**30, 1), "cuda": torch.version.cuda} for gpu in found]


@cache
def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())


@cache  # the code that runs is that of the process's start
def _git_state() -> dict[str, Any] | None:
    """Commit and dirty flag of the checkout this package runs from; None when installed elsewhere."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)
        status = subprocess.run(["git", "-C", str(root), "status", "--porcelain"], capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}


def record_start(folder: TrialFolder, fingerprint: str, resources: dict[str, Any], device: str) -> None:
    """Add a start of a trial to its provenance.json, which lists all of them: one may be resumed on another machine, by other code.

    Args:
        folder: The trial's.
        fingerprint: Of its recipe, 40 hex digits; the trial's id is the first 12.
        resources: As plain data.
        device: Where it trains.
    """
    starts = read_starts(folder)
    starts.append({"started_at": utc_now(), "resources": resources, **describe_process(device)})
    write_json(folder.provenance, {"fingerprint": fingerprint, "starts": starts})


def record_worker(folder: TrialFolder, device: str) -> None:
    """Add to the last start what its main worker runs on: of several workers, none need be on the machine of the trial's own process."""
    starts = read_starts(folder)
    if starts:
        starts[-1]["main_worker"] = describe_process(device)["machine"]
        write_json(folder.provenance, read_object(folder.provenance) | {"starts": starts})


def read_starts(folder: TrialFolder) -> list[dict[str, Any]]:
    """The starts of a trial, oldest first; none of one from before they were kept, or whose file is damaged."""
    try:
        starts = read_object(folder.provenance).get("starts")
    except RunFolderError:
        return []
    return [start for start in starts if isinstance(start, dict)] if isinstance(starts, list) else []
