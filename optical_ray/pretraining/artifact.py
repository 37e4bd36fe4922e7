"""The encoder that a pre-training leaves in the store, built once for all trials that ask for the same.

    pretrained-encoder-<fingerprint>/    a plain Hugging Face encoder with its tokenizer: `student.init` of any recipe
        pretraining.json                 languages, text, validation loss of each language beside its floor, what was normalised
        metrics.jsonl                    the training's reports

Named by what it depends on, so that trials that differ in their distillation share it; killed half-way, it is continued.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from optical_ray.artifacts import Store, fingerprint, read_manifest, write_json
from optical_ray.data.tasks import MapTasks
from optical_ray.data.teacher_centre import identify_model
from optical_ray.data.unigrams import count_pieces, rows_in_use
from optical_ray.data.wheels import Progress
from optical_ray.encoders.embedding_statistics import normalise_embeddings
from optical_ray.encoders.known_languages import PRETRAINING
from optical_ray.encoders.masked_lm import load_masked_lm
from optical_ray.errors import ArtifactError
from optical_ray.pretraining.prepare import PretrainingStages, prepare_pretraining
from optical_ray.pretraining.worker import begin, hold_out_texts, pretrain_worker
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs import names
from optical_ray.runs.folder import TrialFolder
from optical_ray.training.checkpoint import checkpoint_to_evaluate, step_of
from optical_ray.training.loop import Report
from optical_ray.training.masked_lm_validation import losses_by_language
from optical_ray.training.parallel import Parallel

KIND = "pretrained-encoder"
DESCRIPTION = PRETRAINING

Pretrain = Callable[[Recipe, Store, Progress | None], Path]
"""The folder of the encoder that the recipe's student starts from."""
Train = Callable[[Recipe, Resources, Store, TrialFolder, Report], None]
"""Leaves the finished model's checkpoint in the folder."""


def build_pretrained(
    recipe: Recipe,
    store: Store,
    progress: Progress | None = None,
    *,
    map_tasks: MapTasks | None = None,
    resources: Resources | None = None,
    train: Train | None = None,
    on_report: Report | None = None,
) -> Path:
    """The pre-trained encoder of a recipe, from the store, or trained now; who else wants it waits.

    Args:
        recipe: Whose `pretraining` it is.
        store: Where it is kept; begun and killed, it is continued there.
        progress: Told one short line at a time.
        map_tasks: As `stages.prepare`.
        resources: Where; None: one worker with torch's threads as they are.
        train: The training; None: in this process, as one worker.
        on_report: Told every report; what it raises ends the training, with its checkpoint kept.

    Raises:
        ArtifactError: files of the encoder in the store are missing.
        OpticalError: as `prepare_pretraining`, or the loss is not finite.
    """
    prepared = prepare_pretraining(recipe, store, progress, map_tasks)
    resources = resources or Resources(threads=torch.get_num_threads())
    steps = recipe.pretraining.training.max_steps

    def report(step: int, metrics: Mapping[str, float]) -> None:
        if progress is not None and (loss := metrics.get(names.LOSS)) is not None:
            progress(f"pre-training on {len(prepared.languages)} languages: step {step:,}/{steps:,}, loss {loss:.3f}")
        if on_report is not None:
            on_report(step, metrics)

    def fill(scratch: Path) -> Mapping[str, Any]:
        folder = TrialFolder(scratch)
        (train or pretrain_in_process)(recipe, resources, store, folder, report)
        return _finish(recipe, prepared, folder, resources.device)

    path = store.build(KIND, prepared.inputs, fill, resume=True)
    missing = [name for name in (DESCRIPTION, "config.json", "model.safetensors", "tokenizer.json") if not (path / name).is_file()]
    if missing:
        raise ArtifactError(f"{path}: no {', '.join(missing)}, which a pre-trained encoder has; delete the folder to train it again")
    return path


def pretrain_in_process(recipe: Recipe, resources: Resources, store: Store, folder: TrialFolder, on_report: Report) -> None:
    """The training of one worker, in this process."""
    pretrain_worker(recipe, resources, store, folder, on_report, Parallel(device=resources.device))


def describe_pretrained(folder: Path) -> dict[str, Any]:
    """Of an encoder that was pre-trained here, for plan.json: which artifact, and what it has read."""
    facts = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    artifact = fingerprint({"kind": KIND, "inputs": read_manifest(folder)["inputs"]})
    return {"artifact": artifact, **{name: facts[name] for name in ("languages", "steps", "kept_step", "tokens")}}


def _finish(recipe: Recipe, prepared: PretrainingStages, folder: TrialFolder, device: str) -> dict[str, Any]:
    """From the finished training to the encoder's folder; what only the training needed goes."""
    config = recipe.pretraining
    path = checkpoint_to_evaluate(folder.checkpoint, config.training.evaluate_checkpoint)
    assert path is not None, "a finished training leaves a checkpoint"
    kept_step = step_of(path)
    tokenizer = prepared.tokenizer()
    model = load_masked_lm(path).to(device)
    held_out = hold_out_texts(recipe, prepared, tokenizer)
    start = {row.name: row.value for row in folder.read_metrics() if row.step == 0}
    losses = {"end": losses_by_language(model, held_out, device)}
    encoder: Any = model.encoder
    pieces = int(encoder.get_input_embeddings().weight.shape[0])
    tokens = dict.fromkeys(prepared.languages, 0)
    occurring_V = torch.zeros(pieces, dtype=torch.bool)
    for tag, block in rows_in_use(prepared.tokens, prepared.plan.mixture.rows):
        tokens[tag] += int(block.tokens.content.sum())
        occurring_V |= torch.from_numpy(count_pieces([block], pieces, content=False) > 0)
    embeddings = None
    if config.normalise:
        model.to("cpu").head.untie(encoder)  # what guesses stays as it learnt to; what is read is what changes
        embeddings = normalise_embeddings(model.encoder, begin(recipe, tokenizer).encoder, occurring_V)
        losses["normalised"] = losses_by_language(model.to(device), held_out, device)
    corpus, plan = prepared.corpus, prepared.plan
    validation = {
        each.language: {"seen": each.language in prepared.languages, "masked_tokens": each.tokens, "unigram": each.unigram}
        | {"start": start.get(names.valid_masked_lm(each.language))}
        | {when: found[each.language] for when, found in losses.items()}
        for each in held_out
    }
    facts = {
        "languages": list(prepared.languages),
        "steps": config.training.max_steps,
        "kept_step": kept_step,
        "tokens": tokens,
        "rows": plan.mixture.rows,
        "shares": plan.mixture.shares,
        "draws": plan.draws(),
        "plan": plan.describe()["digest"],
        "seed": config.seed,
        "init": "scratch" if recipe.student.init == "scratch" else identify_model(recipe.student.init, recipe.student.revision),
        "corpus": {"fingerprint": corpus.fingerprint, "kind": corpus.kind},
        "licences": {source: corpus.manifest["facts"]["licences"].get(source) for source in corpus.sources(prepared.languages)},
        "validation": _finite(validation),
        "embeddings": embeddings,
    }
    encoder.save_pretrained(folder.path)
    tokenizer.save_pretrained(folder.path)
    write_json(folder.path / DESCRIPTION, facts)
    shutil.rmtree(folder.checkpoint)
    return {"languages": facts["languages"], "steps": facts["steps"], "tokens": tokens}


def _finite(value: Any) -> Any:
    """JSON knows no NaN."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
