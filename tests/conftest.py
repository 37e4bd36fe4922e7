"""A tiny world: parallel sentences of four made-up languages, a tiny English teacher on disk, and a recipe that trains in a second."""

import hashlib
import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported: no test asks a hub
os.environ["RAY_ADDRESS"] = "local"  # a test never joins a cluster that happens to run

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentences import OBJECTS, SUBJECTS, VERBS, translate
from transformers import BertConfig, BertModel

from optical_ray.artifacts import Store
from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.pretrained import silence_transformers
from optical_ray.encoders.tokenizer import train_tokenizer
from optical_ray.recipe import Recipe

LANGUAGES = ("sw", "ha", "yo", "so")


@dataclass(frozen=True)
class World:
    """What a test of a whole trial needs."""

    store: Store
    recipe: Recipe
    bitext: Path
    teacher: Path


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Built once a session; tests share the store as trials do."""
    silence_transformers()
    root = tmp_path_factory.mktemp("world")
    sentences = [f"{s} {v} {o}" for s in SUBJECTS for v in VERBS for o in OBJECTS]
    sentences = sorted(sentences, key=lambda text: hashlib.sha256(text.encode()).digest())[:360]
    for index, language in enumerate(LANGUAGES):
        kept = sentences[: 360 - 40 * index]
        rows = {"english": kept, "text": [translate(text, language) for text in kept]}
        folder = root / "bitext" / f"lang={language}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table(rows), folder / "part-0.parquet")
    teacher = root / "teacher"
    train_tokenizer(sentences, TokenizerConfig(vocab_size=200, min_frequency=1), teacher)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=200, max_position_embeddings=64, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(teacher)
    recipe = Recipe().override(
        {
            "corpus.sources": [str(root / "bitext")],
            "corpus.cleaning.near_duplicates": "off",  # its sentences are made of a few words
            "corpus.min_pairs": 50,
            "teacher.path": str(teacher),
            "tokenizer.vocab_size": 600,
            "student.hidden_size": 32,
            "student.num_heads": 2,
            "student.num_layers": 1,
            "languages.pool": list(LANGUAGES),
            "batch.pairs": 16,
            "batch.group": 8,
            "training.max_steps": 20,
            "training.report_every": 5,
            "training.validate_every": 10,
            "training.checkpoint_every": 10,
            "evaluation.valid_queries": 10,
            "evaluation.test_queries": 12,
            "evaluation.candidates": 20,
        }
    )
    return World(Store(root / "store"), recipe, root / "bitext", teacher)
