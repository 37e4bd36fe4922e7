"""Per-query outcomes from scores. Q queries, C candidates, one relevant candidate per query."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from optical_ray.retrieval.questions import name_candidates, name_question
from optical_ray.retrieval.tasks import TASK, BitextTask
from optical_ray.runs.schemas import QUERIES


def rank_of_gold(scores_QC: Tensor, gold_Q: Tensor) -> Tensor:
    """1-based rank of each query's relevant candidate, int64 [Q]. Ties count against us, and so does a score that is not a number."""
    scores_QC = scores_QC.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    gold_Q1 = scores_QC.gather(1, gold_Q[:, None])
    return (scores_QC >= gold_Q1).sum(1)


def query_rows(task: BitextTask, scores_QC: Tensor, system: str, scorer: str) -> pa.Table:
    """Outcomes of one language's queries, schema QUERIES.

    With one relevant candidate at rank r: AP = 1/r, AP@20 = 1/r up to rank 20 and 0 beyond, nDCG@10 = 1/log2(1 + r) up to rank 10,
    R@100 = 1 up to rank 100.
    """
    rank = rank_of_gold(scores_QC, torch.from_numpy(task.gold)).numpy()
    count, pool = len(rank), len(task.candidates)
    top = scores_QC.nan_to_num(nan=-torch.inf).argmax(1).numpy()
    columns = {
        "system": [system] * count,
        "task": [TASK] * count,
        "collection": [f"{task.language}-en"] * count,
        "split": [task.split] * count,
        "scorer": [scorer] * count,
        "query_language": [task.language] * count,
        "document_language": ["en"] * count,
        "query_id": list(task.query_ids),
        "relevant_id": [str(task.candidates[i]) for i in task.gold],
        "rank": rank.astype(np.int32),
        "num_relevant": np.ones(count, np.int32),
        "num_candidates": np.full(count, pool, np.int32),
        "AP": (1 / rank).astype(np.float32),
        "AP@20": np.where(rank <= 20, 1 / rank, 0).astype(np.float32),
        "nDCG@10": np.where(rank <= 10, 1 / np.log2(1 + rank), 0).astype(np.float32),
        "R@100": (rank <= 100).astype(np.float32),
        "asked": [
            name_question(text, task.language, {str(task.candidates[place]): 1})
            for text, place in zip(task.query_texts, task.gold, strict=True)
        ],
        "among": [name_candidates(task.candidate_texts)] * count,
        "top_candidate_id": [str(task.candidates[i]) for i in top],
    }
    return pa.table(columns, schema=QUERIES)
