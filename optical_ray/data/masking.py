"""Masked-LM masks: which tokens are to be guessed, and what stands in their place. The same for any number of workers.

B sentences of one worker, N tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from optical_ray.data.batches import TextBatch
from optical_ray.data.plan import Position
from optical_ray.errors import ModelError
from optical_ray.seeding import derive_seed

IGNORED = -100
"""Label of a token that is not to be guessed, as in transformers."""
SHOWN_AS_MASK, SHOWN_AS_RANDOM = 0.8, 0.1
"""Of the tokens to be guessed; the others are shown as they are (Devlin et al. 2019, section 3.1)."""


@dataclass(frozen=True, slots=True)
class MaskedBatch:
    """One worker's part of a global batch of text, some of it to be guessed."""

    ids_BN: Tensor
    """What the model reads, int64."""
    attention_BN: Tensor
    """False at padding."""
    labels_BN: Tensor
    """The true token where it is to be guessed, else IGNORED; int64."""
    language_B: Tensor
    """Index into the plan's languages, int64."""

    def to(self, device: str) -> Self:
        """The batch on a device."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def part(self, pairs: slice) -> Self:
        """Some of the sentences; views, padded as the batch is."""
        return replace(self, **{field.name: getattr(self, field.name)[pairs] for field in fields(self)})


@dataclass(frozen=True, slots=True)
class MaskRules:
    """How sentences are masked."""

    probability: float
    mask_id: int
    """Of [MASK]."""
    ordinary: NDArray[np.int64]
    """Tokens that may stand in another's place at random: the vocabulary without its special tokens."""
    max_tokens: int
    """Of the longest sentence: each row draws so many numbers, however far its worker pads it."""
    seed: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, probability: float, max_tokens: int, seed: int) -> Self:
        """Rules for a tokenizer.

        Raises:
            ModelError: it has no mask token, or nothing but special ones.
        """
        if tokenizer.mask_token_id is None:
            raise ModelError(f"{tokenizer.name_or_path}: its tokenizer has no mask token, which masked-LM pre-training needs")
        special = [*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder]
        ordinary = np.setdiff1d(np.arange(len(tokenizer)), special)
        if not len(ordinary):
            raise ModelError(f"{tokenizer.name_or_path}: its tokenizer knows special tokens alone")
        return cls(probability, int(tokenizer.mask_token_id), ordinary, max_tokens, seed)

    def mask(self, batch: TextBatch, name: tuple[str | int, ...], rows: slice, total: int) -> MaskedBatch:
        """Mask some rows of a batch of `total`: only content tokens, so no special, prefix or padding token is ever to be guessed.

        Args:
            batch: The rows.
            name: Of this use of randomness; equal names give a row the same mask.
            rows: Where the batch's rows stand among all.
            total: Rows of the whole batch, over all workers.
        """
        generator = np.random.default_rng(derive_seed(self.seed, *name))
        shape = (total, self.max_tokens)
        chosen, kind = generator.random(shape, np.float32), generator.random(shape, np.float32)
        other = generator.integers(len(self.ordinary), size=shape)
        width = batch.ids_BN.shape[1]
        chosen_BN, kind_BN, other_BN = (torch.from_numpy(drawn[rows, :width]) for drawn in (chosen, kind, self.ordinary[other]))
        guess_BN = (chosen_BN < self.probability) & batch.content_BN
        ids_BN = batch.ids_BN.masked_fill(guess_BN & (kind_BN < SHOWN_AS_MASK), self.mask_id)
        random_BN = guess_BN & (kind_BN >= SHOWN_AS_MASK) & (kind_BN < SHOWN_AS_MASK + SHOWN_AS_RANDOM)
        ids_BN = torch.where(random_BN, other_BN, ids_BN)
        return MaskedBatch(ids_BN, batch.attention_BN, batch.ids_BN.masked_fill(~guess_BN, IGNORED), batch.language_B)


def mask_batches(
    batches: Iterator[tuple[TextBatch, Position]], rules: MaskRules, start: Position, group: int, rank: int = 0, workers: int = 1
) -> Iterator[tuple[MaskedBatch, Position]]:
    """Mask one worker's part of every global batch: drawn for the whole batch, by its place in the plan, so neither workers nor a resumed
    training change a mask.

    Args:
        batches: As `read_batches` gives them from `start` on.
        rules: How.
        start: Position before the first.
        group: Sentences of a group; a worker holds whole groups, in order.
        rank: Of this worker.
        workers: How many there are.
    """
    before = start
    for batch, after in batches:
        total = after.pairs - before.pairs
        groups = total // group
        rows = slice(groups * rank // workers * group, groups * (rank + 1) // workers * group)
        yield rules.mask(batch, ("mask", before.window, before.batch), rows, total), after
        before = after
