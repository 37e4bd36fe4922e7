"""The ground cost between student and teacher tokens, shared by every objective that matches tokens.

B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from optical_ray.config import Config
from optical_ray.errors import ConfigError

NORM_FLOOR = 1e-6  # a zero vector gets cosine 0 with everything, and a finite gradient


class CostConfig(Config):
    """What is measured once, before training, and then held constant: the centre of the clouds and the unit of epsilon."""

    centre: Literal["none", "teacher-mean"] = "teacher-mean"
    """Vector subtracted from both sides before normalising: nothing, or the mean content token of the teacher's training English.
    Raw teacher tokens share one large component, and a student trained on them collapses to it while its loss falls."""
    scale: Literal["none", "teacher-std"] = "teacher-std"
    """Unit of `transport.epsilon`: 1 (cosine distance), or the standard deviation of the cost between different tokens of one English
    sentence: the spread that an aligned student faces. Measured on seeded pairs of the plan."""


@dataclass(frozen=True, slots=True)
class GroundCost:
    """C_ij = 1 - cos(x_i - centre, e_j - centre), in [0, 2]."""

    centre_D: Tensor | None
    """float32 [D], or None."""
    unit: float = 1.0
    """Cosine distance that one unit of epsilon stands for."""

    def normalise(self, tokens_BND: Tensor) -> Tensor:
        """Centred tokens of length 1 (zero vectors stay zero), float32 [B, N, D] whatever autocast is on."""
        with torch.autocast(tokens_BND.device.type, enabled=False):
            tokens_BND = tokens_BND.float()
            if self.centre_D is not None:
                tokens_BND = tokens_BND - self.centre_D
            lengths_BN1: Tensor = tokens_BND.norm(dim=-1, keepdim=True)
            return tokens_BND / lengths_BN1.clamp_min(NORM_FLOOR)

    def between(self, student_BND: Tensor, teacher_BMD: Tensor) -> Tensor:
        """The cost matrices, float32 [B, N, M]; formed in float32 (in bfloat16 the plan would move by 0.01 of its mass)."""
        with torch.autocast(student_BND.device.type, enabled=False):
            return 1.0 - self.normalise(student_BND) @ self.normalise(teacher_BMD).transpose(1, 2)


def measure_centre(tokens_TD: Tensor) -> Tensor:
    """The mean content token, float32 [D], of tokens [T, D]; summed in float64."""
    return tokens_TD.double().mean(dim=0).float()


def measure_unit(teacher_BMD: Tensor, mask_BM: Tensor, centre_D: Tensor | None) -> float:
    """Standard deviation of the cost between different real tokens of one sentence, over seeded pairs.

    Args:
        teacher_BMD: Teacher tokens, float [B, M, D].
        mask_BM: True at real tokens, bool [B, M].
        centre_D: What the cost will be centred with.

    Raises:
        ConfigError: no sentence has two tokens, or all costs are equal: there is no spread to take as a unit.
    """
    cost_BMM = GroundCost(centre_D).between(teacher_BMD, teacher_BMD)
    different = ~torch.eye(mask_BM.shape[1], dtype=torch.bool, device=mask_BM.device)
    values = cost_BMM[mask_BM[:, :, None] & mask_BM[:, None, :] & different]
    spread = values.double().std().item() if values.numel() > 1 else 0.0
    if not spread > 0.0:
        raise ConfigError(
            "cost.scale=teacher-std: the cost has no spread on the measured pairs (one-token sentences?); use cost.scale=none"
        )
    return spread
