"""The order of a query's documents as one whole number each: of two documents the better has the larger key.

    bits 32 to 63   the score, so that whole numbers compare as the scores do
    bit 31          1 where the document is not relevant: of equal scores, relevant documents stand behind all others
    bits 0 to 30    counted from the last document: of those that are left, stored order

No two documents of a query have an equal key, so what ranks best does not depend on the order in which scores arrive.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

MOST_DOCUMENTS = 2**31
NEVER = np.iinfo(np.int64).min
"""The key of an empty seat: below that of every document."""
STEP = 2.0**-20
"""Scores are rounded to multiples of it, below COARSE in size: encodings of one text in two batches differ by less."""
COARSE = 8.0
"""From here on float32 itself holds no finer steps."""
_SIGN = 0x7FFFFFFF


@njit(cache=True, nogil=True)
def key_of(score, relevant, place):
    """Of one document. A score that is not a number counts as -inf."""
    if np.isnan(score):
        score = np.float32(-np.inf)
    rounded = np.rint(score / STEP) * STEP if abs(score) < COARSE else np.float64(score)
    bits = np.int64(np.float32(rounded + 0.0).view(np.int32))  # + 0.0: a negative zero is zero
    if bits < 0:
        bits ^= _SIGN
    return (bits << 32) | (np.int64(not relevant) << 31) | (MOST_DOCUMENTS - 1 - place)


@njit(cache=True, nogil=True)
def form_keys(scores, places, relevant, keys):
    """Keys of some documents of one query. `places` and `relevant` ascend."""
    at = 0
    for i in range(len(scores)):
        while at < len(relevant) and relevant[at] < places[i]:
            at += 1
        keys[i] = key_of(scores[i], at < len(relevant) and relevant[at] == places[i], places[i])


@njit(cache=True, nogil=True)
def offer(heap, key):
    """Put a key in the place of the smallest, if it is larger than that."""
    if key <= heap[0]:
        return
    at, child = 0, 1
    while child < len(heap):
        if child + 1 < len(heap) and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= key:
            break
        heap[at] = heap[child]
        at, child = child, 2 * child + 1
    heap[at] = key


@njit(cache=True, nogil=True)
def bar_of(key):
    """A score below it, before rounding, has a smaller key than this."""
    bits = key >> 32
    if key == NEVER:
        return -np.inf
    if bits < 0:
        bits ^= _SIGN
    return np.float64(np.int32(bits).view(np.float32)) - STEP


@njit(cache=True, nogil=True)
def keep_best(heap_QK, scores_QC, first, relevant_R, offsets_Q, begin, end):
    """Keep the K largest keys of the queries `begin` to `end - 1`: documents `first` onwards are offered."""
    for q in range(begin, end):
        heap = heap_QK[q]
        relevant = relevant_R[offsets_Q[q] : offsets_Q[q + 1]]
        at = np.searchsorted(relevant, first)
        bar = bar_of(heap[0])
        for c in range(scores_QC.shape[1]):
            place = first + c
            is_relevant = at < len(relevant) and relevant[at] == place
            if is_relevant:
                at += 1
            if scores_QC[q, c] < bar:
                continue
            key = key_of(scores_QC[q, c], is_relevant, place)
            if key > heap[0]:
                offer(heap, key)
                bar = bar_of(heap[0])


@njit(cache=True, nogil=True)
def keep_best_of(heap_QK, others_QK):
    """Keep the K largest keys of each query out of two sets."""
    for q in range(len(heap_QK)):
        for key in others_QK[q]:
            offer(heap_QK[q], key)


def places_of(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of documents."""
    return MOST_DOCUMENTS - 1 - (keys & _SIGN)


def scores_of(keys: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rounded scores."""
    bits = keys >> 32
    found: NDArray[np.float32] = np.where(bits < 0, bits ^ _SIGN, bits).astype(np.int32).view(np.float32)
    return found


def is_relevant(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the document was named as relevant."""
    found: NDArray[np.bool_] = (keys >> 31) & 1 == 0
    return found
