"""Token clouds and their scores. Clouds are ragged, so no padded token can ever win a maximum.

Q queries, C candidates, T tokens of all texts together, D dimensions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize

from optical_ray.encoders.config import Scorer

SCORERS: tuple[Scorer, ...] = get_args(Scorer)


@dataclass(frozen=True, slots=True)
class TokenClouds:
    """Content tokens of many texts: text i owns the `lengths[i]` rows that follow those of text i - 1."""

    vectors_TD: Tensor
    """float32 [T, D]."""
    lengths: Tensor
    """int64 [texts]; sums to T."""

    def __len__(self) -> int:
        return len(self.lengths)

    def centred(self, centre_D: Tensor | None) -> TokenClouds:
        """The clouds with `centre_D` subtracted and every token L2-normalised: ready to be scored."""
        vectors_TD = self.vectors_TD if centre_D is None else self.vectors_TD - centre_D
        return TokenClouds(normalize(vectors_TD, dim=1), self.lengths)

    def select(self, chosen: Tensor) -> TokenClouds:
        """The clouds of some texts, in the order given (int64 indices)."""
        starts = self.lengths.cumsum(0) - self.lengths
        lengths = self.lengths[chosen]
        first = torch.repeat_interleave(starts[chosen] - (lengths.cumsum(0) - lengths), lengths)
        return TokenClouds(self.vectors_TD[first + torch.arange(len(first))], lengths)

    def pool(self) -> Tensor:
        """The L2-normalised mean token of every text, [texts, D]; zero for a text without tokens."""
        return normalize(_segment_sum(self.vectors_TD, self.lengths), dim=1)

    def within_cosine(self) -> float:
        """Mean cosine between different tokens of one text, over texts with at least two; NaN when there is none.

        Near 1, the tokens of a sentence all point the same way: the cloud has collapsed.
        """
        unit_TD = normalize(self.vectors_TD, dim=1)
        squared = _segment_sum(unit_TD, self.lengths).square().sum(1)
        several = self.lengths >= 2
        lengths = self.lengths[several].to(squared.dtype)
        return ((squared[several] - lengths) / (lengths * (lengths - 1))).mean().item()

    def common_share(self) -> float:
        """Squared length of the mean unit token of all texts: 0 where tokens point everywhere, 1 where all point the same way."""
        return normalize(self.vectors_TD, dim=1).mean(0).square().sum().item()


def _segment_sum(values: Tensor, lengths: Tensor) -> Tensor:
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    return values.new_zeros(len(lengths), values.shape[1]).index_add_(0, owner, values)


def _best_match(similarity_TT: Tensor, document: TokenClouds, query: TokenClouds) -> Tensor:
    """Mean over a query's tokens of the best document token, [Q, C], from similarities [document tokens, query tokens]."""
    best_CT = torch.segment_reduce(similarity_TT, "max", lengths=document.lengths, axis=0, initial=-torch.inf)
    return _segment_sum(best_CT.T.contiguous(), query.lengths) / query.lengths.clamp_min(1)[:, None]


def score(query: TokenClouds, document: TokenClouds, scorers: Collection[Scorer]) -> dict[Scorer, Tensor]:
    """Scores [Q, C] of every query against every document, by scorer. Tokens must be L2-normalised (`TokenClouds.centred`).

    `maxsim` is late interaction (Khattab & Zaharia 2020): each query token's best document token, averaged over the query's tokens (the
    mean, not the sum: every ranking stays as it is, and scores of queries become comparable). `maxsim-symmetric` is the mean of MaxSim in
    both directions: in sentences that translate each other, the document's tokens must be met too. `pooled` is the cosine of the mean
    tokens. A query without tokens scores 0 everywhere, a document without tokens -inf (pooled: 0).
    """
    found: dict[Scorer, Tensor] = {}
    if "maxsim" in scorers or "maxsim-symmetric" in scorers:
        similarity_TT = document.vectors_TD @ query.vectors_TD.T
        forward_QC = _best_match(similarity_TT, document, query)
        if "maxsim" in scorers:
            found["maxsim"] = forward_QC
        if "maxsim-symmetric" in scorers:
            found["maxsim-symmetric"] = (forward_QC + _best_match(similarity_TT.T.contiguous(), query, document).T) / 2
    if "pooled" in scorers:
        found["pooled"] = query.pool() @ document.pool().T
    return found
