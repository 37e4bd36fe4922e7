"""The teacher training of one data-parallel worker: what it starts from, what the loop calls, where it writes. Without Ray.

One worker is this process; of several, each runs this inside Ray Train, and the main one writes files.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import Store
from optical_ray.data.batches import ReadBatches
from optical_ray.data.plan import BatchPlan
from optical_ray.data.relevance.batches import RelevanceReader, plan_queries, read_queries
from optical_ray.data.relevance.table import RelevanceData
from optical_ray.encoders.config import TextForm
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.student import Student
from optical_ray.recipe import Resources
from optical_ray.runs import names
from optical_ray.runs.folder import TrialFolder
from optical_ray.teaching.model import build_teacher, describe_texts, read_forms, restore_teacher, save_teacher
from optical_ray.teaching.recipe import TeacherRecipe
from optical_ray.teaching.verdict import TeacherEvaluator, make_evaluator
from optical_ray.training.checkpoint import latest_checkpoint, load_checkpoint, mend_best, save_checkpoint, sound_checkpoint
from optical_ray.training.loop import Hooks, Report, train
from optical_ray.training.parallel import Parallel
from optical_ray.training.relevance import Relevance
from optical_ray.training.state import TrainingState, start_training


@dataclass(frozen=True, slots=True)
class TeacherStages:
    """What a teacher's training stands on. Plain data: it travels to the workers."""

    recipe: TeacherRecipe
    data: Path
    """Of the relevance data."""
    test: Path | None
    """Of the held-out sources."""
    init: str
    """The encoder's folder, or its hub id."""

    @property
    def forms(self) -> tuple[TextForm, TextForm]:
        """How queries and documents are read."""
        return read_forms(self.recipe.model, self.init)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.init, self.recipe.model.revision)

    def plan(self) -> BatchPlan:
        return plan_queries(RelevanceData.open(self.data), self.recipe.batch, self.recipe.training.max_steps, self.recipe.seed)

    def reader(self) -> RelevanceReader:
        model = self.recipe.model
        return RelevanceReader(self.data, self.init, model.revision, *self.forms, self.recipe.batch.negatives, self.recipe.seed)

    def evaluator(self, split: str = "valid") -> TeacherEvaluator:
        data = RelevanceData.open(self.data if split == "valid" or self.test is None else self.test)
        return make_evaluator(data, self.recipe.evaluation, split, self.tokenizer(), self.forms, self.recipe.objective.scorer)


def teach_worker(
    stages: TeacherStages,
    resources: Resources,
    store: Store,
    folder: TrialFolder,
    on_report: Report,
    parallel: Parallel,
    read: ReadBatches = read_queries,
) -> None:
    """Train as one data-parallel worker, from the newest checkpoint in the folder; only the main worker writes files.

    Args:
        stages: What there is to learn from.
        resources: Threads of this worker.
        store: Not looked at: the stages are built.
        folder: Of checkpoints and metrics.
        on_report: Told every report.
        parallel: This worker among its peers.
        read: Reads this worker's part of every global batch; the default in this process.
    """
    torch.set_num_threads(resources.threads)
    recipe, tokenizer = stages.recipe, stages.tokenizer()
    texts = describe_texts(recipe.model, stages.init)
    if parallel.is_main:
        mend_best(folder.checkpoint)
    path = sound_checkpoint(folder.checkpoint)
    if path is None:
        model = build_teacher(recipe.model, stages.init, tokenizer, recipe.seed)
        state = start_training(model.to(parallel.device), recipe.training)
        resumed_from = None
    else:
        state, _ = load_checkpoint(path, lambda path: restore_teacher(recipe.model, path), recipe.training, parallel.device)
        resumed_from = state.step
    objective = Relevance(recipe.objective, recipe.batch.group, parallel, recipe.batch.chunk)
    validation = stages.evaluator() if parallel.is_main else None

    def validate(state: TrainingState[Student]) -> dict[str, float]:
        assert validation is not None
        means = validation.outcome(state.model, parallel.device).means()
        return {f"valid/{measure}": mean for measure, mean in means.items()}

    def report(state: TrainingState[Student], metrics: dict[str, float]) -> None:
        folder.append_metrics(state.step, resumed_from, metrics | {names.PAIRS_SEEN: float(state.position.pairs)})

    def save(model: Student, folder: Path) -> None:
        save_teacher(model, tokenizer, texts, folder)

    def checkpoint(state: TrainingState[Student]) -> None:
        save_checkpoint(folder.checkpoint, state, save, {})

    def last_checkpoint() -> str:
        return str(latest_checkpoint(folder.checkpoint) or "none yet")

    if parallel.is_main and resumed_from is None:
        start = validate(state)
        report(state, start)
        on_report(0, start)
        if recipe.training.max_steps == 0:
            checkpoint(state)
    batches = read(stages.reader(), stages.plan(), state.position, parallel.rank, parallel.workers)
    hooks = Hooks(validate, itemgetter(names.VALID_NDCG_AT_10), report, checkpoint, on_report, last_checkpoint)
    train(state, batches, objective, recipe.training, parallel, recipe.seed, hooks, ("en",))
