"""Recipe: everything that determines a number. Resources stands beside it: where and how many, which determines none."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from optical_ray.artifacts import fingerprint
from optical_ray.config import Config
from optical_ray.data.corpus_config import CorpusConfig
from optical_ray.data.plan_config import BatchConfig
from optical_ray.encoders.config import StudentConfig, TeacherConfig, TokenizerConfig
from optical_ray.errors import ResourceError
from optical_ray.languages.mixing import MixingConfig
from optical_ray.languages.sets import LanguageSetConfig
from optical_ray.retrieval.config import EvaluationConfig
from optical_ray.training.config import ObjectiveConfig, TrainingConfig
from optical_ray.training.pretraining_config import PretrainingConfig
from optical_ray.transport.config import CostConfig, SinkhornConfig


class Recipe(Config):
    """One distillation, from bitext to per-query outcomes. Frozen; two equal recipes give equal numbers at equal threads."""

    corpus: CorpusConfig = CorpusConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    teacher: TeacherConfig = TeacherConfig()
    student: StudentConfig = StudentConfig()
    pretraining: PretrainingConfig = PretrainingConfig()
    languages: LanguageSetConfig = LanguageSetConfig()
    mixing: MixingConfig = MixingConfig()
    batch: BatchConfig = BatchConfig()
    cost: CostConfig = CostConfig()
    transport: SinkhornConfig = SinkhornConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    seed: int = Field(default=0, ge=0)
    """Root of every random choice of the trial: initial weights, order of the rows, dropout."""

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.training.max_steps > 0 and self.objective.arm == "none":
            raise ValueError("every weight of objective is 0; set one, or training.max_steps=0 for the untrained control")
        return self

    @property
    def fingerprint(self) -> str:
        """40 hex digits of everything above, but for the fields that only say where something is computed."""
        return fingerprint(self.identity())

    @property
    def trial_id(self) -> str:
        """The trial's name everywhere: the first 12 hex digits of the fingerprint."""
        return self.fingerprint[:12]

    @property
    def arm(self) -> str:
        """What was trained: `OT`, `OT + contrastive`, `greedy`, ..., or `none` (the untrained control)."""
        return self.objective.arm if self.training.max_steps > 0 else "none"


class Resources(Config):
    """Where a trial runs. Recorded, never fingerprinted: it may change the last bits of a sum, never the result's meaning."""

    workers: PositiveInt = 1
    """Data-parallel workers; 1 runs in the trial's own process, without Ray Train."""
    threads: PositiveInt = 1
    """Torch threads of each worker. Bit-for-bit repetition needs equal threads."""
    gpus_per_worker: float = Field(default=0.0, ge=0.0)
    """GPUs reserved for each worker; below 1, workers share one."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where student and transport run."""

    @property
    def gpus(self) -> float:
        """Reserved for a trial, all workers together."""
        return self.workers * self.gpus_per_worker

    @property
    def other_cpus(self) -> float:
        """CPUs that a trial reserves for processes other than its own: those of its workers, where it has several."""
        return float(self.workers * self.threads) if self.workers > 1 else 0.0

    def trials_on(self, cores: int) -> int:
        """Trials at a time that a machine runs without sharing its cores; at least 1."""
        return max(1, cores // (self.workers * self.threads))

    def check(self, recipe: Recipe) -> None:
        """Raise ResourceError when the recipe's batch cannot be dealt out to the workers, or its solver does not run on the device."""
        if recipe.transport.backend == "triton" and self.device == "cpu":
            raise ResourceError("transport.backend=triton needs a GPU (--device cuda); use transport.backend=auto")
        if recipe.transport.backend == "cpu" and self.device == "cuda":
            raise ResourceError("transport.backend=cpu cannot read tensors on a GPU; use transport.backend=auto, or --device cpu")
        self._check_batch("batch", recipe.batch, recipe.student.max_tokens)
        if recipe.pretraining.training.max_steps > 0:
            self._check_batch("pretraining.batch", recipe.pretraining.batch, recipe.student.max_tokens)
        if self.device == "cuda":
            import torch

            if not torch.cuda.is_available():
                raise ResourceError("device cuda: this machine has no CUDA device that torch can use; use device=cpu")

    def _check_batch(self, name: str, batch: BatchConfig, max_tokens: int) -> None:
        groups = batch.fewest_groups(max_tokens)
        if batch.tokens is not None and self.workers > groups:
            raise ResourceError(
                f"{self.workers} workers, but a step of {name}.tokens={batch.tokens} may hold only {groups} groups of "
                f"{batch.group} pairs; raise {name}.tokens, lower {name}.group or the number of workers"
            )
        if batch.tokens is None and groups % self.workers:
            raise ResourceError(
                f"{self.workers} workers cannot share {groups} groups of {batch.group} pairs evenly; "
                f"lower {name}.group ({name}.pairs={batch.pairs}) or change the number of workers"
            )
