"""What a teacher learns from relevance: its scores of the documents of a group, and two losses on them.

B queries of one worker in groups of G, K documents of a query (the relevant one first), U different documents of a group, N query tokens,
M document tokens, P known positives of a query, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import torch
from pydantic import NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from torch.utils.checkpoint import checkpoint

from optical_ray.config import Config
from optical_ray.data.relevance.batches import NO_DOCUMENT, RelevanceBatch
from optical_ray.runs import names
from optical_ray.training.contrastive import NO_TOKEN
from optical_ray.training.parallel import Parallel
from optical_ray.training.pooling import mean_tokens
from optical_ray.training.protocols import Encode, Priced

LOSS_OF_TERM = {"contrastive": names.LOSS_CONTRASTIVE, "kl": names.LOSS_SCORE_KL}


class RelevanceObjectiveConfig(Config):
    """A weighted sum of two terms on one set of scores; a weight of 0 leaves a term out."""

    contrastive: NonNegativeFloat = 1.0
    """Weight of finding the relevant document among the documents of the group: in-batch and hard negatives (nats per query)."""
    kl: NonNegativeFloat = 0.0
    """Weight of the divergence of the model's scores from given ones, among a query's own documents (nats per query that has them)."""
    scorer: Literal["maxsim", "pooled"] = "maxsim"
    """MaxSim (mean over a query's tokens of the best document token), or the cosine of mean tokens."""
    temperature: PositiveFloat = 0.05
    """Divides the model's scores, which lie between -1 and 1. ColBERT's sum over 32 query tokens is 1/32."""
    given_temperature: PositiveFloat = 1.0
    """Divides the given scores, in their own unit: 1 for logits of a cross-encoder."""

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term in play, by its field."""
        return {term: getattr(self, term) for term in LOSS_OF_TERM if getattr(self, term) > 0}

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if not self.weights:
            raise ValueError("contrastive and kl are both 0; give one a weight")
        return self


@dataclass(frozen=True, slots=True)
class Relevance:
    """Late interaction (Khattab & Zaharia 2020, arXiv 2004.12832), trained with in-batch and hard negatives and with given scores.

    Documents of a group are encoded in chunks under non-reentrant checkpoints that hold their scores alone: the activations of one chunk
    live at a time, as with gradient caching (GradCache, arXiv 2101.06983), at the price of a second forward pass.
    """

    config: RelevanceObjectiveConfig
    group: int
    parallel: Parallel
    chunk: int | None = None
    """Texts that are encoded at once; None: all of a group."""

    def counts(self, batch: RelevanceBatch) -> dict[str, float]:
        """Queries of the *global* batch that each term in play is a mean over, by its field; at least 1. Every worker must ask."""
        told = {"contrastive": _findable(batch), "kl": _compared(batch).sum(1) >= 2}
        reduced = self.parallel.sum(torch.stack([told[term].sum().double() for term in self.config.weights]))
        return {term: max(count, 1.0) for term, count in zip(self.config.weights, reduced.tolist(), strict=True)}

    def price(self, model: Encode, batch: RelevanceBatch, counts: Mapping[str, float]) -> Priced:
        """Price some whole groups of a worker's part; asks nothing of the other workers.

        Args:
            model: (ids_BN, attention_BN) -> token vectors [B, N, D].
            batch: Any whole groups.
            counts: What `counts` gave for the worker's part.
        """
        sums: dict[str, Tensor] = {}
        for first in range(0, len(batch.language_B), self.group):
            part = batch.part(slice(first, first + self.group))
            for term, value in self._price_group(model, part).items():
                sums[term] = sums[term] + value if term in sums else value
        total = torch.stack([self.config.weights[term] * value * (1.0 / counts[term]) for term, value in sums.items()]).sum()
        return Priced(total, {term: value.detach().double() for term, value in sums.items()})

    def _price_group(self, model: Encode, group: RelevanceBatch) -> dict[str, Tensor]:
        scores_GU, number_U, place_GK = score_group(model, group, self.config.scorer, self.chunk)
        terms: dict[str, Tensor] = {}
        if "contrastive" in self.config.weights:
            known_GU = (number_U[None, :, None] == group.known_BP[:, None, :]).any(2)
            present_GK = group.document_content_BKM.any(2)
            empty_U = torch.ones_like(number_U, dtype=torch.bool).index_fill(0, place_GK[present_GK], False)
            value_G = find_loss(scores_GU / self.config.temperature, place_GK[:, 0], known_GU | empty_U, _findable(group))
            terms["contrastive"] = value_G.sum()
        if "kl" in self.config.weights:
            scores_GK = scores_GU.gather(1, place_GK) / self.config.temperature
            terms["kl"] = given_divergence(scores_GK, group.scores_BK / self.config.given_temperature, _compared(group)).sum()
        return terms

    def scalars(self, parts: Sequence[Priced], counts: Mapping[str, float]) -> dict[str, float]:
        """Global means by metric name, equal on every worker. Every worker must ask, with all parts of its own in their order."""
        reduced = self.parallel.sum(torch.stack([torch.stack([part.sums[term] for part in parts]).sum() for term in counts]))
        means = {term: total / counts[term] for term, total in zip(counts, reduced.tolist(), strict=True)}
        total = sum(self.config.weights[term] * mean for term, mean in means.items())
        return {LOSS_OF_TERM[term]: mean for term, mean in means.items()} | {names.LOSS: total}

    def step_taken(self, parts: Sequence[Priced]) -> None:
        """Nothing is remembered from step to step."""


def _findable(batch: RelevanceBatch) -> Tensor:
    """Queries with tokens whose relevant document has some, bool [B]."""
    return batch.query_content_BN.any(1) & batch.document_content_BKM[:, 0].any(1)


def _compared(batch: RelevanceBatch) -> Tensor:
    """Documents with tokens and a given score, of queries with tokens, bool [B, K]."""
    return batch.document_content_BKM.any(2) & batch.scores_BK.isfinite() & batch.query_content_BN.any(1)[:, None]


def score_group(
    model: Encode, group: RelevanceBatch, scorer: Literal["maxsim", "pooled"], chunk: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of every query of a group for every different document of it, each encoded once.

    Returns:
        Scores [G, U], differentiable, finite everywhere; documents' numbers, int64 [U], ascending; and where among them each query's own
        documents are, int64 [G, K], 0 where there is none.
    """
    document_T = group.document_BK.flatten()
    held_T = (document_T != NO_DOCUMENT).nonzero()[:, 0]
    number_U, inverse_T = torch.unique(document_T[held_T], return_inverse=True)
    first_U = held_T.new_full((len(number_U),), len(document_T)).scatter_reduce(0, inverse_T, held_T, "amin")
    place_T = torch.zeros_like(document_T).index_copy(0, held_T, inverse_T)
    sides = (group.document_ids_BKM, group.document_attention_BKM, group.document_content_BKM)
    ids_UM, attention_UM, content_UM = (side.flatten(0, 1)[first_U] for side in sides)

    def read_queries(ids_BN: Tensor, attention_BN: Tensor) -> Tensor:
        return normalize(model(ids_BN, attention_BN), dim=2)

    query_GND = torch.cat(_in_chunks(read_queries, (group.query_ids_BN, group.query_attention_BN), chunk))

    def score_documents(query_GND: Tensor, ids_BM: Tensor, attention_BM: Tensor, content_BM: Tensor) -> Tensor:
        document_BMD = normalize(model(ids_BM, attention_BM), dim=2)
        return score_padded(query_GND, group.query_content_BN, document_BMD, content_BM, scorer)

    order_U = attention_UM.sum(1).argsort(stable=True)  # so that a chunk holds texts of like length, and little padding
    sorted_sides = (ids_UM[order_U], attention_UM[order_U], content_UM[order_U])
    scores_GU = torch.cat(_in_chunks(score_documents, sorted_sides, chunk, query_GND), dim=1)
    return scores_GU[:, order_U.argsort()], number_U, place_T.view_as(group.document_BK)


def _in_chunks(function: Callable[..., Tensor], sides: tuple[Tensor, ...], chunk: int | None, *fixed: Tensor) -> list[Tensor]:
    """What a function gives of some rows at a time, cut to their longest text (the second of the sides says where a text ends)."""
    count, width = sides[0].shape
    if chunk is None or count <= chunk:
        return [function(*fixed, *sides)]
    parts = []
    for first in range(0, count, chunk):
        rows = [side[first : first + chunk] for side in sides]
        longest = max(1, int(rows[1].sum(1).max())) if fixed else width  # queries are put together again, so they keep their width
        parts.append(checkpoint(function, *fixed, *(row[:, :longest] for row in rows), use_reentrant=False))
    return parts


def score_padded(
    query_GND: Tensor, query_content_GN: Tensor, document_UMD: Tensor, content_UM: Tensor, scorer: Literal["maxsim", "pooled"]
) -> Tensor:
    """Scores [G, U] of padded texts, differentiable: as `encoders.interaction.score` gives them of ragged ones, but finite.

    A document without tokens scores NO_TOKEN, below all others; a query without tokens 0.

    Args:
        query_GND: Tokens of length 1, anything at padding.
        query_content_GN: True at tokens that are scored.
        document_UMD: Tokens of length 1, anything at padding.
        content_UM: True at tokens that are scored.
        scorer: Which.
    """
    if scorer == "pooled":
        return mean_tokens(query_GND, query_content_GN) @ mean_tokens(document_UMD, content_UM).T
    similarity_GNUM = torch.einsum("gnd,umd->gnum", query_GND, document_UMD).masked_fill(~content_UM, NO_TOKEN)
    best_GNU = similarity_GNUM.max(3).values  # of equal ones the first alone has a gradient
    total_GU = (best_GNU * query_content_GN[:, :, None]).sum(1)
    return total_GU / query_content_GN.sum(1).clamp_min(1)[:, None]


def find_loss(scores_GU: Tensor, target_G: Tensor, hidden_GU: Tensor, valid_G: Tensor) -> Tensor:
    """-log softmax of the relevant document among those of the group (InfoNCE, van den Oord et al. 2018), nats per query [G].

    Args:
        scores_GU: Divided by the temperature.
        target_G: Where each query's relevant document is, int64.
        hidden_GU: Documents that are no negatives of a query: known to be relevant to it, or without tokens. Its target stays.
        valid_G: Query and relevant document have tokens; the others cost 0.
    """
    target_GU = torch.zeros_like(hidden_GU).scatter(1, target_G[:, None], True)
    hidden_GU = hidden_GU & ~target_GU & valid_G[:, None]  # an invalid query keeps all: a row of -inf alone would be NaN
    value_G = cross_entropy(scores_GU.masked_fill(hidden_GU, -torch.inf), target_G, reduction="none")
    return value_G.masked_fill(~valid_G, 0.0)


def given_divergence(scores_GK: Tensor, given_GK: Tensor, compared_GK: Tensor) -> Tensor:
    """KL(given || model) over a query's own documents, nats per query [G] (soft targets: Hinton et al. 2015, arXiv 1503.02531; from a
    cross-encoder's scores to MaxSim: ColBERTv2, arXiv 2112.01488, section 3.2). 0 where fewer than two documents can be compared.

    Args:
        scores_GK: The model's, divided by its temperature.
        given_GK: Likewise given; anything where they are not compared.
        compared_GK: Documents that have tokens and a given score.
    """
    valid_G = compared_GK.sum(1) >= 2
    hidden_GK = ~compared_GK & valid_G[:, None]
    given_GK = given_GK.masked_fill(~compared_GK, 0.0).masked_fill(hidden_GK, -torch.inf)
    given_log, model_log = given_GK.log_softmax(1), scores_GK.masked_fill(hidden_GK, -torch.inf).log_softmax(1)
    difference_GK = (given_log - model_log).masked_fill(hidden_GK, 0.0)  # -inf less -inf
    return (given_log.exp() * difference_GK).sum(1).masked_fill(~valid_G, 0.0)
