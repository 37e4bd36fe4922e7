"""Does a model find relevant documents? Held-out queries against a fixed set of candidates, each query with any number of relevant ones.

Q queries, C candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor

from optical_ray.config import Config
from optical_ray.data.relevance.table import RelevanceData
from optical_ray.encoders.config import Scorer
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.intervals import Floats, Interval, QueryBootstrap, Strings
from optical_ray.retrieval.questions import name_candidates, name_question
from optical_ray.retrieval.search.scoring import Seekers, score_block
from optical_ray.runs.schemas import QUERIES
from optical_ray.seeding import derive_seed

MEASURES = ("Success@1", "MRR@10", "nDCG@10")


class RelevanceEvaluationConfig(Config):
    """Held-out queries look for their relevant documents among candidates."""

    valid_queries: PositiveInt = 200
    """Queries of the validation split, at most."""
    test_queries: PositiveInt = 500
    """Queries of the test sources, at most."""
    candidates: PositiveInt = 1000
    """Documents that compete: all that are relevant to one of the queries, and a seeded sample of the others up to this number."""
    seed: int = 0
    """Of the choice of queries and candidates; apart from the recipe's seed, so that seeds are compared on the same queries."""


@dataclass(frozen=True, slots=True)
class RelevanceTask:
    """Queries, and the candidates that all of them are looked for in."""

    split: Literal["valid", "test"]
    query_texts: tuple[str, ...]
    candidates: NDArray[np.int64]
    """Number of each document, ascending."""
    candidate_texts: tuple[str, ...]
    relevant_QC: NDArray[np.bool_]
    """At least one in each row."""


def build_relevance_task(data: RelevanceData, config: RelevanceEvaluationConfig, split: Literal["valid", "test"]) -> RelevanceTask:
    """The held-out queries of relevance data; of a test source all are held out."""
    generator = np.random.default_rng(derive_seed(config.seed, "relevance-task", split))
    wanted = config.valid_queries if split == "valid" else config.test_queries
    rows = data.valid.take(np.sort(generator.permutation(len(data.valid))[:wanted]).tolist())
    own = np.unique([number for row in rows for number in row["positives"]])
    sample = generator.choice(len(data.documents), min(len(data.documents), config.candidates), replace=False, shuffle=False)
    others = np.setdiff1d(sample, own)
    others = generator.permutation(others)[: max(0, config.candidates - len(own))]
    candidates = np.sort(np.concatenate([own, others])).astype(np.int64)
    relevant_QC = np.zeros((len(rows), len(candidates)), bool)
    for line, row in enumerate(rows):
        relevant_QC[line, np.searchsorted(candidates, row["positives"])] = True
    texts = tuple(data.documents.texts(candidates.tolist()))
    return RelevanceTask(split, tuple(row["query"] for row in rows), candidates, texts, relevant_QC)


def score_clouds(queries: TokenClouds, documents: TokenClouds, scorer: Scorer) -> Tensor:
    """Scores [Q, C] of raw tokens."""
    return torch.from_numpy(score_block(Seekers(queries.centred(None)), documents.centred(None), [scorer])[scorer])


@dataclass(frozen=True, slots=True)
class RelevanceOutcome:
    """What one system found. Averages are derived."""

    rank_Q: NDArray[np.int64]
    """1-based rank of the first relevant candidate; ties count against us, and so does a score that is not a number."""
    ap_Q: Floats
    """Average precision, no cut-off."""
    ap20_Q: Floats
    """With cut-off 20, divided by min(relevant, 20)."""
    ndcg10_Q: Floats
    """Of binary relevance."""
    r100_Q: Floats
    """Share of the relevant candidates up to rank 100."""
    top_Q: NDArray[np.int64]
    """Place of the best candidate."""

    def values(self, measure: str) -> Floats:
        """One of MEASURES for each query, float64 [Q]."""
        if measure == "nDCG@10":
            return self.ndcg10_Q
        return np.where(self.rank_Q <= (1 if measure == "Success@1" else 10), 1.0 / self.rank_Q, 0.0)

    def means(self) -> dict[str, float]:
        """Mean over queries of each of MEASURES."""
        return {measure: float(self.values(measure).mean()) for measure in MEASURES}


