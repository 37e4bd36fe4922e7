"""run_trial(recipe) -> rows: every stage of one distillation, on one machine, without Ray. The whole science passes through here.

stages.prepare corpus, tokenizer, teacher tokens, token shards; language set, mixture, the plan of global batches
distil_worker  the training of one data-parallel worker (one worker: this process)
evaluate       per-query outcomes on the test split, once, of a trained student
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from filelock import FileLock, Timeout

from optical_ray.artifacts import Store, write_json
from optical_ray.data.batches import Batch, PairSource, UntaughtBatch, pad_vectors, read_batches
from optical_ray.data.plan import Position
from optical_ray.encoders.student import build_student, load_student
from optical_ray.encoders.teacher import Teacher
from optical_ray.errors import OpticalError, ResourceError
from optical_ray.recipe import Recipe, Resources
from optical_ray.retrieval.evaluate import BitextEvaluator, collapse_statistics, relevant_clouds
from optical_ray.retrieval.references import reference_rows
from optical_ray.retrieval.tasks import TASK, Split, build_tasks, task_texts
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder, TrialFolder, utc_now, write_table_once
from optical_ray.runs.schemas import TrialStatus
from optical_ray.seeding import derive_seed
from optical_ray.stages import Stages, prepare
from optical_ray.training.checkpoint import drop_optimizer, latest_checkpoint, load_checkpoint, save_checkpoint
from optical_ray.training.loop import Hooks, distil
from optical_ray.training.objectives import Distillation
from optical_ray.training.parallel import Parallel
from optical_ray.training.state import TrainingState, start_training
from optical_ray.training.verdicts import verdicts
from optical_ray.transport.cost import GroundCost, measure_unit

log = logging.getLogger(__name__)
UNIT_PAIRS = 512  # pairs of the plan that the unit of epsilon is measured on

Report = Callable[[int, Mapping[str, float]], None]
"""(step, metrics by runs/names.py)."""
Batches = Iterator[tuple[Batch | UntaughtBatch, Position]]
"""One worker's part of every global batch, each with the position after it."""
Distil = Callable[[Recipe, Resources, Store, TrialFolder, Report], None]
"""Leaves the finished student's checkpoint in the trial folder."""


def _reference_rows(recipe: Recipe, stages: Stages, store: Store, evaluator: BitextEvaluator) -> pa.Table:
    """Lexical floor and translation memory: the same for every trial of an evaluation, so computed once."""
    config = {name: value for name, value in recipe.evaluation.to_dict().items() if name not in {"scorer", "centre"}}
    inputs = {"version": 1, "corpus": stages.corpus.fingerprint, "evaluation": config, "languages": list(stages.evaluation_languages)}
    path = store.build(
        "references", inputs, lambda scratch: pq.write_table(reference_rows(evaluator.tasks, stages.corpus), scratch / "rows.parquet")
    )
    return pq.read_table(path / "rows.parquet")


def measure_cost(recipe: Recipe, stages: Stages, source: PairSource, teacher: Teacher | None = None) -> GroundCost:
    """Centre and unit of epsilon: measured once, on pairs of the plan's first windows, the same on every worker."""
    centre_D = torch.from_numpy(stages.centre.centre) if recipe.cost.centre == "teacher-mean" else None
    if recipe.cost.scale == "none" or stages.plan.steps == 0:
        return GroundCost(centre_D, marginals=recipe.cost.marginals)
    ids = np.concatenate([source.english_ids(language, row) for language, row in stages.plan.first_rows(UNIT_PAIRS)])
    teacher_BMD, mask_BM = pad_vectors(*stages.teacher_tokens(ids, teacher).gather(ids))
    return GroundCost(centre_D, measure_unit(teacher_BMD, mask_BM, centre_D), recipe.cost.marginals)


def make_evaluator(recipe: Recipe, stages: Stages, split: Split, teacher: Teacher | None = None) -> BitextEvaluator:
    """The held-out tasks of a split, ready for any student of the recipe; `teacher` as `Stages.load_teacher` gives it."""
    tasks = build_tasks(stages.corpus, stages.evaluation_languages, recipe.evaluation, split)
    tokens = stages.teacher_tokens(np.concatenate([task.candidates for task in tasks]), teacher)
    centre_D = torch.from_numpy(tokens.centre) if recipe.evaluation.centre else None
    return BitextEvaluator(tasks, tokens, stages.tokenizer(), recipe.student, centre_D)


