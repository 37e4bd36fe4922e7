"""The pre-training of one data-parallel worker. One worker is this process; of several, each runs this inside Ray Train."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import Store
from optical_ray.data.batches import PairSource, ReadBatches, read_batches
from optical_ray.data.masking import MaskRules, mask_batches
from optical_ray.encoders.masked_lm import MaskedLanguageModel, build_masked_lm, load_masked_lm, save_masked_lm
from optical_ray.pretraining.prepare import PretrainingStages, prepare_pretraining
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs import names
from optical_ray.runs.folder import TrialFolder
from optical_ray.seeding import derive_seed
from optical_ray.training.checkpoint import latest_checkpoint, load_checkpoint, mend_best, save_checkpoint, sound_checkpoint
from optical_ray.training.loop import Hooks, Report, train
from optical_ray.training.masked_lm import MaskedLM
from optical_ray.training.masked_lm_validation import HeldOut, hold_out, losses_by_language, validation_metrics
from optical_ray.training.parallel import Parallel
from optical_ray.training.precision import runs_in_bf16
from optical_ray.training.state import TrainingState, start_training


def begin(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> MaskedLanguageModel:
    """The model before its first step."""
    generator = torch.Generator().manual_seed(derive_seed(recipe.pretraining.seed, "student"))
    return build_masked_lm(recipe.student, tokenizer, generator)


def hold_out_texts(recipe: Recipe, prepared: PretrainingStages, tokenizer: PreTrainedTokenizerBase) -> list[HeldOut]:
    """Validation rows of every language of the pool, masked."""
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
    path = sound_checkpoint(folder.checkpoint)
    if path is None:
        state = start_training(begin(recipe, tokenizer).to(parallel.device), config.training)
        resumed_from = None
    else:
        state, facts = load_checkpoint(path, load_masked_lm, config.training, parallel.device)
        resumed_from = state.step
    held_out = hold_out_texts(recipe, prepared, tokenizer) if parallel.is_main else []

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
