"""The pooled rival of token matching: one vector a sentence. B pairs, N student tokens, M teacher tokens, D dimensions."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize


def mean_tokens(unit_BND: Tensor, mask_BN: Tensor) -> Tensor:
    """The mean of a sentence's real tokens at length 1, [B, D]; zero for a sentence without tokens. As the scorer `pooled` sees it."""
    return normalize((unit_BND * mask_BN[:, :, None]).sum(1), dim=1)


def pooled_loss(student_BND: Tensor, student_mask_BN: Tensor, teacher_BMD: Tensor, teacher_mask_BM: Tensor) -> Tensor:
    """Squared distance of the mean tokens, [B], 0 to 4 (Reimers & Gurevych 2020, arXiv 2004.09813, equation 1, its second term).

    Two differences from the paper, so that the comparison with the matching terms is of pooling alone: tokens are centred and of length 1
    as in the ground cost, and the means are brought to length 1 (the value is twice the cosine distance that the scorer `pooled` ranks by,
    in the unit of `greedy`, whatever the length of the teacher's vectors). The paper takes the plain means, and averages over dimensions:
    a constant factor. 0 for a pair with an empty side.

    Args:
        student_BND: Centred tokens of length 1.
        student_mask_BN: True at tokens that carry mass.
        teacher_BMD: Likewise.
        teacher_mask_BM: Likewise.
    """
    value_B = (mean_tokens(student_BND, student_mask_BN) - mean_tokens(teacher_BMD, teacher_mask_BM)).square().sum(1)
    return value_B.masked_fill(~(student_mask_BN.any(1) & teacher_mask_BM.any(1)), 0.0)
