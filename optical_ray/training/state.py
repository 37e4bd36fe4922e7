"""What training changes: the model, the optimiser, the position. Nothing else is needed to continue."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import nn
from torch.optim import AdamW

from optical_ray.data.plan import START, Position
from optical_ray.encoders.trainable import Trainable
from optical_ray.training.centres import LanguageCentres
from optical_ray.training.config import TrainingConfig

M = TypeVar("M", bound=Trainable)


class Best(NamedTuple):
    """The best validation so far."""

    step: int
    objective: float


@dataclass(slots=True)
class TrainingState(Generic[M]):
    """A model in training. `step` counts the global batches that it has been shown."""

    model: M
    optimizer: AdamW
    step: int = 0
    position: Position = START
    """Of the next global batch in the plan."""
    micro_groups: int | None = None
    """Groups that a worker reads at once, where it has been asked for or memory ran out: a resumed training sums in the same pieces."""
    skipped: int = 0
    """Steps that left the model as it was, because something was NaN or infinite."""
    best: Best | None = None
    centres: LanguageCentres | None = None
    """With `cost.centre=language-mean`: of the steps so far."""

    def set_rates(self, config: TrainingConfig) -> None:
        """Set the learning rates of the coming step: a pure function of the step."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate_factor(config, self.step)

    def clip_gradients(self, max_grad_norm: float) -> float:
        """Clip; returns the L2 norm of the gradient before.

        As `clip_grad_norm_`, bit for bit, which multiplies every gradient by 1 where the norm is small enough: of a multilingual encoder
        that is a pass over half a gigabyte for nothing.
        """
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters if parameter.grad is not None])
        if not float(norm + 1e-6) <= max_grad_norm:  # 1e-6: as torch has it; NaN is clipped too
            nn.utils.clip_grads_with_norm_(parameters, max_grad_norm, norm)
        return float(norm)

    def drop_gradients(self) -> None:
        """Forget the gradients, and free their memory."""
        self.optimizer.zero_grad(set_to_none=True)

    def note_validation(self, objective: float) -> bool:
        """Whether the model of this step is better than every validated one before; it is the best from then on."""
        better = self.best is None or objective > self.best.objective
        if better:
            self.best = Best(self.step, objective)
        return better


def rate_factor(config: TrainingConfig, step: int) -> float:
    """Share of the peak learning rate at a step (0-based): linear warm-up, then the schedule."""
    warmup = math.ceil(config.warmup_share * config.max_steps)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, config.max_steps - warmup)
    if config.schedule == "linear":
        return 1.0 - progress
    if config.schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0


def start_training(model: M, config: TrainingConfig) -> TrainingState[M]:
    """A fresh state: AdamW (Loshchilov & Hutter 2019), fused; word embeddings, head and body each at a rate of their own."""
    chosen = {id(parameter): "embedding" for parameter in model.embedding_parameters()}
    chosen |= {id(parameter): "projection" for parameter in model.head_parameters()}
    rates = {"embedding": config.embedding_learning_rate, "projection": config.projection_learning_rate, "body": config.learning_rate}
    groups: dict[tuple[str, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        kind = chosen.get(id(parameter), "body")
        decay = config.weight_decay if parameter.dim() >= 2 and kind != "embedding" else 0.0
        groups.setdefault((kind, decay), []).append(parameter)
    settings = [
        {"params": parameters, "kind": kind, "peak": rates[kind], "weight_decay": decay} for (kind, decay), parameters in groups.items()
    ]
    optimizer = AdamW(settings, lr=config.learning_rate, betas=(0.9, config.beta2), eps=1e-8, fused=True)
    return TrainingState(model, optimizer, micro_groups=config.micro_groups)


def body_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the encoder's body, for reports; of the embeddings where there is no body."""
    return next((float(group["lr"]) for group in optimizer.param_groups if group["kind"] == "body"), float(optimizer.param_groups[0]["lr"]))
