"""Masked-LM pre-training of the student's encoder: what it reads, one data-parallel worker of it, and the artifact that it leaves.

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import Store, fingerprint, read_manifest, write_json
from optical_ray.data.batches import PairSource, ReadBatches, read_batches
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus import Corpus, CorpusConfig
from optical_ray.data.masking import MaskRules, mask_batches
from optical_ray.data.plan import BatchPlan, build_plan
from optical_ray.data.tasks import MapTasks
from optical_ray.data.teacher_centre import identify_model
from optical_ray.data.token_shards import TokenRules, TokenSource, build_token_shards
from optical_ray.data.tokenizer_artifact import TextPool, build_tokenizer, tokens_per_row
from optical_ray.data.unigrams import count_pieces, rows_in_use
from optical_ray.data.wheels import Progress
from optical_ray.encoders.embedding_statistics import normalise_embeddings
from optical_ray.encoders.known_languages import PRETRAINING
from optical_ray.encoders.masked_lm import MaskedLanguageModel, build_masked_lm, load_masked_lm, save_masked_lm
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.errors import ConfigError, LanguageError
from optical_ray.languages.mixing import cap_shares, mix
from optical_ray.languages.sets import LanguageSetConfig, choose_languages, order_pool
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs import names
from optical_ray.runs.folder import TrialFolder
from optical_ray.seeding import derive_seed
from optical_ray.training.checkpoint import checkpoint_to_evaluate, latest_checkpoint, load_checkpoint, mend_best, save_checkpoint
from optical_ray.training.loop import Hooks, Report, train
from optical_ray.training.masked_lm import MaskedLM
from optical_ray.training.masked_lm_validation import HeldOut, hold_out, losses_by_language, validation_metrics
from optical_ray.training.parallel import Parallel
from optical_ray.training.precision import runs_in_bf16
from optical_ray.training.state import TrainingState, start_training

VERSION = 1
"""Part of every artifact's fingerprint: raised when the same inputs give another encoder."""
KIND = "pretrained-encoder"
DESCRIPTION = PRETRAINING
ARCHITECTURE = (
    "hidden_size",
    "num_layers",
    "feedforward_size",
    "num_heads",
    "embedding_std",
    "position_std",
    "residual_scale",
    "dropout",
)
"""Fields of the student that shape a new encoder and its initial weights."""

Pretrain = Callable[[Recipe, Store, Progress | None], Path]
"""The folder of the encoder that the recipe's student starts from."""
Train = Callable[[Recipe, Resources, Store, TrialFolder, Report], None]
"""Leaves the finished model's checkpoint in the folder."""


@dataclass(frozen=True, slots=True)
class PretrainingStages:
    """What a pre-training stands on."""

    corpus: Corpus
    tokenizer_path: str
    tokenizer_revision: str | None
    pool: tuple[str, ...]
    languages: tuple[str, ...]
    plan: BatchPlan
    tokens: TokenSource
    inputs: Mapping[str, Any]
    """What the artifact depends on; plain data."""

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.tokenizer_path, self.tokenizer_revision)


def pretraining_corpus(recipe: Recipe, store: Store, progress: Progress | None = None, map_tasks: MapTasks | None = None) -> Corpus:
    """The corpus whose text is read."""
    path = recipe.pretraining.corpus
    return build_corpus(store, recipe.corpus if path is None else CorpusConfig(path=path), map_tasks, progress)


def language_pool(recipe: Recipe) -> LanguageSetConfig:
    """The rules of the pre-training set, its pool filled in: an empty one is that of the recipe's own languages."""
    config, own = recipe.pretraining.languages, recipe.languages
    if config.pool or not own.pool:
        return config
    return config.override({"pool": list(dict.fromkeys([*own.pool, *own.always, *own.unseen]))})


def find_tokenizer(
    recipe: Recipe, store: Store, progress: Progress | None = None, map_tasks: MapTasks | None = None
) -> tuple[str, str | None]:
    """Folder or hub id of the student's tokenizer, and its revision; a scratch student's is trained unless it is in the store.

    Raises:
        OpticalError: as `stages.prepare`.
    """
    if recipe.student.init != "scratch":
        load_tokenizer(recipe.student.init, recipe.student.revision)  # a wrong path is found here, before anything is computed
        return recipe.student.init, recipe.student.revision
    pools = []
    alone = recipe.tokenizer.scope == "set"
    pretrains = recipe.pretraining.training.max_steps > 0
    if not alone or not pretrains:
        corpus = build_corpus(store, recipe.corpus, map_tasks, progress)
        pools.append(TextPool(corpus, (choose_languages if alone else order_pool)(recipe.languages, corpus.pairs("train"))))
    if not alone or pretrains:
        corpus = pretraining_corpus(recipe, store, progress, map_tasks)
        pools.append(TextPool(corpus, _choose(choose_languages if alone else order_pool, recipe, corpus)))
    return str(build_tokenizer(store, pools, recipe.tokenizer, progress)), None


