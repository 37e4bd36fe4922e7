"""Checkpoints: `checkpoint/step-00000200/`, whole or not at all. The newest whole one is where a killed trial continues.

No random state is kept: every use of randomness in the loop is seeded by its step (`derive_seed(seed, "dropout", step, rank)`).
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import write_json
from optical_ray.data.plan import Position
from optical_ray.encoders.student import StudentConfig, load_student, save_student
from optical_ray.training.config import TrainingConfig
from optical_ray.training.state import TrainingState, start_training

POSITION = "position.json"
OPTIMIZER = "optimizer.pt"


def save_checkpoint(
    folder: Path, state: TrainingState, tokenizer: PreTrainedTokenizerBase, config: StudentConfig, facts: dict[str, float]
) -> Path:
    """Write the checkpoint of `state.step` beside the older ones, then drop those.

    Args:
        folder: The trial's checkpoint folder.
        state: What to save.
        tokenizer: Saved beside the student, which is useless without it.
        config: The student's prefix and length limit go with it.
        facts: Numbers to hand to whoever continues.
    """
    target = folder / f"step-{state.step:08d}"
    scratch = folder / f".{target.name}.scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    save_student(state.student, tokenizer, config, scratch)
    torch.save(state.optimizer.state_dict(), scratch / OPTIMIZER)
    write_json(scratch / POSITION, {"step": state.step, "plan": state.position._asdict(), "facts": facts})
    shutil.rmtree(target, ignore_errors=True)
    os.replace(scratch, target)
    for older in folder.iterdir():
        if older != target:
            shutil.rmtree(older)
    return target


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    found = [path for path in sorted(folder.glob("step-*")) if (path / POSITION).is_file()] if folder.is_dir() else []
    return found[-1] if found else None


def load_checkpoint(path: Path, config: TrainingConfig, device: str = "cpu") -> tuple[TrainingState, dict[str, float]]:
    """The state as it was saved, and the facts saved with it. Tensors only (`weights_only`): a checkpoint cannot run code."""
    position = json.loads((path / POSITION).read_text(encoding="utf-8"))
    state = start_training(load_student(path).to(device), config)
    state.optimizer.load_state_dict(torch.load(path / OPTIMIZER, weights_only=True, map_location=device))
    state.step = int(position["step"])
    state.position = Position(**position["plan"])
    return state, dict(position["facts"])


def drop_optimizer(path: Path) -> None:
    """Forget the optimiser's state of a finished trial: two thirds of its disk."""
    (path / OPTIMIZER).unlink(missing_ok=True)
