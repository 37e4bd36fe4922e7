"""run_trial(recipe) -> rows: every stage of one distillation, on one machine, without Ray. The whole science passes through here.

stages.prepare corpus, tokenizer, teacher tokens, token shards; language set, mixture, the plan of global batches; the student's
               pre-training, where the recipe has one
distillation   the training, of one data-parallel worker or of several (one worker: this process)
evaluate       per-query outcomes on the test split, once, of a trained student
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from filelock import FileLock, Timeout

from optical_ray.artifacts import Store, write_json
from optical_ray.distillation import distil_worker, make_evaluator
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.student_folder import load_student
from optical_ray.errors import OpticalError, ResourceError, WorkerDied
from optical_ray.pretraining.artifact import Train, build_pretrained
from optical_ray.recipe import Recipe, Resources
from optical_ray.retrieval.evaluate import BitextEvaluator
from optical_ray.retrieval.references import reference_rows
from optical_ray.retrieval.systems.lineup import Lineup, TextForms
from optical_ray.retrieval.systems.models import Model
from optical_ray.retrieval.tasks import TASK, task_texts
from optical_ray.retrieval.tested import check_tasks, task_rows
from optical_ray.runs.folder import RunFolder, TrialFolder, utc_now, write_table_once
from optical_ray.runs.provenance import record_start
from optical_ray.runs.schemas import QUERIES, TrialStatus
from optical_ray.stages import Stages, prepare
from optical_ray.training.checkpoint import checkpoint_to_evaluate, drop_optimizer
from optical_ray.training.loop import Report
from optical_ray.training.parallel import Parallel

log = logging.getLogger(__name__)
Distil = Callable[[Recipe, Resources, Store, TrialFolder, Report], None]
"""Leaves the finished student's checkpoint in the trial folder."""


def _reference_rows(recipe: Recipe, stages: Stages, store: Store, evaluator: BitextEvaluator) -> pa.Table:
    """Lexical floor and translation memory: the same for every trial of an evaluation, so computed once."""
    config = {name: value for name, value in recipe.evaluation.to_dict().items() if name not in {"scorer", "centre", "components", "tasks"}}
    inputs = {
        "columns": QUERIES.names,
        "corpus": stages.corpus.fingerprint,
        "evaluation": config,
        "languages": list(stages.evaluation_languages),
    }
    path = store.build(
        "references", inputs, lambda scratch: pq.write_table(reference_rows(evaluator.tasks, stages.corpus), scratch / "rows.parquet")
    )
    return pq.read_table(path / "rows.parquet")