def _choose(rule: Callable[[LanguageSetConfig, Mapping[str, int]], tuple[str, ...]], recipe: Recipe, corpus: Corpus) -> tuple[str, ...]:
    try:
        return rule(language_pool(recipe), corpus.pairs("train"))
    except LanguageError as error:
        where = "pretraining." if str(error).startswith("languages.") else "pretraining.languages: "
        raise LanguageError(f"{where}{error}") from None


def prepare_pretraining(
    recipe: Recipe, store: Store, progress: Progress | None = None, map_tasks: MapTasks | None = None
) -> PretrainingStages:
    """Build what is missing in the store, and lay the plan.

    Raises:
        ConfigError: `pretraining.training.max_steps` is 0, or the budget does not fit.
        OpticalError: as `stages.prepare`.
    """
    config, student = recipe.pretraining, recipe.student
    steps = config.training.max_steps
    if not steps:
        raise ConfigError("pretraining.training.max_steps=0: this recipe has no pre-training; set it, for example to 2000")
    corpus = pretraining_corpus(recipe, store, progress, map_tasks)
    pool, languages = _choose(order_pool, recipe, corpus), _choose(choose_languages, recipe, corpus)
    tokenizer_path, revision = find_tokenizer(recipe, store, progress, map_tasks)
    rules = TokenRules(corpus.folder, "text", tokenizer_path, revision, student.prefix, student.max_tokens)
    rows = {tag: corpus.pairs("train")[tag] for tag in languages}
    lengths = {tag: tokens_per_row(rules, tag) for tag in languages} if config.mixing.tokens is not None else None
    try:
        mixture = mix(config.mixing, rows, lengths)
        if config.mixing.max_repeats is not None and config.batch.tokens is not None:
            raise ConfigError("mixing.max_repeats needs a known number of draws, which batch.tokens leaves open; set batch.pairs instead")
        mixture = cap_shares(mixture, steps * config.batch.pairs, config.mixing.max_repeats)
        plan = build_plan(mixture, config.batch, steps, config.seed, student.max_tokens, fingerprint(rules.inputs()))
    except ConfigError as error:
        raise ConfigError(f"pretraining.{error}") from None
    shards = build_token_shards(store, rules, mixture.rows, map_tasks, progress) if config.batch.token_shards else None
    return PretrainingStages(
        corpus, tokenizer_path, revision, pool, languages, plan, TokenSource(rules, shards), _inputs(recipe, rules, pool, plan)
    )


def _inputs(recipe: Recipe, rules: TokenRules, pool: tuple[str, ...], plan: BatchPlan) -> dict[str, Any]:
    config, student = recipe.pretraining, recipe.student
    if student.init == "scratch":
        positions = max(student.query_form.max_tokens, student.document_form.max_tokens)
        encoder: dict[str, Any] = {name: getattr(student, name) for name in ARCHITECTURE} | {"positions": positions}
    else:
        encoder = identify_model(student.init, student.revision)
    return {
        "version": VERSION,
        "text": rules.inputs(),
        "encoder": encoder,
        "pool": sorted(pool),
        "languages": list(plan.languages),
        "plan": plan.describe()["digest"],
        "mixing": config.mixing.identity(),
        "batch": config.batch.identity(),
        "training": config.training.identity(),
        "mask_probability": config.mask_probability,
        "valid_rows": config.valid_rows,
        "seed": config.seed,
        "normalise": config.normalise,
    }


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

    return store.build(KIND, prepared.inputs, fill, resume=True)


def pretrain_in_process(recipe: Recipe, resources: Resources, store: Store, folder: TrialFolder, on_report: Report) -> None:
    """The training of one worker, in this process."""
    pretrain_worker(recipe, resources, store, folder, on_report, Parallel(device=resources.device))


