"""Token ids of many texts -> what a model makes of them, in batches of like length, without gradient.

B texts of a batch, N tokens, T tokens of all texts, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.tokenizer import TokenTable

BATCH_TOKENS = 8192  # of one forward pass, padding included
Forward = Callable[[Tensor, Tensor], Tensor]
"""Token ids, int64 [B, N], and attention, bool [B, N] (False at padding) -> token vectors, float [B, N, D]."""


def encode_table(forward: Forward, dimension: int, table: TokenTable, device: str = "cpu") -> TokenClouds:
    """The content tokens of every text, float32 on the CPU, as the model gives them."""
    before = np.concatenate([[0], table.content.cumsum(dtype=np.int64)])
    starts, stops = before[table.offsets[:-1]], before[table.offsets[1:]]
    vectors_TD = torch.empty(int(before[-1]), dimension)
    for chosen, ids_BN, attention_BN in _batches(table):
        content_BN = np.zeros(ids_BN.shape, np.bool_)
        for line, text in enumerate(chosen):
            content_BN[line, : table.lengths[text]] = table.content[table.offsets[text] : table.offsets[text + 1]]
        places = np.concatenate([np.arange(starts[text], stops[text]) for text in chosen])
        with torch.inference_mode():
            states_BND = forward(ids_BN.to(device), attention_BN.to(device)).float().cpu()
            vectors_TD[torch.from_numpy(places)] = states_BND[torch.from_numpy(content_BN)]
    return TokenClouds(vectors_TD, torch.from_numpy(stops - starts))


def pool_table(pool: Callable[[Tensor, Tensor, Tensor], Tensor], dimension: int, table: TokenTable, device: str = "cpu") -> TokenClouds:
    """One vector of every text, as clouds of one token each.

    Args:
        pool: Token ids [B, N], attention [B, N] and which tokens are neither prefix nor padding, bool [B, N] -> vectors [B, D].
        dimension: D.
        table: Texts.
        device: Of the model.
    """
    vectors_TD = torch.empty(len(table), dimension)
    for chosen, ids_BN, attention_BN in _batches(table):
        told_BN = attention_BN.clone()
        for line, text in enumerate(chosen):
            told_BN[line, : table.lengths[text]] = _beyond_prefix(table.content[table.offsets[text] : table.offsets[text + 1]])
        with torch.inference_mode():
            vectors_TD[torch.from_numpy(chosen)] = pool(ids_BN.to(device), attention_BN.to(device), told_BN.to(device)).float().cpu()
    return TokenClouds(vectors_TD, torch.ones(len(table), dtype=torch.int64))


def _beyond_prefix(content_N: NDArray[np.bool_]) -> Tensor:
    """Without the tokens in front of the first content token: CLS and prefix, which Sentence-Transformers cuts off together."""
    first = int(content_N.argmax()) if content_N.any() else 0
    return torch.arange(len(content_N)) >= first


def _batches(table: TokenTable) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Which texts, their ids [B, N] and attention [B, N]; shortest first. The same table gives the same batches."""
    order = np.argsort(table.lengths, kind="stable")
    done = 0
    while done < len(order):
        widest = int(table.lengths[order[min(done + BATCH_TOKENS // 8, len(order) - 1)]])
        chosen = order[done : done + max(1, BATCH_TOKENS // max(widest, 8))]
        width = int(table.lengths[chosen].max())
        ids_BN = torch.zeros(len(chosen), width, dtype=torch.int64)
        attention_BN = torch.zeros(len(chosen), width, dtype=torch.bool)
        for line, text in enumerate(chosen):
            own = table.ids[table.offsets[text] : table.offsets[text + 1]]
            ids_BN[line, : len(own)] = torch.from_numpy(own.astype(np.int64))
            attention_BN[line, : len(own)] = True
        yield chosen, ids_BN, attention_BN
        done += len(chosen)