def _taught(batches: Batches, teacher: Teacher | None, device: str) -> Iterator[tuple[Batch, Position]]:
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
    open_batches: Callable[[Stages, Position], Batches] | None = None,
) -> None:
    """Train as one data-parallel worker, from the newest checkpoint in the folder; only the main worker writes files.

    Args:
        open_batches: (stages, start position) -> this worker's part of every global batch; None: read them in this process.
    """
    torch.set_num_threads(resources.threads)
    stages = prepare(recipe, store)
    source = stages.source()
    online = stages.load_teacher(parallel.device)
    cost = measure_cost(recipe, stages, source, online)
    tokenizer = stages.tokenizer()
    facts: dict[str, float] = {}
    path = latest_checkpoint(folder.checkpoint)
    if path is None:
        teacher = stages.centre
        centre_D = torch.from_numpy(teacher.centre)
        student = build_student(
            recipe.student,
            tokenizer,
            centre_D,
            teacher.spread,
            torch.Generator().manual_seed(derive_seed(recipe.seed, "student")),
        )
        state = start_training(student.to(parallel.device), recipe.training)
        resumed_from = None
    else:
        state, facts = load_checkpoint(path, recipe.training, parallel.device)
        resumed_from = state.step
    if parallel.device.startswith("cuda"):
        cost = replace(cost, centre_D=None if cost.centre_D is None else cost.centre_D.to(parallel.device))
    objective = Distillation(recipe.objective, cost, recipe.transport, recipe.batch.group, parallel)
    validation = make_evaluator(recipe, stages, "valid", online) if parallel.is_main else None
    before = folder.read_status()
    seconds = {"validate": before.seconds.get("validate", 0.0) if before else 0.0}

    def validate(state: TrainingState) -> dict[str, float]:
        assert validation is not None
        started = time.monotonic()
        clouds = validation.clouds(state.student, parallel.device)
        by_language = validation.success_at_1(clouds, recipe.evaluation.scorer)
        seen = [value for tag, value in by_language.items() if tag in (recipe.evaluation.objective_languages or stages.languages)]
        unseen = [value for tag, value in by_language.items() if tag not in stages.languages]
        own = [cloud for cloud, task in zip(clouds, validation.tasks, strict=True) if task.language in stages.languages]
        metrics = {names.VALID_SUCCESS_AT_1: float(np.mean(seen or unseen))} | collapse_statistics(own or clouds)
        if unseen and seen:
            metrics[names.VALID_SUCCESS_AT_1_UNSEEN] = float(np.mean(unseen))
        seconds["validate"] += time.monotonic() - started
        return metrics

    def report(state: TrainingState, metrics: dict[str, float]) -> None:
        metrics = metrics | {names.PAIRS_SEEN: float(state.position.pairs)}
        folder.append_metrics(state.step, resumed_from, metrics)
        status = folder.read_status()
        assert status is not None
        judged = verdicts(metrics, facts) if names.WITHIN_SENTENCE_COSINE in metrics else status.verdicts
        change = {
            "step": state.step,
            "updated_at": utc_now(),
            "pairs_seen": state.position.pairs,
            "objective": metrics.get(names.VALID_SUCCESS_AT_1, status.objective),
            "verdicts": judged,
            "resumed_from": resumed_from,
            "seconds": status.seconds | {"validate": round(seconds["validate"], 3)},
        }
        folder.write_status(status.model_copy(update=change))

    def checkpoint(state: TrainingState) -> None:
        save_checkpoint(folder.checkpoint, state, tokenizer, recipe.student, facts)

    if parallel.is_main and resumed_from is None:
        assert validation is not None
        write_json(folder.plan, stages.describe() | {"epsilon_unit": cost.unit})
        start = validate(state)
        relevant = np.concatenate([task.candidates[task.gold] for task in validation.tasks])
        of_teacher = collapse_statistics([relevant_clouds(stages.teacher_tokens(relevant, online), validation.tasks)])
        facts |= {name: max(value, start[name]) for name, value in of_teacher.items()}
        report(state, start)
        on_report(0, start)
        if recipe.training.max_steps == 0:
            checkpoint(state)
    batches = (
        read_batches(source, stages.plan, state.position, parallel.rank, parallel.workers)
        if open_batches is None
        else open_batches(stages, state.position)
    )
    taught = _taught(batches, online, parallel.device)
    distil(state, taught, objective, recipe.training, parallel, recipe.seed, Hooks(validate, report, checkpoint, on_report))


def distil_in_process(recipe: Recipe, resources: Resources, store: Store, folder: TrialFolder, on_report: Report) -> None:
    """The training of one worker, in this process."""
    distil_worker(recipe, resources, store, folder, on_report, Parallel(device=resources.device))


