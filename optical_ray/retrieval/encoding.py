"""Texts -> token clouds: batches of equal cost, in the order of length.

B texts of a batch, N tokens of its longest, T content tokens of all texts, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.student import Student
from optical_ray.encoders.tokenizer import TokenTable

BATCH_TOKENS = {"cpu": 2048, "cuda": 8192}
"""Of one forward pass, padding included. On a CPU 2,048 take a fifth less time than 8,192 (benchmarks); for a GPU nothing was
measured."""
Forward = Callable[[Tensor, Tensor], Tensor]
"""Token ids, int64 [B, N], and attention, bool [B, N] -> token vectors, float [B, N, D]."""
Pool = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Likewise, and which tokens stand behind the prefix, bool [B, N] -> text vectors, float [B, D]."""


def length_sorted_batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Indices of texts, the longest first, cut so that texts times longest text stays within the budget (one text may exceed it).

    The longest come first so that memory that does not suffice says so at once. Equal lengths stay in their order.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, done = [], 0
    while done < len(order):
        count = max(1, budget // max(1, int(lengths[order[done]])))
        batches.append(order[done : done + count])
        done += count
    return batches


def encode_texts(
    student: Student, table: TokenTable, device: str = "cpu", batches: Iterable[NDArray[np.int64]] | None = None
) -> TokenClouds:
    """The student's content tokens of tokenised texts, not normalised, on the CPU; no gradient, no dropout.

    Args:
        student: On `device`; its mode is what it was afterwards.
        table: Every text once.
        batches: Indices of texts, each once; None: `length_sorted_batches` of BATCH_TOKENS.
    """
    was_training = student.training
    student.eval()
    found = encode_table(student, student.projection.out_features, table, device, batches)
    student.train(was_training)
    return found


def encode_table(
    forward: Forward, dimension: int, table: TokenTable, device: str = "cpu", batches: Iterable[NDArray[np.int64]] | None = None
) -> TokenClouds:
    """The content tokens of tokenised texts as any model gives them, on the CPU; no gradient. Arguments as `encode_texts`.

    Args:
        forward: The model, in evaluation mode, on `device`.
        dimension: D.
    """
    before = np.concatenate([[0], np.cumsum(table.content)])  # content tokens before each token
    vectors_TD = torch.empty(int(before[-1]), dimension)
    with torch.inference_mode():
        for chosen in length_sorted_batches(table.lengths, _budget(device)) if batches is None else batches:
            batch = _Batch.of(table, chosen)
            states_BND = forward(torch.from_numpy(batch.ids_BN).to(device), torch.from_numpy(batch.attention_BN).to(device))
            rows = states_BND[torch.from_numpy(batch.content_BN).to(device)].float().cpu()
            vectors_TD[torch.from_numpy(before[batch.at[table.content[batch.at]]])] = rows
    return TokenClouds(vectors_TD, torch.from_numpy(before[table.offsets[1:]] - before[table.offsets[:-1]]))


def pool_table(pool: Pool, dimension: int, table: TokenTable, device: str = "cpu") -> TokenClouds:
    """One vector of every text, as clouds of one token each; no gradient.

    Args:
        pool: The model and its pooling, in evaluation mode, on `device`.
        dimension: D.
        table: Every text once.
    """
    vectors_TD = torch.empty(len(table), dimension)
    with torch.inference_mode():
        for chosen in length_sorted_batches(table.lengths, _budget(device)):
            batch = _Batch.of(table, chosen)
            # Sentence-Transformers leaves out a prompt together with the CLS in front of it.
            told_BN = batch.attention_BN & (np.cumsum(batch.content_BN, axis=1) > 0)
            told_BN[~batch.content_BN.any(1)] = batch.attention_BN[~batch.content_BN.any(1)]
            parts = (torch.from_numpy(part).to(device) for part in (batch.ids_BN, batch.attention_BN, told_BN))
            vectors_TD[torch.from_numpy(chosen)] = pool(*parts).float().cpu()
    return TokenClouds(vectors_TD, torch.ones(len(table), dtype=torch.int64))


def _budget(device: str) -> int:
    return BATCH_TOKENS[device.partition(":")[0]]


class _Batch(NamedTuple):
    """Some texts, padded on the right."""

    ids_BN: NDArray[np.int64]
    """0 at padding."""
    attention_BN: NDArray[np.bool_]
    content_BN: NDArray[np.bool_]
    at: NDArray[np.int64]
    """Where in the table each token that is no padding stands."""

    @classmethod
    def of(cls, table: TokenTable, chosen: NDArray[np.int64]) -> _Batch:
        lengths_B = table.lengths[chosen]
        place_N = np.arange(int(lengths_B.max()))
        attention_BN = place_N < lengths_B[:, None]
        at = (table.offsets[chosen][:, None] + place_N)[attention_BN]
        ids_BN, content_BN = np.zeros(attention_BN.shape, np.int64), np.zeros(attention_BN.shape, bool)
        ids_BN[attention_BN], content_BN[attention_BN] = table.ids[at], table.content[at]
        return cls(ids_BN, attention_BN, content_BN, at)
