"""The terms of the objective on some pairs, each a sum over pairs; and over how many pairs of a batch each is a mean.

B pairs of whole groups, N student tokens, M teacher tokens, K student tokens of the English side, D dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from optical_ray.data.batches import Batch
from optical_ray.training.config import ObjectiveConfig
from optical_ray.training.contrastive import contrastive_loss, group_scores, score_divergence
from optical_ray.training.matching import argmax_loss, greedy_loss
from optical_ray.training.pooling import pooled_loss
from optical_ray.training.protocols import Encode
from optical_ray.transport.config import SinkhornConfig
from optical_ray.transport.cost import GroundCost
from optical_ray.transport.loss import TransportLoss, transport_loss

MATCHING = {"greedy": greedy_loss, "argmax": argmax_loss, "pooled_mse": pooled_loss}
"""Terms that price a pair by its own unit tokens alone."""
NO_ENGLISH = "the English side is read where the English term has a weight"


def count_pairs(batch: Batch, config: ObjectiveConfig, solver: SinkhornConfig) -> dict[str, Tensor]:
    """How many pairs each term with a weight prices, by its field in `ObjectiveConfig`: known before the student reads anything.

    Pairs with tokens on both sides (of the English term: the student's English side); with `transport.on_nonfinite=skip` a term by
    transport leaves out pairs with NaN or infinity in a teacher token. Scalars, int64.
    """
    taught_B = batch.teacher_mask_BM.any(1)
    broken_B = torch.zeros_like(taught_B)
    if solver.on_nonfinite == "skip":
        broken_B = (~batch.teacher_BMD.isfinite().all(2) & batch.teacher_mask_BM).any(1)
    counts = {}
    for name in config.weights:
        content_BN = batch.english_content_BK if name == "english" else batch.content_BN
        assert content_BN is not None, NO_ENGLISH
        by_transport = name == "transport" or (name == "english" and config.english_by == "transport")
        counts[name] = (content_BN.any(1) & taught_B & ~(broken_B & by_transport)).sum()
    return counts


def price_terms(
    student_BND: Tensor, batch: Batch, encode: Encode, config: ObjectiveConfig, cost: GroundCost, solver: SinkhornConfig, group: int
) -> tuple[dict[str, Tensor], TransportLoss | None]:
    """Every term with a weight, summed over pairs, by its field in `ObjectiveConfig`; and the transport loss with its plans, where in play.

    A pair's loss depends on the pairs of its own group alone. All terms see the same tokens: centred, of length 1.

    Args:
        student_BND: The student's tokens of the foreign side, moved so that `cost` centres them rightly.
        batch: Whole groups; its English side where the English term is in play.
        encode: The student, for that side.
        config: Weights and temperatures.
        cost: Centre, unit of epsilon, marginals.
        solver: Of the transport term, and of the English term by transport.
        group: G; B is a multiple of it.
    """
    masks = batch.content_BN, batch.teacher_mask_BM
    valid_B = masks[0].any(1) & masks[1].any(1)
    terms: dict[str, Tensor] = {}
    plans: TransportLoss | None = None
    if config.transport > 0:
        plans = transport_loss(student_BND, masks[0], batch.teacher_BMD, masks[1], cost, solver)
        terms["transport"] = plans.value_B.sum()
    if config.weights.keys() - {"transport", "english"}:
        unit_BND, teacher_BMD = cost.normalise(student_BND), cost.normalise(batch.teacher_BMD)
        found = {name: loss(unit_BND, masks[0], teacher_BMD, masks[1]) for name, loss in MATCHING.items() if name in config.weights}
        scores_HGG = None
        if config.contrastive > 0:
            scores_HGG = group_scores(unit_BND, masks[0], teacher_BMD, masks[1], group, config.scorer)
            found["contrastive"] = contrastive_loss(scores_HGG, batch.english_B, valid_B, config.temperature)
        if config.score_kl > 0:
            if scores_HGG is None or config.scorer != "maxsim":
                scores_HGG = group_scores(unit_BND, masks[0], teacher_BMD, masks[1], group, "maxsim")
            own_HGG = group_scores(teacher_BMD, masks[1], teacher_BMD, masks[1], group, "maxsim")
            found["score_kl"] = score_divergence(scores_HGG, own_HGG, valid_B, config.score_temperature)
        terms |= {name: value_B.sum() for name, value_B in found.items()}
    if config.english > 0:
        terms["english"] = _price_english(batch, encode, config, cost, solver)
    return terms, plans


def _price_english(batch: Batch, encode: Encode, config: ObjectiveConfig, cost: GroundCost, solver: SinkhornConfig) -> Tensor:
    """The student's English against the teacher's tokens of the same sentences, as DR.DECR (arXiv 2112.08185) shows the student English
    too; both centred by the teacher's mean, also where foreign tokens lose their language's."""
    ids_BK, attention_BK, content_BK = batch.english_ids_BK, batch.english_attention_BK, batch.english_content_BK
    assert ids_BK is not None and attention_BK is not None and content_BK is not None, NO_ENGLISH
    english_BKD = encode(ids_BK, attention_BK)
    masks = content_BK, batch.teacher_mask_BM
    if config.english_by == "transport":
        return transport_loss(english_BKD, masks[0], batch.teacher_BMD, masks[1], cost, solver).value_B.sum()
    price = greedy_loss if config.english_by == "greedy" else pooled_loss
    return price(cost.normalise(english_BKD), masks[0], cost.normalise(batch.teacher_BMD), masks[1]).sum()