def describe_pretrained(folder: Path) -> dict[str, Any]:
    """Of an encoder that was pre-trained here, for plan.json: which artifact, and what it has read."""
    facts = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    artifact = fingerprint({"kind": KIND, "inputs": read_manifest(folder)["inputs"]})
    return {"artifact": artifact, **{name: facts[name] for name in ("languages", "steps", "tokens")}}


def _begin(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> MaskedLanguageModel:
    generator = torch.Generator().manual_seed(derive_seed(recipe.pretraining.seed, "student"))
    return build_masked_lm(recipe.student, tokenizer, generator)


def _hold_out(recipe: Recipe, prepared: PretrainingStages, tokenizer: PreTrainedTokenizerBase) -> list[HeldOut]:
    rules = prepared.tokens.rules
    masks = MaskRules.of(tokenizer, recipe.pretraining.mask_probability, rules.max_tokens, 0)  # the same in every pre-training
    return hold_out(prepared.corpus, rules, masks, tokenizer, prepared.pool, recipe.pretraining.valid_rows)


def pretrain_worker(
    recipe: Recipe,
    resources: Resources,
    store: Store,
    folder: TrialFolder,
    on_report: Report,
    parallel: Parallel,
    read: ReadBatches = read_batches,
) -> None:
    """Pre-train as one data-parallel worker, from the newest checkpoint in the folder; only the main worker writes files.

    Args:
        read: Reads this worker's part of every global batch; the default in this process.
    """
    torch.set_num_threads(resources.threads)
    config = recipe.pretraining
    prepared = prepare_pretraining(recipe, store)
    tokenizer = prepared.tokenizer()
    facts: dict[str, float] = {}
    if parallel.is_main:
        mend_best(folder.checkpoint)
    path = latest_checkpoint(folder.checkpoint)
    if path is None:
        state = start_training(_begin(recipe, tokenizer).to(parallel.device), config.training)
        resumed_from = None
    else:
        state, facts = load_checkpoint(path, load_masked_lm, config.training, parallel.device)
        resumed_from = state.step
    held_out = _hold_out(recipe, prepared, tokenizer) if parallel.is_main else []

    def validate(state: TrainingState[MaskedLanguageModel]) -> dict[str, float]:
        return validation_metrics(losses_by_language(state.model, held_out, parallel.device), prepared.languages)

    def judge(metrics: Mapping[str, float]) -> float:
        return -metrics.get(names.VALID_MASKED_LM, math.inf)

    def report(state: TrainingState[MaskedLanguageModel], metrics: dict[str, float]) -> None:
        folder.append_metrics(state.step, resumed_from, metrics | {names.PAIRS_SEEN: float(state.position.pairs)})

    def save(model: MaskedLanguageModel, folder: Path) -> None:
        save_masked_lm(model, tokenizer, folder)

    def checkpoint(state: TrainingState[MaskedLanguageModel]) -> None:
        save_checkpoint(folder.checkpoint, state, save, facts)

    def last_checkpoint() -> str:
        return str(latest_checkpoint(folder.checkpoint) or "none yet")

    if parallel.is_main and resumed_from is None:
        start = validate(state)
        report(state, start)
        on_report(0, start)
    masks = MaskRules.of(tokenizer, config.mask_probability, recipe.student.max_tokens, config.seed)
    source = PairSource(prepared.plan.languages, prepared.tokens, None)
    batches = read(source, prepared.plan, state.position, parallel.rank, parallel.workers)
    masked = mask_batches(batches, masks, state.position, config.batch.group, parallel.rank, parallel.workers)
    bf16 = runs_in_bf16(config.training.precision, parallel.device)
    objective = MaskedLM(state.model, config.batch.group, parallel, bf16)
    hooks = Hooks(validate, judge, report, checkpoint, on_report, last_checkpoint)
    train(state, masked, objective, config.training, parallel, config.seed, hooks, prepared.plan.languages)


def _finish(recipe: Recipe, prepared: PretrainingStages, folder: TrialFolder, device: str) -> dict[str, Any]:
    """From the finished training to the encoder's folder; what only the training needed goes."""
    config = recipe.pretraining
    path = checkpoint_to_evaluate(folder.checkpoint, config.training.evaluate_checkpoint)
    assert path is not None, "a finished training leaves a checkpoint"
    tokenizer = prepared.tokenizer()
    model = load_masked_lm(path).to(device)
    held_out = _hold_out(recipe, prepared, tokenizer)
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
        embeddings = normalise_embeddings(model.encoder, _begin(recipe, tokenizer).encoder, occurring_V)
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
