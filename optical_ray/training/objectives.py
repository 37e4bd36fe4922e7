"""What a batch costs. Sums over pairs divided by global counts: a pair's share never depends on the worker it sits on.

B pairs of one worker, G pairs of a group, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from optical_ray.data.batches import Batch
from optical_ray.runs import names
from optical_ray.training.config import ObjectiveConfig
from optical_ray.training.parallel import Parallel
from optical_ray.transport.cost import GroundCost
from optical_ray.transport.loss import transport_loss
from optical_ray.transport.plan import Diagnostics, diagnose
from optical_ray.transport.sinkhorn import SinkhornConfig

NO_TOKEN = -2.0  # below every cosine, and finite: the pair is masked afterwards, and -inf would leave NaN gradients


@dataclass(frozen=True, slots=True)
class Losses:
    """One step's outcome on this worker."""

    total: Tensor
    """What to call backward on: this worker's share of the global mean, times the number of workers (gradients are averaged)."""
    scalars: dict[str, float]
    """Global means, equal on every worker, by metric name."""


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
        student_BD, teacher_BD = _mean_tokens(student_BND, student_mask_BN), _mean_tokens(teacher_BMD, teacher_mask_BM)
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


def _mean_tokens(unit_BND: Tensor, mask_BN: Tensor) -> Tensor:
    return normalize((unit_BND * mask_BN[:, :, None]).sum(1), dim=1)


@dataclass(frozen=True, slots=True)
class Distillation:
    """The weighted sum of the terms in play, on one ground cost (centre and all) shared by every term."""

    config: ObjectiveConfig
    cost: GroundCost
    solver: SinkhornConfig
    group: int
    parallel: Parallel

    def __call__(self, student: nn.Module, batch: Batch) -> Losses:
        """Price this worker's part of a global batch.

        The transport plan is solved (and its diagnostics reported) only where the transport term is in play.
        """
        student_BND = student(batch.ids_BN, batch.attention_BN)
        valid_B = batch.content_BN.any(1) & batch.teacher_mask_BM.any(1)
        solved_B = valid_B
        table: Tensor | None = None
        terms: list[tuple[str, float, Tensor]] = []
        if self.config.transport > 0:
            loss = transport_loss(student_BND, batch.content_BN, batch.teacher_BMD, batch.teacher_mask_BM, self.cost, self.solver)
            terms.append((names.LOSS_TRANSPORT, self.config.transport, loss.value_B.sum()))
            solved_B = loss.plan.solved_B
            table = self.parallel.gather(loss.plan.table())
        if self.config.contrastive > 0:
            student_unit_BND, teacher_unit_BMD = self.cost.normalise(student_BND), self.cost.normalise(batch.teacher_BMD)
            masks = batch.content_BN, batch.teacher_mask_BM
            scores_HGG = group_scores(student_unit_BND, masks[0], teacher_unit_BMD, masks[1], self.group, self.config.scorer)
            value_B = contrastive_loss(scores_HGG, batch.english_B, valid_B, self.config.temperature)
            terms.append((names.LOSS_CONTRASTIVE, self.config.contrastive, value_B.sum()))
        sums = {name: value for name, _, value in terms} | {"pairs": valid_B.sum(), "solved": solved_B.sum()}
        reduced = self.parallel.sum(torch.stack([value.detach().double() for value in sums.values()]))
        found = dict(zip(sums, reduced.tolist(), strict=True))
        counts = {name: max(found["solved" if name == names.LOSS_TRANSPORT else "pairs"], 1.0) for name, _, _ in terms}
        total = torch.stack([weight * value * (self.parallel.workers / counts[name]) for name, weight, value in terms]).sum()
        scalars = {name: found[name] / counts[name] for name, _, _ in terms}
        scalars[names.LOSS] = sum(weight * scalars[name] for name, weight, _ in terms)
        return Losses(total, scalars | ({} if table is None else transport_scalars(diagnose(table))))


def transport_scalars(diagnostics: Diagnostics) -> dict[str, float]:
    """The diagnostics of a batch of plans by metric name; what no pair could tell is left out."""
    scalars = {
        names.TRANSPORT_CONVERGED: diagnostics.converged,
        names.TRANSPORT_VIOLATION: diagnostics.violation,
        names.TRANSPORT_ITERATIONS: diagnostics.iterations_median,
        names.TRANSPORT_ITERATIONS_MAX: float(diagnostics.iterations_max),
        names.TRANSPORT_EMPTY: float(diagnostics.empty),
        names.TRANSPORT_SKIPPED: float(diagnostics.skipped),
        names.TRANSPORT_COST_STD: diagnostics.cost_std,
        names.TRANSPORT_ENTROPY: diagnostics.plan_entropy,
    }
    return {name: value for name, value in scalars.items() if not math.isnan(value)}
