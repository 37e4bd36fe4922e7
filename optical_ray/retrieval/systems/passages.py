"""From scores of passages to scores of documents."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optical_ray.retrieval.collection import DocumentBlock


def best_passages(scores_QP: NDArray[Any], block: DocumentBlock) -> NDArray[np.float32]:
    """The score of each document's best passage (MaxP, Dai & Callan 2019), float32 [Q, C]."""
    if len(block) == len(block.passages):
        return np.asarray(scores_QP, np.float32)
    starts = np.searchsorted(block.owner, np.arange(len(block)))
    found: NDArray[np.float32] = np.maximum.reduceat(scores_QP, starts, axis=1).astype(np.float32)
    return found
