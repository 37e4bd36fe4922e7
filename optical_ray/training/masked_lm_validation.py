"""What a masked language model knows of each language: the loss on held-out rows under masks that never change, beside its floor.

V pieces of the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from optical_ray.data.batches import TextBatch, pad_tokens
from optical_ray.data.corpus import Corpus
from optical_ray.data.masking import IGNORED, MaskedBatch, MaskRules
from optical_ray.data.token_shards import TokenRules
from optical_ray.data.unigrams import count_pieces, training_blocks, unigram_nats
from optical_ray.encoders.masked_lm import MaskedLanguageModel
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.runs import names
from optical_ray.training.masked_lm import masked_cross_entropy

BATCH_ROWS = 64


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Validation rows of one language, masked once and for all."""

    language: str
    batches: tuple[MaskedBatch, ...]
    tokens: int
    """To be guessed."""
    unigram: float
    """Cross entropy of those under the frequencies of the language's training rows, nats: the floor."""


def hold_out(corpus: Corpus, rules: TokenRules, masks: MaskRules, tokenizer: Any, languages: Sequence[str], rows: int) -> list[HeldOut]:
    """The validation rows of each language that has any; the same, and masked alike, in every pre-training with this tokenizer.

    Args:
        corpus: Whose split `valid` is read, and whose training rows give the floor.
        rules: How its text becomes tokens.
        masks: How they are masked.
        tokenizer: Of the rules.
        languages: Seen in pre-training or not.
        rows: Of each language, at most.
    """
    found = []
    for tag in languages:
        texts = corpus.head(tag, "valid", rows, ("text",))["text"].to_pylist()
        if not texts:
            continue
        table = tokenize(tokenizer, texts, rules.max_tokens, rules.prefix)
        table = table.take(np.argsort(table.lengths, kind="stable"))
        batches = []
        for first in range(0, len(table), BATCH_ROWS):
            last = min(first + BATCH_ROWS, len(table))
            text = TextBatch(*pad_tokens(table.slice(first, last)), torch.zeros(last - first, dtype=torch.int64))
            batches.append(masks.mask(text, ("valid-mask", tag), slice(first, last), len(table)))
        guessed = torch.cat([batch.labels_BN[batch.labels_BN != IGNORED] for batch in batches]).numpy()
        counts_V = count_pieces(training_blocks(rules, tag, corpus.pairs("train")[tag]), len(tokenizer))
        found.append(HeldOut(tag, tuple(batches), len(guessed), unigram_nats(counts_V, guessed)))
    return found


def losses_by_language(model: MaskedLanguageModel, held_out: Sequence[HeldOut], device: str) -> dict[str, float]:
    """Mean negative log probability of the masked tokens of each language, nats; NaN where none is masked. Float32, without dropout."""
    training = model.training
    model.eval()
    found = {}
    with torch.no_grad():
        for language in held_out:
            total = 0.0
            for batch in language.batches:
                on_device = batch.to(device)
                states_BND = model(on_device.ids_BN, on_device.attention_BN)
                total += float(masked_cross_entropy(model, states_BND, on_device.labels_BN).double().sum())
            found[language.language] = total / language.tokens if language.tokens else math.nan
    model.train(training)
    return found


def validation_metrics(losses: Mapping[str, float], seen: Sequence[str]) -> dict[str, float]:
    """Losses by metric name: of each language, and the means over languages seen in pre-training and over the others."""
    metrics = {names.valid_masked_lm(tag): loss for tag, loss in losses.items()}
    for name, chosen in (
        (names.VALID_MASKED_LM, [loss for tag, loss in losses.items() if tag in seen]),
        (names.VALID_MASKED_LM_UNSEEN, [loss for tag, loss in losses.items() if tag not in seen]),
    ):
        finite = [loss for loss in chosen if math.isfinite(loss)]
        if finite:
            metrics[name] = float(np.mean(finite))
    return metrics
