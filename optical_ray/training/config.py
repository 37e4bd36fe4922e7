"""What is optimised, and how long."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from optical_ray.config import Config


class ObjectiveConfig(Config):
    """A weighted sum of terms; a weight of 0 leaves a term out. The untrained control is `training.max_steps=0`."""

    transport: NonNegativeFloat = 1.0
    """Weight of <T, C>, the optimal-transport distillation loss (OPTICAL, arXiv 2301.12566)."""
    contrastive: NonNegativeFloat = 0.0
    """Weight of the in-batch contrastive loss (InfoNCE) of student against teacher sentences."""
    temperature: PositiveFloat = 0.05
    """Softmax temperature of the contrastive term."""
    scorer: Literal["maxsim", "pooled"] = "maxsim"
    """What the contrastive term scores a pair by: MaxSim of student query against teacher document, or the cosine of mean tokens; both on
    the centred tokens that the ground cost uses."""

    @property
    def arm(self) -> str:
        """The terms in play, as tables and figures name them."""
        names = [name for name, weight in (("OT", self.transport), ("contrastive", self.contrastive)) if weight > 0]
        return " + ".join(names) or "none"


class TrainingConfig(Config):
    """Optimiser and length. Steps, not seconds: the same recipe does the same work on any machine."""

    max_steps: NonNegativeInt = 600
    """Global batches; 0: the student stays as it was initialised."""
    learning_rate: PositiveFloat = 2e-3
    """Peak rate of the encoder's body (AdamW)."""
    embedding_learning_rate: PositiveFloat = 1e-2
    """Peak rate of the word embeddings, which see each row rarely."""
    projection_learning_rate: PositiveFloat = 1e-3
    """Peak rate of the projection into the teacher's space."""
    warmup_share: float = Field(default=0.05, ge=0.0, le=1.0)
    """Share of the steps in which the rates rise linearly from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the rates fall after the warm-up; linear and cosine end at 0."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled decay of matrices; biases, norms and word embeddings have none."""
    beta2: float = Field(default=0.98, gt=0.0, lt=1.0)
    """Decay of AdamW's second moment; its first is 0.9."""
    max_grad_norm: PositiveFloat = 2.0
    """Gradients are clipped to this L2 norm."""
    report_every: PositiveInt = 50
    """Steps between two reports (losses, diagnostics); the last step always reports."""
    validate_every: PositiveInt = 300
    """Steps between two validations; the last step always validates."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints; a killed trial redoes at most these."""
