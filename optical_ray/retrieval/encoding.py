"""Texts -> token clouds of a student: batches of equal cost, in the order of length.

B texts of a batch, N tokens of its longest, T content tokens of all texts, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.student import Student
from optical_ray.encoders.tokenizer import TokenTable

BATCH_TOKENS = 8192
"""Of one forward pass, padding included."""


def length_sorted_batches(lengths: NDArray[np.int64], budget: int = BATCH_TOKENS) -> list[NDArray[np.int64]]:
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
        batches: Indices of texts, each once; None: `length_sorted_batches`.
    """
    before = np.concatenate([[0], np.cumsum(table.content)])  # content tokens before each token
    vectors_TD = torch.empty(int(before[-1]), student.projection.out_features)
    was_training = student.training
    student.eval()
    with torch.inference_mode():
        for chosen in length_sorted_batches(table.lengths) if batches is None else batches:
            lengths_B = table.lengths[chosen]
            place_N = np.arange(int(lengths_B.max()))
            attention_BN = place_N < lengths_B[:, None]
            at = (table.offsets[chosen][:, None] + place_N)[attention_BN]
            ids_BN, content_BN = np.zeros(attention_BN.shape, np.int64), np.zeros(attention_BN.shape, bool)
            ids_BN[attention_BN], content_BN[attention_BN] = table.ids[at], table.content[at]
            states_BND = student(torch.from_numpy(ids_BN).to(device), torch.from_numpy(attention_BN).to(device))
            rows = states_BND[torch.from_numpy(content_BN).to(device)].float().cpu()
            vectors_TD[torch.from_numpy(before[at[table.content[at]]])] = rows
    student.train(was_training)
    return TokenClouds(vectors_TD, torch.from_numpy(before[table.offsets[1:]] - before[table.offsets[:-1]]))
