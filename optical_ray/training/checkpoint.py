"""Checkpoints: `checkpoint/step-00000200/`, whole or not at all. The newest sound one is where a killed trial continues.

The one before the newest is kept until the next: every file's checksum lies beside it, and where one does not agree (a disk that lied, a
machine that lost its power) the training goes on from the older one.

`checkpoint/best/` is a copy of the one with the best validation, without its optimiser. It is written after the one that it copies, which
stays until the next: so a kill in between is mended from there (`mend_best`), and the best never comes from steps that are to be redone.

No random state is kept: every use of randomness in the loop is seeded by its step (`derive_seed(seed, "dropout", step, rank, group)`).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file

from optical_ray.artifacts import write_json
from optical_ray.data.plan import Position
from optical_ray.runs.folder import BEST, OPTIMIZER, POSITION
from optical_ray.training.centres import LanguageCentres
from optical_ray.training.config import TrainingConfig
from optical_ray.training.state import Best, M, TrainingState, start_training

log = logging.getLogger(__name__)

CENTRES = "language_centres.safetensors"
CHECKSUM_BYTES = 2**20
"""Read at a time."""


def save_checkpoint(folder: Path, state: TrainingState[M], save_model: Callable[[M, Path], None], facts: dict[str, float]) -> Path:
    """Write the checkpoint of `state.step` beside the one before it, then drop all others; the best one is kept apart.

    Args:
        folder: Of the training's checkpoints.
        state: What to save.
        save_model: Writes the model, and what it is useless without, into a folder.
        facts: Numbers to hand to whoever continues.
    """
    target = folder / f"step-{state.step:08d}"
    scratch = folder / f".{target.name}.scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    save_model(state.model, scratch)
    torch.save(state.optimizer.state_dict(), scratch / OPTIMIZER)
    if state.centres is not None:
        save_file({"mean": state.centres.mean_LD, "seen": state.centres.seen_L}, scratch / CENTRES)
    position = {
        "step": state.step,
        "plan": state.position._asdict(),
        "micro_groups": state.micro_groups,
        "skipped": state.skipped,
        "best": None if state.best is None else state.best._asdict(),
        "facts": facts,
        "checksums": {path.relative_to(scratch).as_posix(): _checksum(path) for path in sorted(scratch.rglob("*")) if path.is_file()},
    }
    write_json(scratch / POSITION, position)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(scratch, target)
    _keep_best(folder, target)
    before = [path for path in sorted(folder.glob("step-*")) if path.name < target.name][-1:]
    for other in folder.iterdir():
        if other not in (target, *before, folder / BEST):
            shutil.rmtree(other)
    return target


def mend_best(folder: Path) -> None:
    """Make `best/` a copy of the newest sound checkpoint, if that is the best one and no copy is there."""
    newest = sound_checkpoint(folder)
    if newest is not None:
        _keep_best(folder, newest)


def _keep_best(folder: Path, newest: Path) -> None:
    best = _read_position(newest)["best"]
    target = folder / BEST
    if best is None or f"step-{best['step']:08d}" != newest.name:
        return
    if (target / POSITION).is_file() and _read_position(target)["step"] == best["step"]:
        return
    scratch = folder / f".{BEST}.scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(newest, scratch, ignore=shutil.ignore_patterns(OPTIMIZER))
    shutil.rmtree(target, ignore_errors=True)
    os.replace(scratch, target)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    found = [path for path in sorted(folder.glob("step-*")) if (path / POSITION).is_file()] if folder.is_dir() else []
    return found[-1] if found else None


def sound_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint whose files are what was written, or None; those that are damaged are named in the log."""
    for path in sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else ():
        if not (path / POSITION).is_file():
            continue
        if not (damaged := _damaged_files(path)):
            return path
        log.warning("event=damaged_checkpoint path=%s files=%s", path, ",".join(damaged))
    return None


def _damaged_files(checkpoint: Path) -> list[str]:
    """Names of the files that are missing, or not what was written."""
    try:
        checksums = _read_position(checkpoint).get("checksums", {})  # {}: written before they were kept
    except (OSError, ValueError):
        return [POSITION]
    return [name for name, expected in checksums.items() if not (checkpoint / name).is_file() or _checksum(checkpoint / name) != expected]


def _checksum(path: Path) -> int:
    """CRC-32, some ten times as fast as writing; it tells damage, not malice."""
    checksum = 0
    with path.open("rb") as stream:
        while piece := stream.read(CHECKSUM_BYTES):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def step_of(checkpoint: Path) -> int:
    """After how many steps a checkpoint was taken."""
    return int(_read_position(checkpoint)["step"])


def checkpoint_to_evaluate(folder: Path, which: Literal["last", "best"]) -> Path | None:
    """The checkpoint that a finished training is judged by, or None. An untrained control has been validated once: its last is its best."""
    best = folder / BEST
    return best if which == "best" and (best / POSITION).is_file() else latest_checkpoint(folder)


def load_checkpoint(
    path: Path, load_model: Callable[[Path], M], config: TrainingConfig, device: str = "cpu"
) -> tuple[TrainingState[M], dict[str, float]]:
    """The state as it was saved, and the facts saved with it. Tensors only (`weights_only`): a checkpoint cannot run code."""
    position = _read_position(path)
    state = start_training(load_model(path).to(device), config)
    state.optimizer.load_state_dict(torch.load(path / OPTIMIZER, weights_only=True, map_location=device))
    if (path / CENTRES).is_file():
        centres = load_file(path / CENTRES, device=device)
        state.centres = LanguageCentres(centres["mean"], centres["seen"])
    state.step = int(position["step"])
    state.position = Position(**position["plan"])
    state.skipped = int(position["skipped"])
    state.best = None if position["best"] is None else Best(**position["best"])
    asked_for = [groups for groups in (position["micro_groups"], config.micro_groups) if groups is not None]
    state.micro_groups = min(asked_for, default=None)
    return state, dict(position["facts"])


def drop_optimizer(folder: Path) -> None:
    """Forget what a finished training would go on from: the optimiser's state, two thirds of its disk, and all but the last checkpoint."""
    found = sorted(folder.glob("step-*"))
    for path in found[-1:]:
        (path / OPTIMIZER).unlink(missing_ok=True)
    for path in found[:-1]:
        shutil.rmtree(path, ignore_errors=True)


def _read_position(path: Path) -> dict[str, Any]:
    position: dict[str, Any] = json.loads((path / POSITION).read_text(encoding="utf-8"))
    return position
