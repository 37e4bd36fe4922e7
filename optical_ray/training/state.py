"""What training changes: the student, the optimiser, the position. Nothing else is needed to continue."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import AdamW

from optical_ray.data.plan import START, Position
from optical_ray.encoders.student import Student
from optical_ray.training.config import TrainingConfig


@dataclass(slots=True)
class TrainingState:
    """A student in training. `step` counts the global batches it has learnt from."""

    student: Student
    optimizer: AdamW
    step: int = 0
    position: Position = START
    """Of the next global batch in the plan."""

    def set_rates(self, config: TrainingConfig) -> None:
        """Set the learning rates of the coming step: a pure function of the step."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate_factor(config, self.step)

    def optimizer_step(self, max_grad_norm: float) -> float:
        """Clip, step, clear; returns the L2 norm of the gradient before clipping."""
        norm = nn.utils.clip_grad_norm_(self.student.parameters(), max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(norm)


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


def start_training(student: Student, config: TrainingConfig) -> TrainingState:
    """A fresh state: AdamW (Loshchilov & Hutter 2019), fused; word embeddings, projection and body each at a rate of their own."""
    chosen = {id(parameter): "embedding" for parameter in student.embedding_parameters()}
    chosen |= {id(parameter): "projection" for parameter in student.projection.parameters()}
    rates = {"embedding": config.embedding_learning_rate, "projection": config.projection_learning_rate, "body": config.learning_rate}
    groups: dict[tuple[str, float], list[nn.Parameter]] = {}
    for parameter in student.parameters():
        kind = chosen.get(id(parameter), "body")
        decay = config.weight_decay if parameter.dim() >= 2 and kind != "embedding" else 0.0
        groups.setdefault((kind, decay), []).append(parameter)
    settings = [
        {"params": parameters, "kind": kind, "peak": rates[kind], "weight_decay": decay} for (kind, decay), parameters in groups.items()
    ]
    return TrainingState(student, AdamW(settings, lr=config.learning_rate, betas=(0.9, config.beta2), eps=1e-8, fused=True), 0)


def body_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the encoder's body, for reports; of the embeddings where there is no body."""
    return next((float(group["lr"]) for group in optimizer.param_groups if group["kind"] == "body"), float(optimizer.param_groups[0]["lr"]))
