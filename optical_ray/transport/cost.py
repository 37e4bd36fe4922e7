"""The ground cost between student and teacher tokens, shared by every objective that matches tokens.

B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd import Function

from optical_ray.errors import ConfigError
from optical_ray.transport.gradient import first_derivative_only
from optical_ray.transport.marginals import norm_mass, uniform_mass

NORM_FLOOR = 1e-6  # a vector shorter than this has no direction: cosine 0 with everything, gradient 0


@dataclass(frozen=True, slots=True)
class GroundCost:
    """C_ij = 1 - cos(x_i - centre, e_j - centre), in [0, 2], and the mass of each token."""

    centre_D: Tensor | None
    """float32 [D], or None."""
    unit: float = 1.0
    """Cosine distance that one unit of epsilon stands for."""
    marginals: Literal["uniform", "norm"] = "uniform"

    def normalise(self, tokens_BND: Tensor) -> Tensor:
        """Centred tokens of length 1 (vectors of no length become zero, broken ones NaN), float32 [B, N, D] whatever autocast is on."""
        unit_BND, finite_BN = self.unit_tokens(tokens_BND)
        if tokens_BND.device.type == "cpu" and finite_BN.all():
            return unit_BND
        return unit_BND.masked_fill(~finite_BN[:, :, None], torch.nan)

    def unit_tokens(self, tokens_BND: Tensor, mask_BN: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Centred tokens of length 1, float32 [B, N, D], and which of them are finite, bool [B, N].

        Padding, vectors of no length and vectors with NaN or infinity become zero and get no gradient, so that they spoil no neighbour's.
        """
        units: tuple[Tensor, Tensor] = _UnitTokens.apply(tokens_BND, self.centre_D, mask_BN)  # type: ignore[no-untyped-call]
        return units

    def mass(self, tokens_BND: Tensor, mask_BN: Tensor) -> Tensor:
        """Mass of each real token by the chosen marginals, float32 [B, N]; rows sum to 1, or to 0 where no token is real."""
        if self.marginals == "uniform":
            return uniform_mass(mask_BN)
        return norm_mass(tokens_BND if self.centre_D is None else tokens_BND - self.centre_D, mask_BN)

    def between(self, student_BND: Tensor, teacher_BMD: Tensor) -> Tensor:
        """The cost matrices, float32 [B, N, M]; formed in float32 (in bfloat16 the plan would move by 0.01 of its mass)."""
        return cosine_cost(self.normalise(student_BND), self.normalise(teacher_BMD))


def cosine_cost(student_BND: Tensor, teacher_BMD: Tensor) -> Tensor:
    """1 - <x, e> for tokens of length 1, [B, N, M], in the tokens' precision whatever autocast is on."""
    with torch.autocast(student_BND.device.type, enabled=False):
        return torch.baddbmm(student_BND.new_ones(1, 1, 1), student_BND, teacher_BMD.transpose(1, 2), alpha=-1)


class _UnitTokens(Function):
    @staticmethod
    def forward(ctx: Any, tokens_BND: Tensor, centre_D: Tensor | None, mask_BN: Tensor | None) -> tuple[Tensor, Tensor]:
        with torch.autocast(tokens_BND.device.type, enabled=False):
            given_BND = tokens_BND
            tokens_BND = tokens_BND.double() if tokens_BND.dtype == torch.float64 else tokens_BND.float()
            if centre_D is not None:
                tokens_BND = tokens_BND - centre_D
            lengths_BN = torch.linalg.vector_norm(tokens_BND, dim=-1)
            finite_BN = lengths_BN.isfinite()
            good_BN = finite_BN & (lengths_BN > NORM_FLOOR)
            if mask_BN is not None:
                good_BN &= mask_BN
            inverse_BN1 = torch.where(good_BN, 1.0 / lengths_BN, 0.0)[:, :, None]
            unit_BND = tokens_BND * inverse_BN1
            if tokens_BND.device.type != "cpu" or not finite_BN.all():  # 0 x NaN is NaN
                unit_BND = torch.where(finite_BN[:, :, None], unit_BND, 0.0)
        ctx.save_for_backward(given_BND, unit_BND, inverse_BN1)
        ctx.mark_non_differentiable(finite_BN)
        return unit_BND, finite_BN

    @staticmethod
    def backward(ctx: Any, grad_BND: Tensor, _: Tensor) -> tuple[Tensor, None, None]:
        given_BND, unit_BND, inverse_BN1 = ctx.saved_tensors
        with torch.no_grad():
            along_BN1 = (unit_BND * grad_BND).sum(-1, keepdim=True)
            gradient_BND = torch.addcmul(grad_BND, unit_BND, along_BN1, value=-1).mul_(inverse_BN1).to(given_BND.dtype)
        return first_derivative_only(gradient_BND, given_BND, grad_BND), None, None


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
        ConfigError: no sentence has two tokens, or all costs are equal: there is no spread to take as a unit; or a token is not finite.
    """
    cost_BMM = GroundCost(centre_D).between(teacher_BMD, teacher_BMD)
    different = ~torch.eye(mask_BM.shape[1], dtype=torch.bool, device=mask_BM.device)
    values = cost_BMM[mask_BM[:, :, None] & mask_BM[:, None, :] & different]
    spread = values.double().std().item() if values.numel() > 1 else 0.0
    if math.isnan(spread):
        raise ConfigError("cost.scale=teacher-std: a teacher token of the measured pairs is NaN or infinite; look at the teacher")
    if not spread > 0.0:
        raise ConfigError(
            "cost.scale=teacher-std: the cost has no spread on the measured pairs (one-token sentences?); use cost.scale=none"
        )
    return spread
