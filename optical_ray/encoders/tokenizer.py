"""Tokenizers: one trained on the bitext for students from scratch, or a folder's own; texts -> ragged token ids."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from optical_ray.encoders.config import TokenizerConfig
from optical_ray.errors import ConfigError, ModelError

log = logging.getLogger(__name__)
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
_UNUSED = re.compile(r"\[unused\d+\]")


def train_tokenizer(texts: Iterable[str], config: TokenizerConfig, folder: Path) -> None:
    """Train byte-pair encoding on texts in a given order and save it as a Hugging Face tokenizer folder.

    Deterministic: the same texts in the same order give the same merges (one thread; the parallel count breaks ties by arrival).
    """
    tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(True)]
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size, min_frequency=config.min_frequency, special_tokens=list(SPECIAL.values()), show_progress=False
    )
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        tokenizer.train_from_iterator(texts, trainer)
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
    ids = [(token, tokenizer.token_to_id(token)) for token in (SPECIAL["cls_token"], SPECIAL["sep_token"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ids)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(folder)


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Token ids of many texts, ragged: text i owns ids[offsets[i]:offsets[i + 1]]."""

    ids: NDArray[np.int32]
    content: NDArray[np.bool_]
    """True at tokens that carry mass: not padding, CLS, SEP, prefix, mask."""
    offsets: NDArray[np.int64]
    """int64 [texts + 1]."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        return self.offsets[1:] - self.offsets[:-1]

    def take(self, texts: NDArray[np.integer[Any]]) -> TokenTable:
        """The table of some of the texts, in the order given; a text may be asked for twice."""
        starts = self.offsets[texts]
        lengths = self.offsets[texts + 1] - starts
        offsets = np.concatenate([[0], lengths.cumsum()])
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return TokenTable(self.ids[places], self.content[places], offsets)

    def slice(self, start: int, stop: int) -> TokenTable:
        """Texts [start, stop), as views."""
        first, last = self.offsets[start], self.offsets[stop]
        return TokenTable(self.ids[first:last], self.content[first:last], self.offsets[start : stop + 1] - first)

    @classmethod
    def join(cls, tables: Sequence[TokenTable]) -> TokenTable:
        """The texts of several tables, one table after the other."""
        lengths = np.concatenate([np.zeros(0, np.int64), *(table.lengths for table in tables)])
        ids = np.concatenate([np.zeros(0, np.int32), *(table.ids for table in tables)])
        content = np.concatenate([np.zeros(0, np.bool_), *(table.content for table in tables)])
        return cls(ids, content, np.concatenate([[0], lengths.cumsum()]))


def split_marker(tokenizer: PreTrainedTokenizerBase, prefix: str) -> tuple[str, str]:
    """The marker that a prefix begins with, empty where it begins with none, and the text behind it.

    ColBERT puts one token behind CLS that says whether a query or a document follows ("[Q] ", "[unused1]"; Khattab & Zaharia 2020), as an
    id and not as text, which most tokenizers would take apart. A prefix begins with a marker when it begins with an added token of the
    tokenizer, or with one of BERT's unused tokens that is in its vocabulary. "query: " is text.
    """
    unused = _UNUSED.match(prefix)
    added = [token for token in tokenizer.get_added_vocab() if prefix.startswith(token)]
    marker = max(added, key=len) if added else unused.group() if unused else ""
    if not marker or tokenizer.backend_tokenizer.token_to_id(marker) is None:
        return "", prefix
    return marker, prefix.removeprefix(marker).lstrip()


def tokenize(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int, prefix: str = "") -> TokenTable:
    """Token ids of texts, special tokens included, cut to `max_tokens`; special, marker and prefix tokens are not content.

    Args:
        tokenizer: A fast tokenizer (its offsets tell the prefix from the text).
        texts: UTF-8 strings, not empty.
        max_tokens: Length limit, special tokens and marker included.
        prefix: Put before every text, such as "query: ", or a marker such as "[D] " (see `split_marker`); carries no mass.

    Raises:
        ModelError: the tokenizer is not a fast one.
        ConfigError: `max_tokens` leaves no token of a text beside the special ones, marker and prefix.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer has no fast form (tokenizer.json); convert it with transformers and save it"
        )
    marker, prefix = split_marker(tokenizer, prefix) if prefix else ("", prefix)
    taken = backend.num_special_tokens_to_add(False) + bool(marker)
    taken += len(backend.encode(prefix, add_special_tokens=False).ids) if prefix else 0
    if max_tokens <= taken:  # below the number of special tokens, the library would not cut at all
        raise ConfigError(f"a limit of {max_tokens} tokens: {taken} of them are special, marker or prefix; expected at least {taken + 1}")
    # Asked directly: what PreTrainedTokenizerBase makes of the answer costs as much as the answer.
    backend.enable_truncation(max_tokens - bool(marker), direction=tokenizer.truncation_side)
    backend.no_padding()
    encode = backend.encode_batch if prefix else backend.encode_batch_fast  # the fast one has no offsets
    encodings = encode([prefix + text for text in texts])
    ids = [encoding.ids for encoding in encodings]
    lengths = np.fromiter(map(len, ids), np.int64, len(ids))
    total = int(lengths.sum())
    content = np.fromiter(chain.from_iterable(encoding.special_tokens_mask for encoding in encodings), np.int8, total) == 0
    if prefix:
        content &= np.fromiter((end for encoding in encodings for _, end in encoding.offsets), np.int64, total) > len(prefix)
    table = TokenTable(np.fromiter(chain.from_iterable(ids), np.int32, total), content, np.concatenate([[0], lengths.cumsum()]))
    identity = backend.token_to_id(marker) if marker else None
    return table if identity is None else _insert_marker(table, identity)


def _insert_marker(table: TokenTable, marker: int) -> TokenTable:
    """Behind the first token of every text, as PyLate does."""
    places = np.minimum(table.offsets[:-1] + 1, table.offsets[1:])
    ids = np.insert(table.ids, places, marker)
    content = np.insert(table.content, places, False)
    return TokenTable(ids, content, table.offsets + np.arange(len(table.offsets)))
