"""The distillation of one data-parallel worker: what it starts from, what the loop calls, where it writes. Without Ray.

One worker is this process; of several, each runs this inside Ray Train, and the main one writes files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch

from optical_ray.artifacts import Store, write_json
from optical_ray.data.batches import Batch, PairSource, ReadBatches, UntaughtBatch, pad_vectors, read_batches
from optical_ray.data.plan import Position
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.pretrained import load_pretrained
from optical_ray.encoders.student import Student, build_student
from optical_ray.encoders.student_folder import load_student, save_student
from optical_ray.encoders.teacher import Teacher
from optical_ray.recipe import Recipe, Resources
from optical_ray.retrieval.encoding import encode_texts
from optical_ray.retrieval.evaluate import BitextEvaluator, collapse_statistics, relevant_clouds
from optical_ray.retrieval.removal import remove_mean, sample_languages
from optical_ray.retrieval.tasks import Split, build_tasks
from optical_ray.runs import names
from optical_ray.runs.folder import TrialFolder, utc_now
from optical_ray.runs.provenance import record_worker
from optical_ray.runs.schemas import TrialStatus
from optical_ray.seeding import derive_seed
from optical_ray.stages import Stages, prepare
from optical_ray.training.centres import LanguageCentres
from optical_ray.training.checkpoint import latest_checkpoint, load_checkpoint, mend_best, save_checkpoint, sound_checkpoint
from optical_ray.training.faults import with_faults
from optical_ray.training.loop import Hooks, Report, train
from optical_ray.training.objectives import Distillation
from optical_ray.training.parallel import Parallel
from optical_ray.training.state import TrainingState, start_training
from optical_ray.training.verdicts import verdicts
from optical_ray.transport.cost import GroundCost, measure_unit

UNIT_PAIRS = 512  # pairs of the plan that the unit of epsilon is measured on
FIT_TEXTS = 256  # training texts that the projection's start is fitted to


def measure_cost(recipe: Recipe, stages: Stages, source: PairSource, teacher: Teacher | None = None) -> GroundCost:
    """Centre and unit of epsilon: measured once, on pairs of the plan's first windows, the same on every worker."""
    centre_D = None if recipe.cost.centre == "none" else torch.from_numpy(stages.centre.centre)
    if recipe.cost.scale == "none" or stages.plan.steps == 0:
        return GroundCost(centre_D, marginals=recipe.cost.marginals)
    ids = np.concatenate([source.english_ids(language, row) for language, row in stages.plan.first_rows(UNIT_PAIRS)])
    teacher_BMD, mask_BM = pad_vectors(*stages.teacher_tokens(ids, teacher).gather(ids))
    return GroundCost(centre_D, measure_unit(teacher_BMD, mask_BM, centre_D), recipe.cost.marginals)


def make_evaluator(recipe: Recipe, stages: Stages, split: Split, teacher: Teacher | None = None) -> BitextEvaluator:
    """The held-out tasks of a split, ready for any student of the recipe; `teacher` as `Stages.load_teacher` gives it."""
    tasks = build_tasks(stages.corpus, stages.evaluation_languages, recipe.evaluation, split)
    wanted = [task.candidates for task in tasks]
    samples = None
    if split == "test" or recipe.evaluation.centre == "language-mean":
        samples = sample_languages(stages.corpus, [task.language for task in tasks])
        wanted.append(samples.english_ids)
    tokens = stages.teacher_tokens(np.concatenate(wanted), teacher)
    return BitextEvaluator(tasks, tokens, stages.tokenizer(), recipe.student, recipe.evaluation, samples)


def _taught(
    batches: Iterator[tuple[Batch | UntaughtBatch, Position]], teacher: Teacher | None, device: str
) -> Iterator[tuple[Batch, Position]]:
    for batch, after in batches:
        if isinstance(batch, UntaughtBatch):
            assert teacher is not None, "token ids are read where there is no cache"
            batch = batch.teach(teacher, device)
        yield batch, after


