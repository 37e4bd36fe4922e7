"""Texts and a model for `encode` and `real`: given ones, or made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel

from optical_ray.encoders.config import StudentConfig, TokenizerConfig
from optical_ray.encoders.pretrained import load_tokenizer, read_config, silence_transformers
from optical_ray.encoders.student import build_student
from optical_ray.encoders.student_folder import save_student
from optical_ray.encoders.tokenizer import train_tokenizer

MAX_TOKENS = 128
LONGEST = 60  # words of a made-up text


def read_texts(path: Path | None, count: int) -> list[str]:
    """The first lines of a file, or texts of made-up words, 3 to LONGEST each."""
    if path is not None:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()][:count]
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("abdefgiklmnoprstu"), size)) for size in draw.integers(2, 9, 5000)]
    return [" ".join(words[place] for place in draw.zipf(1.3, draw.integers(3, LONGEST + 1)) % len(words)) for _ in range(count)]


def make_model(encoder: Path | None, texts: list[str], sizes: tuple[int, int, int], folder: Path) -> Path:
    """A student's folder, which Sentence-Transformers reads too: the given encoder, or a random one, and a projection to its own width.

    Args:
        sizes: Layers, width and vocabulary of a random one.
    """
    if (folder / "student").is_dir():
        return folder / "student"
    silence_transformers()
    if encoder is None:
        layers, width, vocabulary = sizes
        encoder = folder / "encoder"
        train_tokenizer(texts, TokenizerConfig(vocab_size=vocabulary, min_frequency=1), encoder)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            intermediate_size=4 * width,
            max_position_embeddings=512,
        )
        BertModel(config, add_pooling_layer=False).save_pretrained(encoder)
    width = int(read_config(str(encoder), None).hidden_size)
    tokenizer = load_tokenizer(str(encoder))
    student_config = StudentConfig(init=str(encoder), max_tokens=MAX_TOKENS, document_max_tokens=MAX_TOKENS)
    sample = torch.randn(width, generator=torch.Generator().manual_seed(1))
    student = build_student(student_config, tokenizer, sample, 1.0, torch.Generator().manual_seed(0))
    save_student(student, tokenizer, student_config, folder / "student")
    return folder / "student"
