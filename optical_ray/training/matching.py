"""Rivals of the transport plan: each student token meets one teacher token, one to one or not.

B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor


def match_greedily(similarity_BNM: Tensor, student_mask_BN: Tensor, teacher_mask_BM: Tensor) -> Tensor:
    """Teacher token of each student token, int64 [B, N]; -1 at padding and at tokens for which none was left.

    The most similar two of a pair that are both free are matched, again and again, until one side is used up: min(n, m) matches. All pairs
    go through a round together. On a CPU, equal similarities go to the first of them in reading order.

    Args:
        similarity_BNM: Any real numbers; NaN at a real place is matched first, so that it is not lost.
        student_mask_BN: True at real tokens.
        teacher_mask_BM: True at real tokens.
    """
    pairs, _, columns = similarity_BNM.shape
    real_BNM = student_mask_BN[:, :, None] & teacher_mask_BM[:, None, :]
    free_BNM = similarity_BNM.detach().masked_fill(~real_BNM, -torch.inf)
    match_BN = torch.full_like(student_mask_BN, -1, dtype=torch.int64)
    every_B = torch.arange(pairs, device=free_BNM.device)
    rounds = torch.minimum(student_mask_BN.sum(1), teacher_mask_BM.sum(1)).max() if pairs else 0
    for _ in range(int(rounds)):
        best_B, place_B = free_BNM.view(pairs, -1).max(1)
        row_B, column_B = place_B // columns, place_B % columns
        match_BN[every_B, row_B] = torch.where(best_B == -torch.inf, match_BN[every_B, row_B], column_B)
        free_BNM[every_B, row_B] = -torch.inf
        free_BNM[every_B, :, column_B] = -torch.inf
    return match_BN


def greedy_loss(student_BND: Tensor, student_mask_BN: Tensor, teacher_BMD: Tensor, teacher_mask_BM: Tensor) -> Tensor:
    """Squared distance of greedily matched tokens, mean over a pair's matches, [B], 0 to 4 (DR.DECR, arXiv 2112.08185).

    Known of the paper's method from its abstract and from training code published with it: the least cosine distance is taken again and
    again, its row and column leave, the teacher's tokens so re-ordered are the constant target of a mean squared error, and the student
    also reads the English side (here: `objective.english`). Different here: real content tokens alone are matched (there, all places of two
    padded sentences, so both have as many; here a student token for which no teacher token is left costs nothing), tokens are centred, the
    mean is over matches, then over pairs, and is not divided by D. Not known: the paper's own numbers for these choices.

    Args:
        student_BND: Centred tokens of length 1.
        student_mask_BN: True at tokens that carry mass.
        teacher_BMD: Likewise; held constant.
        teacher_mask_BM: Likewise.
    """
    teacher_BMD = teacher_BMD.detach()
    match_BN = match_greedily(student_BND.detach() @ teacher_BMD.transpose(1, 2), student_mask_BN, teacher_mask_BM)
    matched_BN = match_BN >= 0
    target_BND = teacher_BMD.gather(1, match_BN.clamp_min(0)[:, :, None].expand(-1, -1, teacher_BMD.shape[2]))
    squared_BN = (student_BND - target_BND).square().sum(2)
    return squared_BN.masked_fill(~matched_BN, 0.0).sum(1) / matched_BN.sum(1).clamp_min(1)


def argmax_loss(student_BND: Tensor, student_mask_BN: Tensor, teacher_BMD: Tensor, teacher_mask_BM: Tensor) -> Tensor:
    """Cosine distance of every student token to its nearest teacher token, mean over tokens, [B], 0 to 2.

    The plan of each row alone, without the column constraint that makes it a coupling (the relaxed word mover's distance of Kusner et al.
    2015, one direction): many student tokens may meet one teacher token, and a teacher token none. 0 for a pair with an empty side.

    Args:
        student_BND: Centred tokens of length 1.
        student_mask_BN: True at tokens that carry mass.
        teacher_BMD: Likewise; held constant.
        teacher_mask_BM: Likewise.
    """
    similarity_BNM = student_BND @ teacher_BMD.detach().transpose(1, 2)
    best_BN = similarity_BNM.masked_fill(~teacher_mask_BM[:, None, :], -torch.inf).max(2).values
    counted_BN = student_mask_BN & teacher_mask_BM.any(1)[:, None]
    return (1.0 - best_BN).masked_fill(~counted_BN, 0.0).sum(1) / counted_BN.sum(1).clamp_min(1)