def _lineup(
    recipe: Recipe,
    resources: Resources,
    stages: Stages,
    checkpoint: Path,
    evaluator: BitextEvaluator,
    samples: Sequence[TokenClouds] | None,
) -> Lineup:
    """The trial's student for queries and its teacher for documents, centred as the trial's own evaluation is."""
    teacher, centre = recipe.teacher, recipe.evaluation.centre
    centre_D = None if centre == "none" else torch.from_numpy(stages.centre.centre)
    of_queries: torch.Tensor | dict[str, torch.Tensor] | None = centre_D
    if centre == "language-mean":
        assert samples is not None, "test evaluators have samples"
        pairs = zip(evaluator.tasks, samples, strict=True)
        of_queries = {task.language: sample.vectors_TD.mean(0) for task, sample in pairs if len(sample.vectors_TD)}
    return Lineup(
        model=Model(str(checkpoint)),
        documents=Model(stages.teacher_folder, teacher.revision, teacher.projection),
        document_forms=TextForms(None, teacher.prefix, None, teacher.max_tokens),
        query_centre=of_queries,
        document_centre=centre_D,
        components=recipe.evaluation.components,
        seed=recipe.evaluation.seed,
        device=resources.device,
    )


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
    pretrain: Train | None = None,
) -> TrialStatus:
    """Run one trial from wherever it stands to its test rows; a finished one returns at once.

    Args:
        recipe: What to do.
        resources: Where; torch's threads are set from it.
        store: Shared artifacts.
        run: The run folder; the trial's files go to `trials/<trial id>/`.
        on_report: Told every report; what it raises fails the trial, with its checkpoint kept.
        distil: The training; None: in this process (one worker), which is all that Ray is not needed for.
        pretrain: The pre-training, where the recipe has one and the store has not; None: in this process, as one worker.

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
    lock = FileLock(folder.lock)
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
        record_start(folder, recipe.fingerprint, resources.to_dict(), resources.device)
        status = status or TrialStatus(trial_id=recipe.trial_id, state="pending", max_steps=recipe.training.max_steps, started_at=utc_now())
        status = status.model_copy(update={"state": "running", "attempts": status.attempts + 1, "updated_at": utc_now(), "error": None})
        folder.write_status(status)
        on_report = on_report or (lambda step, metrics: None)
        own = Store(store.root)  # notes what this trial asks for, whoever else shares the caller's
        with own.in_use():
            return _run_stages(recipe, resources, own, run, folder, on_report, distil or distil_in_process, pretrain)
    finally:
        lock.release()


class _Clock:
    """Wall seconds by stage, and the cost, of this attempt on top of what the status already holds."""

    def __init__(self, status: TrialStatus, resources: Resources) -> None:
        self._seconds, self._resources = dict(status.seconds), resources
        self._cpu, self._gpu = status.cpu_seconds, status.gpu_seconds
        self._started, self._cpu_started = time.monotonic(), time.process_time()

    def lap(self, stage: str) -> dict[str, Any]:
        now = time.monotonic()
        spent, self._started = now - self._started, now
        self._seconds[stage] = round(self._seconds.get(stage, 0.0) + spent, 3)
        if stage == "train":
            self._gpu += spent * self._resources.gpus
            self._cpu += spent * self._resources.other_cpus
        cpu = self._cpu + time.process_time() - self._cpu_started
        return {"seconds": dict(self._seconds), "cpu_seconds": round(cpu, 3), "gpu_seconds": round(self._gpu, 3)}


def _run_stages(
    recipe: Recipe,
    resources: Resources,
    store: Store,
    run: RunFolder,
    folder: TrialFolder,
    on_report: Report,
    distil: Distil,
    pretrain: Train | None,
) -> TrialStatus:
    status = folder.read_status()
    assert status is not None
    clock = _Clock(status, resources)

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
        stages = prepare(recipe, store, pretrain=partial(build_pretrained, resources=resources, train=pretrain))
        stages.check_same_data(folder)
        check_tasks(recipe.evaluation.tasks)
        write_json(folder.artifacts, sorted(store.used))
        update(**clock.lap("prepare"))
        distil(recipe, resources, store, folder, on_report)
        update(**clock.lap("train"))
        path = checkpoint_to_evaluate(folder.checkpoint, recipe.training.evaluate_checkpoint)
        assert path is not None, "a finished training leaves a checkpoint"
        evaluator = make_evaluator(recipe, stages, "test", stages.load_teacher(resources.device))
        write_table_once(run.tasks / f"{TASK}.parquet", task_texts(evaluator.tasks))
        student = load_student(path).to(resources.device)
        clouds, samples = evaluator.clouds(student, resources.device), evaluator.sample_clouds(student, resources.device)
        references = _reference_rows(recipe, stages, store, evaluator)
        rows = [evaluator.outcomes(clouds, samples), references]
        if recipe.evaluation.tasks:
            lineup = _lineup(recipe, resources, stages, path, evaluator, samples)
            rows.append(task_rows(recipe.evaluation.tasks, lineup, store))
        folder.write_queries(pa.concat_tables(rows))
        write_json(folder.artifacts, sorted(store.used))
        finished = update(state="finished", **clock.lap("evaluate"))
        drop_optimizer(folder.checkpoint)  # last: a trial that is not finished needs it to continue
        return finished
    except KeyboardInterrupt:
        update(state="stopped", **clock.lap("train"))
        raise
    except WorkerDied as error:
        update(state="stopped", error=str(error), **clock.lap("train"))
        raise
    except OpticalError as error:
        update(state="failed", error=str(error), **clock.lap("train"))
        raise
    except Exception as error:
        update(state="failed", error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}", **clock.lap("train"))
        raise