def run_trial(
    recipe: Recipe,
    resources: Resources,
    store: Store,
    run: RunFolder,
    on_report: Report | None = None,
    distil: Distil | None = None,
) -> TrialStatus:
    """Run one trial from wherever it stands to its test rows; a finished one returns at once.

    Args:
        recipe: What to do.
        resources: Where; torch's threads are set from it.
        store: Shared artifacts.
        run: The run folder; the trial's files go to `trials/<trial id>/`.
        on_report: Told every report; what it raises fails the trial, with its checkpoint kept.
        distil: The training; None: in this process (one worker), which is all that Ray is not needed for.

    Returns:
        The final status, `finished`.

    Raises:
        OpticalError: the user can mend it. Any error is first written to status.json in one line; the files stay as they are.
    """
    folder = run.trial(recipe.trial_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    resources.check(recipe)
    if distil is None and resources.workers > 1:
        raise ResourceError(f"{resources.workers} workers need Ray Train: use `optical train --workers {resources.workers}`")
    lock = FileLock(folder.path / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ResourceError(f"{folder.path}: another process is running this trial; wait for it, or end it first") from None
    try:
        status = folder.read_status()
        if status is not None and status.state == "finished":
            return status
        torch.set_num_threads(resources.threads)
        write_json(folder.recipe, recipe.to_dict())
        write_json(folder.resources, resources.to_dict())
        status = status or TrialStatus(trial_id=recipe.trial_id, state="pending", max_steps=recipe.training.max_steps, started_at=utc_now())
        status = status.model_copy(update={"state": "running", "attempts": status.attempts + 1, "updated_at": utc_now(), "error": None})
        folder.write_status(status)
        return _run_stages(recipe, resources, store, run, folder, on_report or (lambda step, metrics: None), distil or distil_in_process)
    finally:
        lock.release()


class _Clock:
    """Wall seconds by stage, and CPU seconds, of this attempt on top of what the status already holds."""

    def __init__(self, status: TrialStatus, gpus: float) -> None:
        self._seconds, self._cpu, self._gpus = dict(status.seconds), status.cpu_seconds, gpus
        self._gpu = status.gpu_seconds
        self._started, self._cpu_started = time.monotonic(), time.process_time()

    def lap(self, stage: str) -> dict[str, Any]:
        now = time.monotonic()
        spent, self._started = now - self._started, now
        self._seconds[stage] = round(self._seconds.get(stage, 0.0) + spent, 3)
        if stage == "train":
            self._gpu += spent * self._gpus
        cpu = self._cpu + time.process_time() - self._cpu_started
        return {"seconds": dict(self._seconds), "cpu_seconds": round(cpu, 3), "gpu_seconds": round(self._gpu, 3)}


def _run_stages(
    recipe: Recipe, resources: Resources, store: Store, run: RunFolder, folder: TrialFolder, on_report: Report, distil: Distil
) -> TrialStatus:
    status = folder.read_status()
    assert status is not None
    clock = _Clock(status, resources.workers * resources.gpus_per_worker)

    def update(**change: Any) -> TrialStatus:
        current = folder.read_status()
        assert current is not None
        validated = {"validate": current.seconds["validate"]} if "validate" in current.seconds else {}
        if "seconds" in change:
            change["seconds"] = change["seconds"] | validated
        current = current.model_copy(update=change | {"updated_at": utc_now()})
        folder.write_status(current)
        return current

    try:
        stages = prepare(recipe, store)
        stages.check_same_data(folder)
        update(**clock.lap("prepare"))
        distil(recipe, resources, store, folder, on_report)
        update(**clock.lap("train"))
        path = latest_checkpoint(folder.checkpoint)
        assert path is not None, "a finished training leaves a checkpoint"
        evaluator = make_evaluator(recipe, stages, "test", stages.load_teacher(resources.device))
        write_table_once(run.tasks / f"{TASK}.parquet", task_texts(evaluator.tasks))
        clouds = evaluator.clouds(load_student(path).to(resources.device), resources.device)
        references = _reference_rows(recipe, stages, store, evaluator)
        folder.write_queries(pa.concat_tables([evaluator.outcomes(clouds), references]))
        finished = update(state="finished", **clock.lap("evaluate"))
        drop_optimizer(path)  # last: a trial that is not finished needs it to continue
        return finished
    except KeyboardInterrupt:
        update(state="stopped", **clock.lap("train"))
        raise
    except OpticalError as error:
        update(state="failed", error=str(error), **clock.lap("train"))
        raise
    except Exception as error:
        update(state="failed", error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", **clock.lap("train"))
        raise
