"""How much mass each token carries. Masses are constants of the loss: no gradient flows into them. B pairs, N tokens, D dimensions."""

from __future__ import annotations

import torch
from torch import Tensor

MASS_SLACK = 1e-4  # how far a caller's masses may miss a sum of 1 (float32 sums of 512 tokens stay below 1e-5)
COARSE_SLACK = 1e-2  # likewise, for masses in half precision
LEAST_MASS = 1e-30  # less is none: its logarithm would leave float32


def uniform_mass(mask_BN: Tensor) -> Tensor:
    """Equal mass on every real token, float32 [B, N]; rows sum to 1, or to 0 where no token is real."""
    return mask_BN.float() / mask_BN.sum(1, keepdim=True).clamp_min(1)


def weighted_mass(weights_BN: Tensor, mask_BN: Tensor) -> Tensor:
    """Mass in proportion to given weights, such as `inverse_document_frequency(...)[ids_BN]`, float32 [B, N].

    Args:
        weights_BN: Non-negative; ignored at padding. A pair whose real tokens all weigh nothing gets equal masses.
        mask_BN: True at real tokens, bool.

    Raises:
        ValueError: a real token's weight is negative or not finite.
    """
    weights_BN = torch.where(mask_BN, weights_BN.detach().float(), 0.0)
    if not (weights_BN.isfinite() & (weights_BN >= 0)).all():
        raise ValueError("transport: a weight is negative, NaN or infinite; masses need finite weights of at least 0")
    largest_B1 = weights_BN.amax(1, keepdim=True) if weights_BN.shape[1] else weights_BN.sum(1, keepdim=True)
    scaled_BN = weights_BN / torch.where(largest_B1 > 0, largest_B1, 1.0)  # so that the sum overflows for no float32
    total_B1 = scaled_BN.sum(1, keepdim=True)
    return torch.where(total_B1 > 0, scaled_BN / total_B1.clamp_min(0.5), uniform_mass(mask_BN))


def norm_mass(tokens_BND: Tensor, mask_BN: Tensor) -> Tensor:
    """Mass in proportion to a token's length (Word Rotator's Distance, Yokoi et al. 2020), float32 [B, N].

    Args:
        tokens_BND: Token vectors, centred where the cost is: what all tokens share would even the masses out. Not finite counts as 0.
        mask_BN: True at real tokens, bool.
    """
    lengths_BN: Tensor = tokens_BND.detach().float().norm(dim=-1)
    return weighted_mass(lengths_BN.nan_to_num(0.0, 0.0, 0.0), mask_BN)


def inverse_document_frequency(documents_V: Tensor, documents: int) -> Tensor:
    """ln(1 + documents / frequency), nats, float32 [V]: positive for every token, largest for one never seen.

    Args:
        documents_V: In how many documents each entry of the vocabulary occurs, int.
        documents: How many there are.
    """
    return torch.log1p(documents / documents_V.double().clamp_min(0.5)).float()


def mass_slack(mass_BN: Tensor) -> float:
    """How far a side's masses may miss a sum of 1, by their precision."""
    return COARSE_SLACK if mass_BN.dtype in (torch.float16, torch.bfloat16) else MASS_SLACK


def check_masses(**named: Tensor) -> None:
    """Raise ValueError, naming mass and pair, unless every side's masses are non-negative and sum to 1, or are all 0."""
    for name, mass in named.items():
        if (mass < 0).any():
            raise ValueError(f"transport: {name} holds a negative mass ({mass.min().item():.3g}); masses are probabilities")
        total_B = mass.sum(1, dtype=torch.float64)
        proper_B = ((total_B - 1).abs() <= mass_slack(mass)) | (total_B == 0)
        if not proper_B.all():
            pair = int((~proper_B).nonzero()[0])
            raise ValueError(f"transport: {name} of pair {pair} sums to {total_B[pair].item():.6g}; expected 1, or 0 for an empty side")


def balance_masses(a_BN: Tensor, b_BM: Tensor) -> tuple[Tensor, Tensor]:
    """Masses in float64 with equal totals: rounded elsewhere, they would never meet a tight tolerance. Both 0 where one side is empty."""
    a_BN, b_BM = (torch.where(mass < LEAST_MASS, 0.0, mass.detach().double()) for mass in (a_BN, b_BM))
    full_B1 = ((a_BN.sum(1) > 0) & (b_BM.sum(1) > 0))[:, None]
    a_BN, b_BM = (torch.where(full_B1, mass / mass.sum(1, keepdim=True).clamp_min(0.5), 0.0) for mass in (a_BN, b_BM))
    return a_BN, b_BM