def judge_scores(scores_QC: Tensor, relevant_QC: NDArray[np.bool_]) -> RelevanceOutcome:
    """Rank the candidates of each query: of equal scores, those that are not relevant come first."""
    scores = scores_QC.double().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).numpy()
    order_QC = np.stack([np.lexsort((relevant, -row)) for row, relevant in zip(scores, relevant_QC, strict=True)])
    hit_QC = np.take_along_axis(relevant_QC, order_QC, 1)
    place_C = np.arange(1, hit_QC.shape[1] + 1)
    count_Q, precision_QC = relevant_QC.sum(1), hit_QC.cumsum(1) / place_C
    gain_C = np.where(place_C <= 10, 1.0 / np.log2(1.0 + place_C), 0.0)
    ideal_Q = gain_C.cumsum()[count_Q - 1]
    return RelevanceOutcome(
        rank_Q=hit_QC.argmax(1) + 1,
        ap_Q=(precision_QC * hit_QC).sum(1) / count_Q,
        ap20_Q=(precision_QC * hit_QC)[:, :20].sum(1) / np.minimum(count_Q, 20),
        ndcg10_Q=(hit_QC * gain_C).sum(1) / ideal_Q,
        r100_Q=hit_QC[:, :100].sum(1) / count_Q,
        top_Q=order_QC[:, 0],
    )


def outcome_rows(task: RelevanceTask, outcome: RelevanceOutcome, system: str, scorer: str) -> pa.Table:
    """Per-query rows, schema QUERIES."""
    count = len(task.query_texts)
    columns = {
        "system": [system] * count,
        "task": ["relevance"] * count,
        "collection": ["en-en"] * count,
        "split": [task.split] * count,
        "scorer": [scorer] * count,
        "query_language": ["en"] * count,
        "document_language": ["en"] * count,
        "query_id": list(task.query_texts),
        "relevant_id": list(asked_for(task)),
        "rank": outcome.rank_Q.astype(np.int32),
        "num_relevant": task.relevant_QC.sum(1).astype(np.int32),
        "num_candidates": np.full(count, len(task.candidates), np.int32),
        "AP": outcome.ap_Q.astype(np.float32),
        "AP@20": outcome.ap20_Q.astype(np.float32),
        "nDCG@10": outcome.ndcg10_Q.astype(np.float32),
        "R@100": outcome.r100_Q.astype(np.float32),
        "asked": [
            name_question(text, "en", {str(task.candidates[place]): 1 for place in np.flatnonzero(relevant_C)})
            for text, relevant_C in zip(task.query_texts, task.relevant_QC, strict=True)
        ],
        "among": [name_candidates(task.candidate_texts)] * count,
        "top_candidate_id": [str(task.candidates[place]) for place in outcome.top_Q],
    }
    return pa.table(columns, schema=QUERIES)


def asked_for(task: RelevanceTask) -> Strings:
    """The first relevant document of each query: queries that share it are resampled together."""
    found: Strings = task.candidates[task.relevant_QC.argmax(1)].astype(np.str_)
    return found


def compare_outcomes(task: RelevanceTask, first: RelevanceOutcome, second: RelevanceOutcome, measure: str) -> Interval:
    """`first` minus `second`, paired by query, with its 95 % interval."""
    return QueryBootstrap().difference(first.values(measure), second.values(measure), asked_for(task))


def mean_interval(task: RelevanceTask, outcome: RelevanceOutcome, measure: str) -> Interval:
    """The mean over queries, with its 95 % interval."""
    return QueryBootstrap().mean(outcome.values(measure), asked_for(task))
