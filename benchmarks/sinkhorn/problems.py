"""The transport problems that every contender solves, and the one judge of their plans.

B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from optical_ray.transport import GroundCost, uniform_mass

ACCURACY = 1e-4
"""L1 probability mass by which the worst pair's rows plus columns may miss their marginals."""
ROUNDING = 1.01
"""A float32 plan that met 1e-4 by its own sums may miss it by float64 sums in the third digit; the same allowance for everyone."""

COPIED = 0.7  # share of student tokens with a counterpart: function words and word pieces have none, so no plan is a permutation
COPY_COSINE = 0.75  # cosine of a student token with its counterpart, common vector aside
COMMON_ENERGY = 2.33  # squared length of the common vector over that of the rest: cosine distances of 1 / (1 + 2.33) = 0.30 on average
SPECTRUM = 0.4  # the i-th direction of BERT-like noise has standard deviation i ** -0.4: a few directions dominate


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair without padding, for solvers that take one at a time."""

    cost_NM: np.ndarray
    a_N: np.ndarray
    b_M: np.ndarray


@dataclass(frozen=True, slots=True)
class Problem:
    """A padded batch."""

    name: str
    cost_name: str
    cost_BNM: Tensor
    """float32; 0 at padding."""
    a_BN: Tensor
    """float32; uniform on real tokens, 0 at padding."""
    b_BM: Tensor
    lengths_B: tuple[tuple[int, int], ...]
    pairs: tuple[Pair, ...]
    """The same in float64, unpadded."""

    def describe(self) -> str:
        """Shape, and mean and standard deviation of the cost over real token pairs."""
        values = torch.cat([self.cost_BNM[pair, :n, :m].flatten() for pair, (n, m) in enumerate(self.lengths_B)])
        sizes = [size for lengths in self.lengths_B for size in lengths]
        span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
        shape = f"{len(self.lengths_B)} pairs, {span} tokens a side"
        return f"{self.name}, {self.cost_name}: {shape}; cost mean {values.mean().item():.3f}, std {values.std().item():.3f}"

    def violations(self, coupling_BNM: Tensor) -> Tensor:
        """L1 probability mass, rows plus columns, by which a plan misses the exact uniform marginals, float64 [B]; NaN where it is NaN."""
        coupling_BNM = coupling_BNM.double()
        a_BN, b_BM = _exact_mass(self.a_BN), _exact_mass(self.b_BM)
        return (coupling_BNM.sum(2) - a_BN).abs().sum(1) + (coupling_BNM.sum(1) - b_BM).abs().sum(1)

    def worst_violation(self, coupling_BNM: Tensor) -> float:
        """The largest violation of a pair; NaN when a pair's plan is not finite."""
        return self.violations(coupling_BNM).max().item()  # max hands NaN through


def is_accurate(worst_violation: float) -> bool:
    """Whether the worst pair meets the accuracy that every contender is held to; NaN does not."""
    return worst_violation <= ACCURACY * ROUNDING


def draw_tokens(
    lengths_B: Sequence[tuple[int, int]], dimensions: int, bert_like: bool, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Student and teacher tokens, float32 [B, N, D] and [B, M, D], with a planted alignment, and their masks.

    BERT-like clouds share one large vector and have a decaying spectrum; the others are isotropic.
    """
    num_pairs, rows, columns = len(lengths_B), max(n for n, _ in lengths_B), max(m for _, m in lengths_B)
    spread_D, common_D = torch.ones(dimensions), torch.zeros(dimensions)
    if bert_like:
        spread_D = torch.arange(1, dimensions + 1).float() ** -SPECTRUM
        common_D = torch.randn(dimensions, generator=generator)
        common_D *= COMMON_ENERGY**0.5 / common_D.norm()
    spread_D = spread_D / spread_D.norm()
    teacher_BMD = torch.randn(num_pairs, columns, dimensions, generator=generator) * spread_D
    student_BND = torch.randn(num_pairs, rows, dimensions, generator=generator) * spread_D
    columns_B = torch.tensor([m for _, m in lengths_B])
    source_BN = (torch.rand(num_pairs, rows, generator=generator) * columns_B[:, None]).long()
    copy_BND = teacher_BMD.gather(1, source_BN[:, :, None].expand(-1, -1, dimensions))
    copied_BN1 = torch.rand(num_pairs, rows, 1, generator=generator) < COPIED
    noisy_BND = COPY_COSINE * copy_BND + (1 - COPY_COSINE**2) ** 0.5 * student_BND
    student_BND = torch.where(copied_BN1, noisy_BND, student_BND)
    student_mask_BN = torch.arange(rows) < torch.tensor([n for n, _ in lengths_B])[:, None]
    teacher_mask_BM = torch.arange(columns) < columns_B[:, None]
    return student_BND + common_D, student_mask_BN, teacher_BMD + common_D, teacher_mask_BM


def make_problem(name: str, cost_name: str, lengths_B: Sequence[tuple[int, int]], dimensions: int = 128, seed: int = 0) -> Problem:
    """A seeded batch with cosine distances of `bert-like` or `random-unit` tokens."""
    generator = torch.Generator().manual_seed(seed)
    student, student_mask, teacher, teacher_mask = draw_tokens(lengths_B, dimensions, cost_name == "bert-like", generator)
    cost_BNM = GroundCost(None).between(student, teacher)
    cost_BNM = cost_BNM.masked_fill(~(student_mask[:, :, None] & teacher_mask[:, None, :]), 0.0)
    pairs = tuple(
        Pair(cost_BNM[pair, :n, :m].double().contiguous().numpy(), np.full(n, 1 / n), np.full(m, 1 / m))
        for pair, (n, m) in enumerate(lengths_B)
    )
    return Problem(name, cost_name, cost_BNM, uniform_mass(student_mask), uniform_mass(teacher_mask), tuple(lengths_B), pairs)


def draw_lengths(num_pairs: int, shortest: int, longest: int, seed: int = 1) -> list[tuple[int, int]]:
    """Lengths of both sides, uniform and independent."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(shortest, longest + 1, (num_pairs, 2), generator=generator)
    return [(int(n), int(m)) for n, m in drawn]


def _exact_mass(mass: Tensor) -> Tensor:
    real = mass > 0
    return real.double() / real.sum(1, keepdim=True).clamp_min(1)
