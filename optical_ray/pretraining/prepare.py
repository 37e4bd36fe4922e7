"""What a pre-training stands on: corpus, tokenizer, token shards in the store, the language set and the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import Store, fingerprint
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus import Corpus
from optical_ray.data.corpus_config import CorpusConfig
from optical_ray.data.plan import BatchPlan, build_plan
from optical_ray.data.tasks import MapTasks
from optical_ray.data.teacher_centre import identify_model
from optical_ray.data.token_shards import TokenRules, TokenSource, build_token_shards
from optical_ray.data.tokenizer_artifact import TextPool, build_tokenizer, tokens_per_row
from optical_ray.data.wheels import Progress
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.errors import ConfigError, LanguageError
from optical_ray.languages.mixing import cap_shares, mix
from optical_ray.languages.sets import LanguageSetConfig, choose_languages, order_pool
from optical_ray.recipe import Recipe

VERSION = 1
"""Part of every artifact's fingerprint: raised when the same inputs give another encoder."""
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
