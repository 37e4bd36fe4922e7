"""A running mean of each language's student tokens: what `cost.centre=language-mean` subtracts from them.

B pairs of one worker, G pairs of a group, N student tokens, L languages of the plan, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot

DECAY = 0.9
"""Share of the old mean that a step keeps: a half-life of 7 steps in which the language occurs."""


@dataclass(slots=True)
class LanguageCentres:
    """Part of the training state: changed once a step, from the sums of the whole global batch, so alike on every worker."""

    mean_LD: Tensor
    """float64 [L, D]: exponential moving average of the mean content token of a language in each global batch; 0 while it is not seen."""
    seen_L: Tensor
    """bool [L]: the language has stood in an earlier batch."""

    @classmethod
    def start(cls, languages: int, dimension: int, device: str = "cpu") -> Self:
        """Of a training that has not begun."""
        mean_LD = torch.zeros(languages, dimension, dtype=torch.float64, device=device)
        return cls(mean_LD, torch.zeros(languages, dtype=torch.bool, device=device))

    def of_pairs(self, student_BND: Tensor, mask_BN: Tensor, language_B: Tensor, group: int) -> Tensor:
        """The centre of each pair's language, in the tokens' precision, [B, D]; without gradient.

        It is of the steps before. A language that has not been seen yet is centred, for this one step, by the mean of its tokens in the
        pair's own group: a pair's loss must not depend on what else its worker holds.

        Args:
            student_BND: Student tokens of whole groups.
            mask_BN: True at tokens that carry mass.
            language_B: Index of each pair's language, int64.
            group: G.
        """
        with torch.no_grad():
            centre_BD = self.mean_LD[language_B]
            new_B = ~self.seen_L[language_B]
            if new_B.any():
                sum_BD, count_B = _sum_tokens(student_BND, mask_BN)
                language_HG = language_B.view(-1, group)
                alike_HGG = (language_HG[:, :, None] == language_HG[:, None, :]).double()
                total_BD = (alike_HGG @ sum_BD.view(-1, group, sum_BD.shape[1])).flatten(0, 1)
                tokens_B = (alike_HGG @ count_B.view(-1, group, 1)).flatten()
                centre_BD = torch.where(new_B[:, None], total_BD / tokens_B.clamp_min(1)[:, None], centre_BD)
            return centre_BD.to(student_BND.dtype)

    def sums(self, student_BND: Tensor, mask_BN: Tensor, language_B: Tensor) -> Tensor:
        """What `update` wants of some pairs: the sum of each language's tokens and their number, float64 [L, D + 1], without gradient."""
        with torch.no_grad():
            sum_BD, count_B = _sum_tokens(student_BND, mask_BN)
            of_language_LB = one_hot(language_B, len(self.seen_L)).T.double()  # a product: adding by index is random on a GPU
            return of_language_LB @ torch.cat([sum_BD, count_B[:, None]], dim=1)

    def update(self, sums_LD1: Tensor) -> None:
        """Take in a global batch, after its step.

        Args:
            sums_LD1: `sums` over all pairs of all workers.
        """
        count_L = sums_LD1[:, -1]
        present_L = count_L > 0
        batch_LD = sums_LD1[:, :-1] / count_L.clamp_min(1)[:, None]
        moved_LD = torch.where(self.seen_L[:, None], DECAY * self.mean_LD + (1 - DECAY) * batch_LD, batch_LD)
        self.mean_LD = torch.where(present_L[:, None], moved_LD, self.mean_LD)
        self.seen_L = self.seen_L | present_L


def _sum_tokens(student_BND: Tensor, mask_BN: Tensor) -> tuple[Tensor, Tensor]:
    return (student_BND.double() * mask_BN[:, :, None]).sum(1), mask_BN.sum(1).double()
