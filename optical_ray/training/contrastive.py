"""Terms that look at a group: scores of its student sentences against its teacher sentences, and two losses on them.

B pairs of one worker, H groups of G pairs, N student tokens, M teacher tokens, D dimensions, T real tokens of a group.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from optical_ray.training.pooling import mean_tokens

NO_TOKEN = -2.0  # below every cosine, and finite: the pair is masked afterwards, and -inf would leave NaN gradients


def contrastive_loss(scores_HGG: Tensor, english_B: Tensor, valid_B: Tensor, temperature: float) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) in both directions, nats per pair [B]; negatives are the other pairs of the group.

    Pairs of the same English sentence are not each other's negatives. An invalid pair costs 0 and is nobody's negative.

    Args:
        scores_HGG: Score of each student sentence of a group (rows) against each teacher sentence of it (columns).
        english_B: Which English sentence, int64; B = H * G.
        valid_B: Both sides have tokens, bool.
        temperature: Divides the scores.
    """
    groups, group = scores_HGG.shape[:2]
    english_HG, valid_HG = english_B.view(groups, group), valid_B.view(groups, group)
    scores_HGG = scores_HGG / temperature
    same_HGG = english_HG[:, :, None] == english_HG[:, None, :]
    excluded_HGG = (same_HGG | ~valid_HG[:, None, :] | ~valid_HG[:, :, None]) & ~torch.eye(
        group, dtype=torch.bool, device=scores_HGG.device
    )
    scores_HGG = scores_HGG.masked_fill(excluded_HGG, -torch.inf)
    target = torch.arange(group, device=scores_HGG.device).repeat(groups)
    forward_B = cross_entropy(scores_HGG.flatten(0, 1), target, reduction="none")
    backward_B = cross_entropy(scores_HGG.transpose(1, 2).flatten(0, 1), target, reduction="none")
    return ((forward_B + backward_B) / 2).masked_fill(~valid_B, 0.0)


def group_scores(
    student_BND: Tensor,
    student_mask_BN: Tensor,
    teacher_BMD: Tensor,
    teacher_mask_BM: Tensor,
    group: int,
    scorer: Literal["maxsim", "pooled"],
) -> Tensor:
    """Scores [H, G, G] of the student sentences of each group against the teacher sentences of it, differentiable.

    MaxSim runs over real tokens only (ragged, no padding): the mean over a student sentence's tokens of the best teacher token. A sentence
    without tokens scores 0.

    Args:
        student_BND: Tokens of length 1.
        student_mask_BN: True at real tokens.
        teacher_BMD: Tokens of length 1.
        teacher_mask_BM: True at real tokens.
        group: G; B is a multiple of it.
        scorer: As the evaluation's of the same name.
    """
    if scorer == "pooled":
        student_BD, teacher_BD = mean_tokens(student_BND, student_mask_BN), mean_tokens(teacher_BMD, teacher_mask_BM)
        return student_BD.view(-1, group, student_BD.shape[1]) @ teacher_BD.view(-1, group, teacher_BD.shape[1]).transpose(1, 2)
    scores = []
    for first in range(0, len(student_BND), group):
        part = slice(first, first + group)
        lengths_G, teacher_lengths_G = student_mask_BN[part].sum(1), teacher_mask_BM[part].sum(1)
        similarity_TT = teacher_BMD[part][teacher_mask_BM[part]] @ student_BND[part][student_mask_BN[part]].T
        best_GT = torch.segment_reduce(similarity_TT, "max", lengths=teacher_lengths_G, axis=0, initial=NO_TOKEN)
        owner_T = torch.repeat_interleave(torch.arange(len(lengths_G), device=lengths_G.device), lengths_G)
        total_GG = best_GT.new_zeros(len(lengths_G), len(lengths_G)).index_add(0, owner_T, best_GT.T)
        scores.append(total_GG / lengths_G.clamp_min(1)[:, None])
    return torch.stack(scores)


def score_divergence(student_HGG: Tensor, teacher_HGG: Tensor, valid_B: Tensor, temperature: float) -> Tensor:
    """KL(teacher || student) between the rankings of a group's documents, nats per pair [B]: score distillation with soft targets.

    The softmax of Hinton et al. 2015 (arXiv 1503.02531) over late-interaction scores, as DR.DECR (arXiv 2112.08185) distils those of a
    teacher that reads English; here a group's own English sentences are the documents. Not multiplied by the squared temperature, so that
    the unit is nats at any. Pairs of the same English sentence share the teacher's mass: nothing is left out for them. An invalid pair
    costs 0 and is nobody's document.

    Args:
        student_HGG: Score of each student sentence of a group (rows) against each teacher sentence of it (columns).
        teacher_HGG: Score of the teacher's own English sentence in place of the student's; held constant.
        valid_B: Both sides have tokens, bool; B = H * G.
        temperature: Divides both scores.
    """
    valid_HG = valid_B.view(teacher_HGG.shape[:2])
    # An invalid query keeps its documents (a row of -inf alone would be NaN); its value is dropped in the end.
    hidden_HGG = ~valid_HG[:, None, :] & valid_HG[:, :, None]
    student_log, teacher_log = (
        (scores_HGG / temperature).masked_fill(hidden_HGG, -torch.inf).log_softmax(2) for scores_HGG in (student_HGG, teacher_HGG.detach())
    )
    difference_HGG = (teacher_log - student_log).masked_fill(hidden_HGG, 0.0)  # -inf less -inf
    value_HG = (teacher_log.exp() * difference_HGG).sum(2)
    return value_HG.flatten().masked_fill(~valid_B, 0.0)
