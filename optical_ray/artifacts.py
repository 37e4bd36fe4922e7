"""Build once, named by the fingerprint of its inputs, locked, and there whole or not at all (DESIGN.md, decision 7)."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from optical_ray.errors import ArtifactError

log = logging.getLogger(__name__)
MANIFEST = "manifest.json"


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

    def path(self, kind: str, inputs: Mapping[str, Any]) -> Path:
        """Where the artifact of these inputs lives, built or not."""
        return self.root / f"{kind}-{fingerprint({'kind': kind, 'inputs': inputs})[:16]}"

    def has(self, kind: str, inputs: Mapping[str, Any]) -> bool:
        """True when the artifact is there, whole."""
        return (self.path(kind, inputs) / MANIFEST).is_file()

    def build(self, kind: str, inputs: Mapping[str, Any], fill: Callable[[Path], Mapping[str, Any] | None]) -> Path:
        """The artifact's folder; made by `fill(scratch folder)` when it is not there yet.

        Two callers that miss the same artifact build it once: the second waits. A crash in `fill` leaves no artifact.
        What `fill` returns is kept in the manifest under `facts`.

        Raises:
            ArtifactError: the store cannot be written.
        """
        target = self.path(kind, inputs)
        if (target / MANIFEST).is_file():
            return target
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.root / f".{target.name}.lock")
            lock.acquire()
        except OSError as error:
            raise ArtifactError(f"{self.root}: cannot write the store ({error.strerror or error}); choose another with --store") from None
        try:
            if (target / MANIFEST).is_file():
                return target
            scratch = self.root / f".{target.name}.scratch"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            started = time.monotonic()
            facts = fill(scratch)
            seconds = round(time.monotonic() - started, 3)
            manifest = {"kind": kind, "inputs": dict(inputs), "facts": dict(facts or {}), "seconds": seconds}
            write_json(scratch / MANIFEST, manifest)
            shutil.rmtree(target, ignore_errors=True)  # a folder without a manifest is not an artifact
            os.replace(scratch, target)
            log.info("artifact=%s seconds=%.1f path=%s", kind, seconds, target)
            return target
        finally:
            lock.release()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an artifact's folder.

    Raises:
        ArtifactError: there is none, or it is not JSON.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{folder}: no {MANIFEST}, so this is not a finished artifact; build it again") from None
    except (OSError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{folder / MANIFEST}: cannot be read ({error}); delete the folder and build it again") from None
    return manifest
