"""What the student's encoder reads before distillation, and for how long."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from optical_ray.config import Config
from optical_ray.data.plan_config import BatchConfig
from optical_ray.languages.mixing import MixingConfig
from optical_ray.languages.sets import LanguageSetConfig
from optical_ray.training.config import TrainingConfig


class PretrainingConfig(Config):
    """Masked-LM pre-training of the student's encoder on a language set of its own (docs/pretraining.md).

    `training.max_steps=0`, the default, leaves it out. Trials that differ in their distillation alone share one pre-training.
    """

    training: TrainingConfig = TrainingConfig(
        max_steps=0,
        learning_rate=2e-3,
        embedding_learning_rate=2e-3,
        projection_learning_rate=2e-3,
        report_every=100,
        validate_every=1000,
        checkpoint_every=500,
    )
    """As of distillation; `projection_learning_rate` is that of the masked-LM head, `evaluate_checkpoint` says what is kept ("best": lowest
    validation loss over the languages in pre-training)."""
    corpus: str | None = None
    """Folder of a corpus that `optical data build --out` made: text alone (`kind=text`), or bitext, of which the foreign side is read.
    None: the recipe's own corpus."""
    languages: LanguageSetConfig = LanguageSetConfig()
    """The pre-training set; an empty pool: the pool of the recipe's own `languages`."""
    mixing: MixingConfig = MixingConfig()
    """Text budget, in rows (`pairs`) or tokens, in all or for each language, and sampling temperature."""
    batch: BatchConfig = BatchConfig()
    """One global batch; a "pair" is one text here."""
    mask_probability: float = Field(default=0.15, ge=0.01, le=0.9)
    """Share of the content tokens that are to be guessed: of these 80 % are shown as [MASK], 10 % as a random token, 10 % as they are
    (Devlin et al. 2019, arXiv 1810.04805)."""
    valid_rows: PositiveInt = 200
    """Validation rows of each language of the pool, seen in pre-training or not, that the loss is measured on."""
    seed: int = Field(default=0, ge=0)
    """Root of its initial weights, order of rows, masks and dropout. Apart from the recipe's seed, so that several distillation seeds share
    one pre-training."""
    normalise: bool = True
    """Give the embeddings the mean and spread back that they began with: masked-LM makes them longer and adds one common vector to all,
    which distillation would see as an effect of pre-training (docs/decisions/017)."""
