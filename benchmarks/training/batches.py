"""A few batches that every contender is given as they are, in one file: token ids, masks, the teacher's tokens and sentence vectors.

B pairs, N student tokens, M teacher tokens, K student tokens of the English side, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from optical_ray.data.batches import Batch

SENTENCES = "teacher_BD"
"""Of the file alone: the mean of each pair's teacher tokens, what a loss on sentence vectors aims at."""


def choose(batches: Sequence[Batch], count: int) -> list[Batch]:
    """So many of a window's batches, as long and as short as its batches are: one from the middle of each part of equal size."""
    ranked = sorted(batches, key=lambda batch: batch.ids_BN.shape[1])
    return [ranked[(2 * place + 1) * len(ranked) // (2 * count)] for place in range(count)]


def write_fixed(path: Path, batches: Sequence[Batch]) -> None:
    """`<number>/<field of Batch>`, and `<number>/teacher_BD`."""
    arrays = {}
    for number, batch in enumerate(batches):
        for field in fields(batch):
            arrays[f"{number}/{field.name}"] = getattr(batch, field.name).numpy()
        count_B = batch.teacher_mask_BM.sum(1).clamp_min(1)
        arrays[f"{number}/{SENTENCES}"] = (batch.teacher_BMD.sum(1) / count_B[:, None]).numpy()
    np.savez(path, **arrays)


def read_fixed(path: Path) -> list[Batch]:
    """What `write_fixed` was given."""
    with np.load(path) as arrays:
        numbers = sorted({int(name.partition("/")[0]) for name in arrays.files})
        names = [field.name for field in fields(Batch)]
        return [Batch(**{name: torch.from_numpy(arrays[f"{number}/{name}"]) for name in names}) for number in numbers]
