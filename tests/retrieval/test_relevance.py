"""Ranks and measures of queries with several relevant documents; candidates that stay the same."""

import json
import math

import numpy as np
import pytest
import torch

from optical_ray.artifacts import Store
from optical_ray.data.relevance.build import build_relevance
from optical_ray.data.relevance.config import RelevanceConfig
from optical_ray.encoders.interaction import TokenClouds, score
from optical_ray.retrieval.relevance import RelevanceEvaluationConfig, build_relevance_task, judge_scores, outcome_rows, score_clouds


def test_measures_are_those_of_their_definitions():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(40, 30, generator=generator)
    relevant = torch.rand(40, 30, generator=generator).numpy() < 0.2
    relevant[:, 3] = True
    outcome = judge_scores(scores, relevant)
    for query in range(40):
        hits = [relevant[query, place] for place in sorted(range(30), key=lambda place: -scores[query, place])]
        ranks = [place for place, hit in enumerate(hits, start=1) if hit]
        assert outcome.rank_Q[query] == ranks[0]
        assert outcome.ap_Q[query] == pytest.approx(sum((i + 1) / rank for i, rank in enumerate(ranks)) / len(ranks))
        gain = sum(1 / math.log2(1 + rank) for rank in ranks if rank <= 10)
        assert outcome.ndcg10_Q[query] == pytest.approx(gain / sum(1 / math.log2(2 + i) for i in range(min(10, len(ranks)))))
    first = outcome.rank_Q
    assert outcome.means()["MRR@10"] == pytest.approx(np.where(first <= 10, 1 / first, 0).mean())
    assert outcome.means()["Success@1"] == (first == 1).mean()


def test_ties_and_scores_that_are_no_numbers_count_against_us():
    relevant = np.array([[True, False, False, True]] * 3)
    scores = torch.tensor([[1.0, 1.0, 0.0, 0.5], [torch.nan, 0.0, 0.0, -torch.inf], [2.0, 1.0, torch.nan, 0.0]])
    assert judge_scores(scores, relevant).rank_Q.tolist() == [2, 3, 1]


@pytest.fixture
def data(tmp_path):
    rows = [{"query": f"question {n}", "positives": [f"answer {n}", f"another {n}"], "negative": f"wrong {n}"} for n in range(60)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build_relevance(Store(tmp_path / "store"), [str(tmp_path / "t.jsonl")], RelevanceConfig(valid_share=0.5), ["contrastive"])


def test_candidates_are_the_relevant_documents_and_a_sample_of_the_others(data):
    config = RelevanceEvaluationConfig(valid_queries=10, candidates=50)
    task, again = (build_relevance_task(data, config, "valid") for _ in range(2))
    assert task.query_texts == again.query_texts
    assert np.array_equal(task.candidates, again.candidates)
    assert (len(task.query_texts), len(task.candidates), len(set(task.candidate_texts))) == (10, 50, 50)
    for query, relevant in zip(task.query_texts, task.relevant_QC, strict=True):
        number = query.split()[1]
        assert {task.candidate_texts[place] for place in np.flatnonzero(relevant)} == {f"answer {number}", f"another {number}"}
    few = build_relevance_task(data, RelevanceEvaluationConfig(valid_queries=10, candidates=5), "valid")
    assert len(few.candidates) == 20, "what is relevant is never left out"
    rows = outcome_rows(task, judge_scores(torch.from_numpy(task.relevant_QC).float(), task.relevant_QC), "teacher", "maxsim")
    assert rows["rank"].to_pylist() == [1] * 10
    assert rows["num_relevant"].to_pylist() == [2] * 10


def test_scores_are_those_of_normalised_tokens():
    generator = torch.Generator().manual_seed(0)
    queries = TokenClouds(torch.randn(12, 4, generator=generator), torch.tensor([3, 0, 5, 4]))
    documents = TokenClouds(torch.randn(9, 4, generator=generator), torch.tensor([2, 7]))
    expected = score(queries.centred(None), documents.centred(None), ["maxsim"])["maxsim"]
    torch.testing.assert_close(score_clouds(queries, documents, "maxsim"), expected)
