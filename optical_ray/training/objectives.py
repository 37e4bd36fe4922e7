"""What a batch costs. Sums over pairs divided by global counts: a pair's share never depends on the worker it sits on.

B pairs of one worker, G pairs of a group, N student tokens, L languages, D dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optical_ray.data.batches import Batch
from optical_ray.runs import names
from optical_ray.training.centres import LanguageCentres
from optical_ray.training.config import ObjectiveConfig
from optical_ray.training.parallel import Parallel
from optical_ray.training.protocols import Encode, Priced
from optical_ray.training.terms import count_pairs, price_terms
from optical_ray.transport.config import SinkhornConfig
from optical_ray.transport.cost import GroundCost
from optical_ray.transport.plan import Diagnostics, diagnose

PLANS = "plans"  # of `Priced.kept`: TransportPlan.table
LANGUAGE_SUMS = "language_sums"  # and LanguageCentres.sums, [L, D + 1]


@dataclass(frozen=True, slots=True)
class Losses:
    """A worker's whole part of a global batch, priced at once."""

    total: Tensor
    """As in `Priced`."""
    scalars: dict[str, float]
    """Global means, equal on every worker, by metric name."""


@dataclass(frozen=True, slots=True)
class Distillation:
    """The weighted sum of the terms in play, on one ground cost (centre and all) shared by every term."""

    config: ObjectiveConfig
    cost: GroundCost
    solver: SinkhornConfig
    group: int
    parallel: Parallel
    centres: LanguageCentres | None = None
    """Of the training state, with `cost.centre=language-mean`: read here, updated after a step that was taken."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """Pairs of the *global* batch that each term in play divides by, by its field in `ObjectiveConfig`; at least 1.

        They are known before the student reads anything, so that a worker's part can be priced in pieces. Every worker must ask.
        """
        counted = count_pairs(batch, self.config, self.solver)
        reduced = self.parallel.sum(torch.stack([count.double() for count in counted.values()]))
        return {name: max(count, 1.0) for name, count in zip(counted, reduced.tolist(), strict=True)}

    def price(self, student: Encode, batch: Batch, counts: Mapping[str, float]) -> Priced:
        """Price some whole groups of a worker's part; asks nothing of the other workers.

        The transport plan is solved (and its diagnostics told) only where the transport term is in play.

        Args:
            student: (ids_BN, attention_BN) -> token vectors [B, N, D].
            batch: Any whole groups.
            counts: What `counts` gave for the worker's part.
        """
        student_BND = student(batch.ids_BN, batch.attention_BN)
        sums_LD1: Tensor | None = None
        if self.centres is not None:
            seen = student_BND.detach(), batch.content_BN, batch.language_B
            sums_LD1 = self.centres.sums(*seen)
            shift_BD = -self.centres.of_pairs(*seen, self.group)
            if self.cost.centre_D is not None:
                shift_BD = shift_BD + self.cost.centre_D  # which the cost will take off again
            student_BND = student_BND + shift_BD[:, None, :]
        terms, plans = price_terms(student_BND, batch, student, self.config, self.cost, self.solver, self.group)
        total = torch.stack([self.config.weights[name] * value * (1.0 / counts[name]) for name, value in terms.items()]).sum()
        sums = {name: value.detach().double() for name, value in terms.items()}
        kept = {} if plans is None else {PLANS: plans.plan.table()}
        return Priced(total, sums, kept | ({} if sums_LD1 is None else {LANGUAGE_SUMS: sums_LD1}))

    def scalars(self, parts: Sequence[Priced], counts: Mapping[str, float]) -> dict[str, float]:
        """Global means by metric name, equal on every worker. Every worker must ask, with all parts of its own in their order."""
        reduced = self.parallel.sum(torch.stack([torch.stack([part.sums[name] for part in parts]).sum() for name in counts]))
        means = {name: total / counts[name] for name, total in zip(counts, reduced.tolist(), strict=True)}
        scalars = {names.LOSS_OF_TERM[name]: mean for name, mean in means.items()}
        scalars[names.LOSS] = sum(self.config.weights[name] * mean for name, mean in means.items())
        tables = [part.kept[PLANS] for part in parts if PLANS in part.kept]
        return scalars | (transport_scalars(diagnose(self.parallel.gather(torch.cat(tables)))) if tables else {})

    def step_taken(self, parts: Sequence[Priced]) -> None:
        """Take the global batch into the languages' centres, where there are any. Every worker must call, with all parts of its own."""
        if self.centres is not None:
            self.centres.update(self.parallel.sum(torch.stack([part.kept[LANGUAGE_SUMS] for part in parts]).sum(0)))

    def __call__(self, student: Encode, batch: Batch) -> Losses:
        """Price a worker's whole part of a global batch at once. Every worker must ask."""
        counts = self.counts(batch)
        priced = self.price(student, batch, counts)
        return Losses(priced.total, self.scalars([priced], counts))


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
