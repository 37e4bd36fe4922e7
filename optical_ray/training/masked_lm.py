"""Masked-LM as an objective: cross entropy of the tokens to be guessed, over their number in the global batch.

B sentences of one worker, N tokens, T tokens to be guessed, V pieces, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from optical_ray.data.masking import IGNORED, MaskedBatch
from optical_ray.encoders.masked_lm import MaskedLanguageModel
from optical_ray.runs import names
from optical_ray.training.parallel import Parallel
from optical_ray.training.protocols import Encode, Priced

TERM = "masked_lm"


@dataclass(frozen=True, slots=True)
class MaskedLM:
    """Prices a batch by the true tokens' negative log probability, nats."""

    model: MaskedLanguageModel
    """Whose head guesses."""
    group: int
    parallel: Parallel
    bf16: bool = False
    """The head computes under autocast, as the encoder does; the cross entropy in float32."""

    def counts(self, batch: MaskedBatch) -> dict[str, float]:
        """Tokens to be guessed of the *global* batch, at least 1. Every worker must ask."""
        return {TERM: max(float(self.parallel.sum((batch.labels_BN != IGNORED).sum().double())), 1.0)}

    def price(self, model: Encode, batch: MaskedBatch, counts: Mapping[str, float]) -> Priced:
        """Price some whole groups of a worker's part; asks nothing of the other workers."""
        states_BND = model(batch.ids_BN, batch.attention_BN)
        loss = masked_cross_entropy(self.model, states_BND, batch.labels_BN, self.bf16).sum()
        if not loss.requires_grad:  # nothing to guess: a gradient of zero
            loss = loss + 0.0 * states_BND.sum()
        return Priced(loss * (1.0 / counts[TERM]), {TERM: loss.detach().double()})

    def scalars(self, parts: Sequence[Priced], counts: Mapping[str, float]) -> dict[str, float]:
        """Global mean, equal on every worker. Every worker must ask, with all parts of its own."""
        total = float(self.parallel.sum(torch.stack([part.sums[TERM] for part in parts]).sum()))
        mean = total / counts[TERM]
        return {names.LOSS: mean, names.LOSS_MASKED_LM: mean, names.MASKED_TOKENS: counts[TERM]}

    def step_taken(self, parts: Sequence[Priced]) -> None:
        """Nothing to take in."""


def masked_cross_entropy(model: MaskedLanguageModel, states_BND: Tensor, labels_BN: Tensor, bf16: bool = False) -> Tensor:
    """Negative log probability of each token to be guessed, nats, float32 [T]; scores are formed at these tokens alone."""
    chosen_BN = labels_BN != IGNORED
    with torch.autocast(states_BND.device.type, torch.bfloat16, enabled=bf16):
        scores_TV = model.guess(states_BND[chosen_BN])
    return cross_entropy(scores_TV if scores_TV.dtype == torch.float64 else scores_TV.float(), labels_BN[chosen_BN], reduction="none")
