"""What training changes: the student, the optimiser, the position. Nothing else is needed to continue."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import AdamW

from optical_ray.encoders.student import Student
from optical_ray.training.config import TrainingConfig


@dataclass(slots=True)
class TrainingState:
    """A student in training. `step` counts the global batches it has learnt from."""

    student: Student
    optimizer: AdamW
    step: int = 0

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
    """A fresh state: AdamW (Loshchilov & Hutter 2019), fused, with the embedding tables in a group of their own."""
    embeddings = {id(parameter) for parameter in student.embedding_parameters()}
    body = [parameter for parameter in student.parameters() if id(parameter) not in embeddings]
    groups = [
        {"params": student.embedding_parameters(), "peak": config.embedding_learning_rate, "weight_decay": 0.0},
        {"params": [p for p in body if p.dim() >= 2], "peak": config.learning_rate, "weight_decay": config.weight_decay},
        {"params": [p for p in body if p.dim() < 2], "peak": config.learning_rate, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return TrainingState(student, AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True), 0)


def body_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the last group: the body's, for reports."""
    return float(optimizer.param_groups[-1]["lr"])
