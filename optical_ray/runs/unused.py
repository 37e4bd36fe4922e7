"""Artifacts of the store that none of some runs stands on."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from optical_ray.artifacts import MANIFEST, Store
from optical_ray.errors import ArtifactError
from optical_ray.runs.disk import tree_bytes
from optical_ray.runs.folder import RunFolder, TrialFolder
from optical_ray.runs.locks import is_held
from optical_ray.runs.waste import DROPPED, NOTHING, Waste, remove_tree

BROKEN_OFF = "build that broke off"
LOST = "built, or downloaded, again by whoever needs it"
MEASURED = "calibration-"
"""How the names of artifacts begin that belong to this machine, not to any run."""

ARTIFACT = re.compile(r"[a-z0-9_-]+-[0-9a-f]{16}")
"""Names that `Store.path` gives."""


def find_unused(store: Store, runs: Sequence[RunFolder]) -> tuple[list[Waste], list[str]]:
    """What of a store no trial of these runs stands on, and why some runs say nothing of it.

    Returns:
        The artifacts and half-built ones; none at all, with the reasons, where a trial has not written down what it stands on.

    Raises:
        RunFolderError: one of them is no run.
    """
    used: set[str] = set()
    reasons = []
    for run in runs:
        run.read_sweep()
        silent = 0
        for path in sorted((run.path / "trials").glob("*")):
            names = _read_names(TrialFolder(path))
            used |= names or set()
            silent += names is None
        if silent:
            reasons.append(
                f"{run.path}: {silent} trials have not written down what of the store they stand on (they have not come so far, or are of "
                "an older version), so nothing is known to be unused; finish them, or leave this run out to count what is its own as unused"
            )
    if reasons:
        return [], reasons
    found = []
    for path in sorted(store.root.glob("*")) if store.root.is_dir() else []:
        if path.name.startswith(MEASURED) or path.name in used:
            continue
        if not ARTIFACT.fullmatch(path.name):  # not of a store: whoever names another folder by mistake keeps it
            continue
        if (path / MANIFEST).is_file() and is_held(store.root / f".{path.name}.lock") is False:
            found.append(Waste(path, tree_bytes(path), path.name.rpartition("-")[0] or path.name, LOST))
    for path in sorted(store.root.glob(".*.scratch")):
        name = path.name.removeprefix(".").removesuffix(".scratch")
        if name not in used and is_held(store.root / f".{name}.lock") is False:
            found.append(Waste(path, tree_bytes(path), BROKEN_OFF, "what it had done already"))
    for path in sorted(store.root.glob(f"{DROPPED}*")):
        found.append(Waste(path, tree_bytes(path), "left half-removed", NOTHING))
    return found, []


def remove_unused(store: Store, found: Sequence[Waste]) -> None:
    """Remove what `find_unused` found, while nobody uses the store.

    Raises:
        ArtifactError: somebody does; nothing was removed.
    """
    with store.alone() as alone:
        if not alone:
            raise ArtifactError(f"{store.root}: a trial, a sweep or a build is using this store; clean it when they have ended")
        for waste in found:
            remove_tree(waste.path)


def _read_names(trial: TrialFolder) -> set[str] | None:
    try:
        names = json.loads(trial.artifacts.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return {str(name) for name in names} if isinstance(names, list) else None
