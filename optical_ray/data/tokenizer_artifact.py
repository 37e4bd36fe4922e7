"""The tokenizer of a student from scratch, trained once on the text of a pool of languages; and how many tokens a row has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store
from optical_ray.data.corpus import Corpus
from optical_ray.data.layout import BLOCK_ROWS, shard_parts
from optical_ray.data.token_shards import TokenRules, make_block
from optical_ray.data.wheels import Progress
from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.tokenizer import train_tokenizer

TOKENIZER_ROWS = 64 * BLOCK_ROWS  # of a language, at most, that a tokenizer is trained on


@dataclass(frozen=True, slots=True)
class TextPool:
    """Languages of one corpus."""

    corpus: Corpus
    languages: tuple[str, ...]

    def texts(self) -> Iterator[str]:
        """Of the languages, by tag, the first TOKENIZER_ROWS training rows of each: stored order is as good as a random sample."""
        for tag in sorted(self.languages):
            for index in range(-(-min(self.corpus.pairs("train")[tag], TOKENIZER_ROWS) // BLOCK_ROWS)):
                yield from self.corpus.block(tag, "train", index, ("text",))["text"].to_pylist()


def build_tokenizer(store: Store, pools: Sequence[TextPool], config: TokenizerConfig, progress: Progress | None = None) -> Path:
    """The tokenizer of some languages' training text, from the store.

    Args:
        store: Where it is kept.
        pools: The text of at most one corpus each; pools of one corpus are taken together.
        config: Kind and size.
        progress: Told one short line when one is trained.
    """
    merged: dict[str, TextPool] = {}
    for pool in pools:
        known = merged.get(pool.corpus.fingerprint, TextPool(pool.corpus, ()))
        merged[pool.corpus.fingerprint] = TextPool(pool.corpus, tuple(sorted({*known.languages, *pool.languages})))
    first, *others = merged.items()
    settings = {name: value for name, value in config.to_dict().items() if name != "scope"}  # says which text, not what is made of it
    inputs: dict[str, Any] = {"corpus": first[0], "languages": list(first[1].languages), "config": settings}
    if others:
        inputs["others"] = [{"corpus": name, "languages": list(pool.languages)} for name, pool in others]

    def fill(scratch: Path) -> None:
        if progress is not None:
            progress(f"tokenizer: {config.vocab_size:,} pieces from {len(set(chain(*(p.languages for p in merged.values()))))} languages")
        for pool in merged.values():
            for tag in pool.languages:
                pool.corpus.require_intact(shard_parts(tag, "train"))
        train_tokenizer(chain.from_iterable(pool.texts() for pool in merged.values()), config, scratch)

    return store.build("tokenizer", inputs, fill)


def tokens_per_row(rules: TokenRules, tag: str) -> float:
    """Mean content tokens of a language's rows, over its first block."""
    block = make_block(rules, tag, 0)
    return float(block.tokens.content.sum() / max(1, len(block.tokens)))