def distil_worker(
    recipe: Recipe,
    resources: Resources,
    store: Store,
    folder: TrialFolder,
    on_report: Report,
    parallel: Parallel,
    read: ReadBatches = read_batches,
) -> None:
    """Train as one data-parallel worker, from the newest checkpoint in the folder; only the main worker writes files.

    Args:
        read: Reads this worker's part of every global batch; the default in this process.
    """
    torch.set_num_threads(resources.threads)
    stages = prepare(recipe, store)
    source = stages.source()
    online = stages.load_teacher(parallel.device)
    cost = measure_cost(recipe, stages, source, online)
    tokenizer = stages.tokenizer()
    facts: dict[str, float] = {}
    if parallel.is_main:
        mend_best(folder.checkpoint)
    path = sound_checkpoint(folder.checkpoint)
    if path is None:
        teacher = stages.centre
        centre_D = torch.from_numpy(teacher.centre)
        student = build_student(
            recipe.student,
            tokenizer,
            centre_D,
            teacher.spread,
            torch.Generator().manual_seed(derive_seed(recipe.seed, "student")),
            encoder=None if stages.pretrained is None else load_pretrained(str(stages.pretrained))[0],
            encode=lambda student: encode_texts(student.to(parallel.device), stages.sample_tokens(FIT_TEXTS), parallel.device),
        )
        state = start_training(student.to(parallel.device), recipe.training)
        if recipe.cost.centre == "language-mean":
            state.centres = LanguageCentres.start(len(stages.plan.languages), len(centre_D), parallel.device)
        resumed_from = None
    else:
        state, facts = load_checkpoint(path, load_student, recipe.training, parallel.device)
        resumed_from = state.step
    if parallel.device.startswith("cuda"):
        cost = replace(cost, centre_D=None if cost.centre_D is None else cost.centre_D.to(parallel.device))
    objective = Distillation(recipe.objective, cost, recipe.transport, recipe.batch.group, parallel, state.centres)
    validation = make_evaluator(recipe, stages, "valid", online) if parallel.is_main else None
    before = folder.read_status()
    spent = before or TrialStatus(trial_id=folder.trial_id, state="running")
    seconds = {"validate": spent.seconds.get("validate", 0.0)}
    began, cpu_began = time.monotonic(), time.process_time()
    if parallel.is_main and resources.workers > 1:
        record_worker(folder, parallel.device)

    def judged(clouds: Sequence[TokenClouds]) -> list[TokenClouds]:
        # Where a language lies costs nothing under its own mean, so it drifts, all tokens with it: no collapse.
        return [remove_mean(cloud) for cloud in clouds] if recipe.cost.centre == "language-mean" else list(clouds)

    def validate(state: TrainingState[Student]) -> dict[str, float]:
        assert validation is not None
        started = time.monotonic()
        clouds = validation.clouds(state.model, parallel.device)
        samples = validation.sample_clouds(state.model, parallel.device)
        by_language = validation.success_at_1(clouds, recipe.evaluation.scorer, samples)
        seen = [value for tag, value in by_language.items() if tag in (recipe.evaluation.objective_languages or stages.languages)]
        unseen = [value for tag, value in by_language.items() if tag not in stages.languages]
        own = [cloud for cloud, task in zip(clouds, validation.tasks, strict=True) if task.language in stages.languages]
        metrics = {names.VALID_SUCCESS_AT_1: float(np.mean(seen or unseen))}
        metrics |= {names.valid_success_at_1(tag): value for tag, value in by_language.items()}
        metrics |= collapse_statistics(judged(own or clouds))
        metrics[names.ENGLISH_DRIFT] = validation.english_drift(state.model, parallel.device)
        if unseen and seen:
            metrics[names.VALID_SUCCESS_AT_1_UNSEEN] = float(np.mean(unseen))
        seconds["validate"] += time.monotonic() - started
        return metrics

    def report(state: TrainingState[Student], metrics: dict[str, float]) -> None:
        metrics = metrics | {names.PAIRS_SEEN: float(state.position.pairs)}
        folder.append_metrics(state.step, resumed_from, metrics)
        status = folder.read_status()
        assert status is not None
        elapsed = time.monotonic() - began
        cpu = elapsed * resources.other_cpus or time.process_time() - cpu_began
        judged = verdicts(metrics, facts) if names.WITHIN_SENTENCE_COSINE in metrics else status.verdicts
        change = {
            "step": state.step,
            "updated_at": utc_now(),
            "pairs_seen": state.position.pairs,
            "objective": metrics.get(names.VALID_SUCCESS_AT_1, status.objective),
            "verdicts": judged,
            "resumed_from": resumed_from,
            "seconds": status.seconds
            | {"train": round(spent.seconds.get("train", 0.0) + elapsed, 3), "validate": round(seconds["validate"], 3)},
            "cpu_seconds": round(spent.cpu_seconds + cpu, 3),
            "gpu_seconds": round(spent.gpu_seconds + elapsed * resources.gpus, 3),
        }
        folder.write_status(status.model_copy(update=change))

    def save(student: Student, folder: Path) -> None:
        save_student(student, tokenizer, recipe.student, folder)

    def checkpoint(state: TrainingState[Student]) -> None:
        save_checkpoint(folder.checkpoint, state, save, facts)

    def last_checkpoint() -> str:
        return str(latest_checkpoint(folder.checkpoint) or "none yet")

    if parallel.is_main and resumed_from is None:
        assert validation is not None
        write_json(folder.plan, stages.describe() | {"epsilon_unit": cost.unit})
        start = validate(state)
        relevant = np.concatenate([task.candidates[task.gold] for task in validation.tasks])
        of_teacher = collapse_statistics(judged([relevant_clouds(stages.teacher_tokens(relevant, online), validation.tasks)]))
        facts |= {name: max(value, start[name]) for name, value in of_teacher.items()}
        report(state, start)
        on_report(0, start)
        if recipe.training.max_steps == 0:
            checkpoint(state)
    taught = _taught(read(source, stages.plan, state.position, parallel.rank, parallel.workers), online, parallel.device)
    hooks = Hooks(validate, itemgetter(names.VALID_SUCCESS_AT_1), report, checkpoint, on_report, last_checkpoint)
    faulty = with_faults(objective, folder.path, folder.trial_id, parallel.rank, state.step)
    train(state, taught, faulty, recipe.training, parallel, recipe.seed, hooks, stages.plan.languages)
