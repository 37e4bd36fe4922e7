"""Build once, named by the fingerprint of its inputs, locked, and there whole or not at all (DESIGN.md, decision 7)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from optical_ray.errors import ArtifactError

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"
_SCRATCH_INPUTS = "inputs.json"
PATIENCE_SECONDS = 5.0
"""How long a wait for another process goes without a word."""


def fingerprint(value: Any) -> str:
    """40 hex digits (of SHA-256) of the canonical JSON of plain data; key order does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(scratch, path)


def file_sha256(path: Path) -> str:
    """Hex digest of a file's bytes; remembered in this process for as long as size and time of change stay the same."""
    state = path.stat()
    return _sha256(path.absolute(), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4096)
def _sha256(path: Path, size: int, changed_ns: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Store:
    """A folder of artifacts, `<kind>-<first 16 digits of the fingerprint>/`, shared by every trial (and node) that sees it."""

    root: Path
    used: set[str] = field(default_factory=set, compare=False, repr=False)
    """Names of the artifacts that were asked for through this object: what a trial stands on, so that the rest can be cleaned away."""

    def path(self, kind: str, inputs: Mapping[str, Any]) -> Path:
        """Where the artifact of these inputs lives, built or not."""
        name = f"{kind}-{fingerprint({'kind': kind, 'inputs': inputs})[:16]}"
        self.used.add(name)
        return self.root / name

    def has(self, kind: str, inputs: Mapping[str, Any]) -> bool:
        """True when the artifact is there, whole."""
        return (self.path(kind, inputs) / MANIFEST).is_file()

    def build(self, kind: str, inputs: Mapping[str, Any], fill: Callable[[Path], Mapping[str, Any] | None], resume: bool = False) -> Path:
        """The artifact's folder; made by `fill(scratch folder)` when it is not there yet. As `build_artifact`.

        Raises:
            ArtifactError: the store cannot be written, or its disk is full.
        """
        with self.in_use():
            return build_artifact(self.path(kind, inputs), kind, inputs, fill, resume)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Whoever stands on artifacts holds this meanwhile, with any number of others, so that none of them is cleaned away."""
        with self._users(fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """False while somebody is inside `in_use`; True: nobody is, and whoever comes waits for this block to end."""
        with self._users(fcntl.LOCK_EX | fcntl.LOCK_NB) as held:
            yield held

    @contextlib.contextmanager
    def _users(self, how: int) -> Iterator[bool]:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.root / ".users.lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:  # cannot be written: nothing is built here, and nothing can be removed
            yield False
            return
        try:
            try:
                fcntl.flock(descriptor, how)
                held = True
            except OSError:  # taken; or a file system without locks, where nothing is ever cleaned
                held = False
            yield held
        finally:
            os.close(descriptor)


def build_artifact(
    target: Path, kind: str, inputs: Mapping[str, Any], fill: Callable[[Path], Mapping[str, Any] | None], resume: bool = False
) -> Path:
    """Make a folder from its inputs, unless it is there; it appears whole or not at all.

    Two callers that miss the same artifact build it once: the second waits. A crash in `fill` leaves no artifact.
    What `fill` returns is kept in the manifest under `facts`.

    Args:
        target: The folder; absent, empty, or this very artifact.
        kind: What it is.
        inputs: Plain data that determines it.
        fill: Given a scratch folder beside the target.
        resume: `fill` may find in the scratch folder what an earlier call for the same inputs left there when it broke off.

    Raises:
        ArtifactError: the target holds something else, cannot be written, or its disk is full.
    """
    if is_built(target, kind, inputs):
        return target
    target = target.resolve() if target.is_symlink() or not target.name else target  # a link's own place cannot become a folder
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):  # where no file can be made (/proc), a lock is waited for without end
            pass
        lock = FileLock(target.parent / f".{target.name}.lock")
        _acquire(lock, target)
    except OSError as error:
        raise ArtifactError(
            f"{target.parent}: cannot be written ({error.strerror or error}); choose another with --store or --out"
        ) from None
    try:
        if is_built(target, kind, inputs):
            return target
        scratch = _open_scratch(target.parent / f".{target.name}.scratch", kind, inputs, resume)
        started = time.monotonic()
        with explain_full_disk(scratch):
            facts = fill(scratch)
            seconds = round(time.monotonic() - started, 3)
            (scratch / _SCRATCH_INPUTS).unlink()
            write_json(scratch / MANIFEST, {"kind": kind, "inputs": dict(inputs), "facts": dict(facts or {}), "seconds": seconds})
        os.replace(scratch, target)
        log.info("artifact=%s seconds=%.1f path=%s", kind, seconds, target)
        return target
    finally:
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()  # while it is held: who waits for it sees that it is gone, and takes a new one
        lock.release()


def _acquire(lock: FileLock, target: Path) -> None:
    """Wait for whoever builds the same folder, and say so when it takes a while."""
    try:
        lock.acquire(timeout=PATIENCE_SECONDS)
    except Timeout:
        log.warning("%s: another process builds it; waiting for it to end", target)
        lock.acquire()


def is_built(target: Path, kind: str, inputs: Mapping[str, Any]) -> bool:
    """Whether a folder holds this artifact, whole; False when it is not there, or empty.

    Raises:
        ArtifactError: it holds something else.
    """
    target = target if target.name else target.absolute()
    if (target.exists() and not target.is_dir()) or target.is_mount():
        raise ArtifactError(f"{target}: is {'a mount point' if target.is_dir() else 'a file'}, expected a folder to be made; name another")
    if not (target / MANIFEST).is_file():
        if target.is_dir() and any(target.iterdir()):
            raise ArtifactError(f"{target}: holds files but no {MANIFEST}, so it is nothing that was built here; choose another folder")
        return False
    found = read_manifest(target)
    if found.get("kind") != kind:
        raise ArtifactError(f"{target}: holds a {found.get('kind')}, expected a {kind}; choose another folder")
    if differences := list_differences(found["inputs"], json.loads(json.dumps(dict(inputs)))):
        raise ArtifactError(f"{target}: was built otherwise ({'; '.join(differences.values())}); choose another folder, or delete this one")
    return True


def list_differences(found: Any, wanted: Any, place: str = "") -> dict[str, str]:
    """What two pieces of plain data differ in: dotted place -> short text, such as `cleaning.max_words is 128, not 64`."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        differences: dict[str, str] = {}
        for name in [*found, *(name for name in wanted if name not in found)]:
            differences |= list_differences(found.get(name), wanted.get(name), f"{place}.{name}" if place else str(name))
        return differences
    if found == wanted:
        return {}
    shown = [json.dumps(value, ensure_ascii=False) for value in (found, wanted)]
    return {place: f"{place} is {shown[0]}, not {shown[1]}" if max(map(len, shown)) < 60 else f"{place} differs"}


def _open_scratch(scratch: Path, kind: str, inputs: Mapping[str, Any], resume: bool) -> Path:
    """A folder to fill, its inputs written down first; what is in it stays only if it was begun for the same inputs."""
    begun = json.loads(json.dumps({"kind": kind, "inputs": dict(inputs)}))
    try:
        kept = resume and json.loads((scratch / _SCRATCH_INPUTS).read_text(encoding="utf-8")) == begun
    except (OSError, ValueError):
        kept = False
    if not kept:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        write_json(scratch / _SCRATCH_INPUTS, begun)
    return scratch


@contextlib.contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Turn "no space left" of whatever writes below a folder into one line that says where.

    Raises:
        ArtifactError: the disk, or the user's quota on it, is full, or it cannot be written any more.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.EROFS:
            raise ArtifactError(
                f"{folder}: the disk is read-only (now); mend it and run it again, or choose another place with --store or --out"
            ) from None
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(folder).free
        raise ArtifactError(
            f"{folder}: the disk is full ({free / 1e6:,.0f} MB free); nothing half-written counts as built: make room and run it again, "
            "or choose another place with --store or --out"
        ) from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A scratch path to write to; renamed to `path` when the block ends well, removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}")  # nodes that share a disk may share process ids
    try:
        with explain_full_disk(path.parent):
            yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact's folder.

    Raises:
        ArtifactError: there is none, or it is not JSON.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{folder}: no {MANIFEST}, so this is not a finished artifact; build it again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{folder / MANIFEST}: cannot be read ({error}); delete the folder and build it again") from None
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(part), dict) for part in ("inputs", "facts")):
        raise ArtifactError(f"{folder / MANIFEST}: is no manifest (inputs and facts are missing); delete the folder and build it again")
    return manifest
