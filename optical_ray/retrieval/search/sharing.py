"""Items of work on as many threads as torch has; what is called must release the GIL."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

PER_THREAD = 2**24
"""Operations that a further thread must have before starting it pays: about a millisecond of multiplications."""
PARTS_PER_THREAD = 8


def share_out(work: Callable[[int, int], None], operations: NDArray[np.int64]) -> None:
    """Call `work(first, last)` with spans of items that do not overlap, each item in one of them.

    Threads are started for each call: a pool that is kept would be dead in a forked child, and starting takes 0.1 ms.

    Args:
        work: Does the items `first` to `last - 1`.
        operations: Of all items before each, and in all: ascending, int64 [items + 1].
    """
    count, total = len(operations) - 1, int(operations[-1])
    threads = max(1, min(torch.get_num_threads(), count, total // PER_THREAD))
    if threads == 1:
        work(0, count)
        return
    parts = threads * PARTS_PER_THREAD
    edges = np.unique(np.concatenate([[0], np.searchsorted(operations, np.arange(1, parts) * (total / parts)), [count]]))
    with ThreadPoolExecutor(threads, "search") as pool:
        for done in [pool.submit(work, int(first), int(last)) for first, last in pairwise(edges)]:
            done.result()
