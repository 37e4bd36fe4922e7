"""Which questions are asked of a student."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt, field_validator

from optical_ray.config import Config
from optical_ray.encoders.config import Scorer
from optical_ray.retrieval.formats.options import FormatOptions, Task

BITEXT = "bitext"
"""What the rows of a trial's own held-out bitext are called."""


class TaskConfig(Config):
    """A released data set that finished students are tested on."""

    task: Task
    """`tatoeba`, `lareqa`, ...: as `optical evaluate --task`."""
    path: str
    """Where its files are. Part of the fingerprint, as every path of a recipe is; what the files hold is not."""
    name: str | None = None
    """What its rows are called; None: the task's name."""
    options: FormatOptions = FormatOptions()
    """Which part of it is asked."""
    systems: tuple[str, ...] = ()
    """Rows beside the student's own (docs/evaluation.md); empty: all that this trial has."""

    @property
    def label(self) -> str:
        """What its rows are called."""
        return self.name or self.task


class EvaluationConfig(Config):
    """Held-out bitext retrieval: a foreign sentence looks for its English translation among candidates of the same split."""

    languages: tuple[str, ...] = ()
    """Query languages, trained on or not; empty: the pool of `languages`."""
    objective_languages: tuple[str, ...] = ()
    """Languages whose mean validation Success@1 is the objective (`valid/Success@1`); empty: those in training. A search over language sets
    must name them, or it would choose easy languages."""
    valid_queries: PositiveInt = 100
    """Queries per language of the validation split (fewer where the corpus has fewer; counted)."""
    test_queries: PositiveInt = 150
    """Queries per language of the test split."""
    candidates: PositiveInt = 300
    """English candidates per language: the queries' translations and others of the split."""
    scorer: Scorer = "maxsim"
    """The scorer that `valid/Success@1` is computed with; all are stored."""
    centre: Literal["none", "teacher-mean", "language-mean"] = "none"
    """Subtracted before scoring, as by the training cost of the same name: nothing (raw tokens, as any index of late interaction takes
    them); the teacher's mean token from both sides; or that from the candidates, and from the queries the student's mean token of their
    language, on training rows of it (on the queries themselves where there are none)."""
    components: PositiveInt = 1
    """Principal components of a language that the system `components-removed` takes out."""
    seed: int = 0
    """Of the choice of queries and candidates; apart from the recipe's seed, so that seeds are compared on the same queries."""
    tasks: tuple[TaskConfig, ...] = ()
    """Released data sets that a finished trial's student is tested on, once, beside held-out bitext."""

    @field_validator("tasks")
    @classmethod
    def _different_names(cls, value: tuple[TaskConfig, ...]) -> tuple[TaskConfig, ...]:
        labels = [BITEXT, *(task.label for task in value)]
        if again := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"two sets of rows would be called {', '.join(again)}; give one of them another `name`")
        return value
