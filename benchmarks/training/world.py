"""What every contender trains on: one encoder, one corpus, the pairs of one window of its plan."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel

from benchmarks.data.generate import LANGUAGES, generate
from benchmarks.training.batches import choose, write_fixed
from optical_ray.artifacts import Store, write_json
from optical_ray.data.batches import Batch
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus import Corpus
from optical_ray.data.layout import BLOCK_ROWS
from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.pretrained import read_config
from optical_ray.encoders.tokenizer import train_tokenizer
from optical_ray.recipe import Recipe
from optical_ray.stages import Stages, prepare

NTREX = ("ha", "hi", "fi", "ar", "ja", "am", "ko", "ig")
"""Of `--bitext`, unless others are named: six scripts, seven families."""
GENERATED_ROWS = 24_000
MAX_TOKENS = 64
STEPS = 20_000  # never reached: the parent ends the training
NEVER = 10**9
BOTH_SIDES = {"objective.contrastive": 1.0, "objective.english": 1.0}


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of the steps, and of the encoder that is made where none is given."""

    pairs: int = 32
    window: int = 32
    """Steps' worth of pairs that are sorted by length; what is measured of shipped defaults is one window."""
    fixed: int = 4
    """Batches of `equal`."""
    layers: int = 12
    width: int = 384
    vocabulary: int = 16_000


@dataclass(frozen=True, slots=True)
class World:
    """Built once for all contenders."""

    encoder: Path
    encoder_said: str
    """Which encoder that is, in words."""
    bitext_said: str
    recipe: Recipe
    """Our shipped defaults on these data."""
    store: Path
    fixed: Path
    """File of `write_fixed`."""
    texts: Path
    """JSON lines of english and foreign: the pairs of the plan's first window."""
    seconds: dict[str, float]
    """What was done once, before any training; next to nothing where the store held it already."""


def build_world(work: Path, root: Path, shape: Shape, encoder: Path | None, bitext: Path | None, languages: Sequence[str]) -> World:
    """Everything in `work`; what is there already from an earlier call with the same arguments is used.

    Args:
        root: Of the store, which calls with other arguments may share.
        encoder: A Hugging Face folder; None: a random BERT with a vocabulary of its own.
        bitext: A folder of bitext; None: generated.
        languages: Of the bitext; empty: NTREX's, or those that are generated.
    """
    said = "a folder that was given" if bitext is not None else "generated sentences of made-up words"
    if bitext is None:
        bitext = _once(work / "bitext", lambda folder: generate(folder, GENERATED_ROWS))
    chosen = list(languages or (NTREX if "generated" not in said else LANGUAGES))
    base = Recipe().override(
        {
            "corpus.sources": [str(bitext)],
            "corpus.unknown_languages": "skip",
            "corpus.cleaning.near_duplicates": "off",
            "languages.pool": chosen,
            "student.max_tokens": MAX_TOKENS,
            "batch.pairs": shape.pairs,
            "batch.group": shape.pairs // 2,
            "batch.length_window": shape.window,
            "training.max_steps": STEPS,
            "training.learning_rate": 2e-5,
            "training.embedding_learning_rate": 2e-5,
            "training.validate_every": NEVER,
            "training.checkpoint_every": NEVER,
            "evaluation.valid_queries": 4,
            "evaluation.candidates": 4,
        }
    )
    store = Store(root)
    started = time.perf_counter()
    corpus = build_corpus(store, base.corpus)
    seconds = {"corpus": time.perf_counter() - started}
    if encoder is None:
        encoder = _once(work / "encoder", lambda folder: _make_encoder(folder, shape, corpus, chosen))
        kind = "random weights, vocabulary of the benchmark's own"
    else:
        kind = "a folder that was given"
    config = read_config(str(encoder), None)
    pieces = f"{config.vocab_size:,} pieces"
    encoder_said = f"{config.model_type}, {config.num_hidden_layers} layers, width {config.hidden_size}, {pieces}; {kind}"
    recipe = base.override({"student.init": str(encoder), "teacher.path": str(encoder), "teacher.max_tokens": MAX_TOKENS})
    started = time.perf_counter()
    both = recipe.override(BOTH_SIDES)
    stages = prepare(both, store)
    prepare(recipe.override({"teacher.cache": False}), store)
    seconds["tokens and teacher"] = time.perf_counter() - started
    fixed, texts = work / "fixed.npz", work / "pairs.jsonl"
    _write_batches(stages, shape, fixed)
    _write_texts(stages, texts)
    kept = work / "preparation.json"
    if kept.is_file():  # of the run that did the work
        seconds = json.loads(kept.read_text(encoding="utf-8"))
    else:
        write_json(kept, seconds)
    rows = stages.plan.pairs_in(0)
    bitext_said = f"{said}, {len(chosen)} languages ({', '.join(stages.languages)}); {rows:,} pairs"
    return World(encoder, encoder_said, bitext_said, recipe, store.root, fixed, texts, seconds)


def _once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, filled whole or not at all."""
    if not folder.is_dir():
        scratch = folder.with_suffix(".scratch")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        fill(scratch)
        scratch.rename(folder)
    return folder


def _make_encoder(folder: Path, shape: Shape, corpus: Corpus, languages: Sequence[str]) -> None:
    texts = (text for tag in languages for text in _english_and_text(corpus, tag))
    train_tokenizer(texts, TokenizerConfig(vocab_size=shape.vocabulary), folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=shape.vocabulary,
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.width // 32,
            intermediate_size=4 * shape.width,
            max_position_embeddings=512,
        )
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def _english_and_text(corpus: Corpus, tag: str) -> list[str]:
    block = corpus.block(tag, "train", 0, ["english", "text"])
    return [*block["english"].to_pylist(), *block["text"].to_pylist()]


def _write_batches(stages: Stages, shape: Shape, path: Path) -> None:
    source = stages.source()
    batches = [source.collate(batch) for batch, _ in source.read_window(stages.plan, 0)]
    write_fixed(path, choose([batch for batch in batches if isinstance(batch, Batch)], shape.fixed))


def _write_texts(stages: Stages, path: Path) -> None:
    """In a random order: the others shuffle their data too, but not for our sake."""
    language, row = stages.plan.draw(0)
    blocks: dict[tuple[str, int], list[dict[str, Any]]] = {}
    with path.open("w", encoding="utf-8") as stream:
        for place in np.random.default_rng(0).permutation(len(row)).tolist():
            tag, (index, at) = stages.plan.languages[language[place]], divmod(int(row[place]), BLOCK_ROWS)
            if (tag, index) not in blocks:
                blocks[tag, index] = stages.corpus.block(tag, "train", index, ["english", "text"]).to_pylist()
            pair = blocks[tag, index][at]
            stream.write(json.dumps({"english": pair["english"], "foreign": pair["text"]}, ensure_ascii=False) + "\n")
