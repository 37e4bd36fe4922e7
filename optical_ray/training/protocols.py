"""What the loop asks of a batch and an objective: distillation, masked-LM pre-training and teacher training bring one of each.

B pairs (sentences, queries) of one worker, N tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self, TypeVar

from torch import Tensor

Encode = Callable[[Tensor, Tensor], Tensor]
"""(ids_BN, attention_BN) -> token vectors [B, N, D]: the model, or the model under autocast."""


class TrainingBatch(Protocol):
    """One worker's part of a global batch."""

    @property
    def language_B(self) -> Tensor:
        """Index of each pair's language, int64."""

    def part(self, pairs: slice) -> Self:
        """Some of the pairs."""

    def to(self, device: str) -> Self:
        """The batch on a device."""


B = TypeVar("B", bound=TrainingBatch)
Read = TypeVar("Read", bound=TrainingBatch, contravariant=True)


@dataclass(frozen=True, slots=True)
class Priced:
    """Some whole groups of a global batch, priced."""

    total: Tensor
    """What to call backward on: these pairs' share of the global mean. Over all parts of all workers, gradients add up to its gradient."""
    sums: dict[str, Tensor]
    """Sum over these pairs, float64, of each term in play, by its name in `counts`; detached."""
    kept: dict[str, Tensor] = field(default_factory=dict)
    """What else the objective wants to see again once all parts are priced; detached."""

    def without_graph(self) -> Priced:
        """What is left to be kept after the backward pass."""
        return replace(self, total=self.total.detach())


class Objective(Protocol[Read]):
    """Prices batches. `counts`, `scalars` and `step_taken` are collectives: every worker asks. `price` is none: one alone may fail."""

    @property
    def group(self) -> int:
        """Pairs that are priced together."""

    def counts(self, batch: Read) -> dict[str, float]:
        """Of the *global* batch, what the mean of each term in play divides by, at least 1: known before the model reads anything."""

    def price(self, model: Encode, batch: Read, counts: Mapping[str, float]) -> Priced:
        """Price some whole groups of a worker's part."""

    def scalars(self, parts: Sequence[Priced], counts: Mapping[str, float]) -> dict[str, float]:
        """Global means by metric name, `names.LOSS` among them; equal on every worker."""

    def step_taken(self, parts: Sequence[Priced]) -> None:
        """The optimiser has taken the step that these parts of this worker led to."""
