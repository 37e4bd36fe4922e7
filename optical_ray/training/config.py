"""What is optimised, and how long."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from optical_ray.config import Config, where_field
from optical_ray.runs import names


class ObjectiveConfig(Config):
    """A weighted sum of terms; a weight of 0 leaves a term out. The untrained control is `training.max_steps=0`.

    All terms price the same tokens, centred as `cost.centre` says and of length 1, and all but `english` take the same one pass of the
    student's encoder over the foreign side (docs/objectives.md).
    """

    transport: NonNegativeFloat = 1.0
    """Weight of <T, C>, the optimal-transport distillation loss (OPTICAL, arXiv 2301.12566)."""
    greedy: NonNegativeFloat = 0.0
    """Weight of the squared error between tokens matched one to one, the nearest first (DR.DECR, arXiv 2112.08185)."""
    argmax: NonNegativeFloat = 0.0
    """Weight of the cosine distance of each student token to its nearest teacher token."""
    pooled_mse: NonNegativeFloat = 0.0
    """Weight of the squared error between mean tokens (Reimers & Gurevych 2020, arXiv 2004.09813)."""
    contrastive: NonNegativeFloat = 0.0
    """Weight of the in-batch contrastive loss (InfoNCE) of student against teacher sentences."""
    score_kl: NonNegativeFloat = 0.0
    """Weight of the divergence of the student's MaxSim scores from the teacher's own, among the sentences of a group."""
    english: NonNegativeFloat = 0.0
    """Weight of keeping the student's English near the teacher's. The one term that costs encoder passes of its own: one over the English
    side of every batch."""
    temperature: PositiveFloat = 0.05
    """Softmax temperature of the contrastive term."""
    scorer: Literal["maxsim", "pooled"] = "maxsim"
    """What the contrastive term scores a pair by: MaxSim of student query against teacher document, or the cosine of mean tokens; both on
    the centred tokens that the ground cost uses."""
    score_temperature: PositiveFloat = 0.05
    """Softmax temperature of the score-distillation term, of teacher and student alike."""
    english_by: Literal["transport", "greedy", "pooled"] = "pooled"
    """How the English term compares: by <T, C>, by greedy matching or by pooled MSE; none needs equal tokens, so tokenizers may differ."""

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term in play, by its field."""
        return {term: getattr(self, term) for term in names.LOSS_OF_TERM if getattr(self, term) > 0}

    @property
    def arm(self) -> str:
        """The terms in play, as tables and figures name them."""
        return names.name_arm(self.weights)


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
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the student's forward and backward pass; weights, ground cost, transport and sums stay float32. `auto`: bf16 (autocast) on a
    CUDA device that has it, fp32 elsewhere."""
    micro_groups: PositiveInt | None = where_field(None)
    """Groups of `batch.group` pairs that a worker reads at once; their gradients add up to those of the same global batch. None: its
    whole part. Halved on all workers together where one runs out of memory. With dropout its masks change. Not part of the fingerprint."""
    compile: bool = where_field(False)
    """Compile the student's encoder (torch.compile): pays on a GPU, after a minute. Not part of the fingerprint."""
    skip_nonfinite: NonNegativeInt = 0
    """Steps of a trial that may be left out, and counted, as their loss or gradient is NaN or infinite; the next one ends the trial."""
    report_every: PositiveInt = 50
    """Steps between two reports (losses, diagnostics); the last step always reports."""
    validate_every: PositiveInt = 300
    """Steps between two validations; the last step always validates."""
    checkpoint_every: PositiveInt = 200
    """Steps between two checkpoints; a killed trial redoes at most these. A validation that is the best so far makes one too."""
    evaluate_checkpoint: Literal["last", "best"] = "last"
    """Which student the test tasks see: of the last step, or of the best validation in training (`valid/Success@1`; first of equals)."""
