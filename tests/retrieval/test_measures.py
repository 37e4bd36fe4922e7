import math

import numpy as np
import pytest
import torch

from optical_ray.retrieval.measures import query_rows, rank_of_gold
from optical_ray.retrieval.references import lexical_scores, memory_scores
from optical_ray.retrieval.tasks import BitextTask


def make_task(queries=3, candidates=4, gold=(0, 1, 3), texts=None, candidate_texts=None):
    return BitextTask(
        language="sw",
        split="test",
        query_ids=tuple(f"q{i}" for i in range(queries)),
        query_texts=tuple(texts or [f"text {i}" for i in range(queries)]),
        candidates=np.arange(10, 10 + candidates, dtype=np.int32),
        candidate_texts=tuple(candidate_texts or [f"candidate {i}" for i in range(candidates)]),
        gold=np.asarray(gold, np.int64),
    )


def test_ties_count_against_us():
    scores = torch.tensor([[0.9, 0.9, 0.1, 0.2], [0.5, 0.5, 0.5, 0.5], [0.3, 0.2, 0.1, 0.4]])
    assert rank_of_gold(scores, torch.tensor([0, 1, 3])).tolist() == [2, 4, 1]


def test_a_score_that_is_not_a_number_is_the_worst():
    scores = torch.tensor([[math.nan, 0.9, -5.0, -math.inf], [math.nan] * 4])
    assert rank_of_gold(scores, torch.tensor([0, 2])).tolist() == [4, 4]
    assert rank_of_gold(scores, torch.tensor([1, 0])).tolist() == [1, 4]


def test_measures_follow_from_the_rank():
    scores = torch.linspace(1, 0, 30).repeat(3, 1)
    task = make_task(candidates=30, gold=(0, 9, 24))
    rows = query_rows(task, scores, "student", "pooled").to_pylist()
    assert [row["rank"] for row in rows] == [1, 10, 25]
    assert [row["AP"] for row in rows] == pytest.approx([1, 1 / 10, 1 / 25])
    assert [row["AP@20"] for row in rows] == pytest.approx([1, 1 / 10, 0])
    assert [row["nDCG@10"] for row in rows] == pytest.approx([1, 1 / math.log2(11), 0])
    assert {row["top_candidate_id"] for row in rows} == {"10"}
    assert {(row["num_relevant"], row["num_candidates"], row["document_language"]) for row in rows} == {(1, 30, "en")}


def test_the_lexical_floor_finds_shared_letters_and_nothing_else():
    english = ["the museum of history", "open the settings", "a red bicycle"]
    task = make_task(texts=["museo de historia", "qwxz", "bicicleta"], candidates=3, gold=(0, 1, 2), candidate_texts=english)
    scores = lexical_scores(task)
    assert scores.shape == (3, 3)
    assert scores[0].argmax() == 0
    assert scores[1].abs().sum() == 0


def test_a_translation_memory_answers_by_the_english_of_near_duplicates():
    english = ["enter a new password", "open the settings", "a red bicycle"]
    task = make_task(texts=["ingiza nenosiri jipya", "fungua mipangilio"], queries=2, candidates=3, gold=(0, 1), candidate_texts=english)
    scores = memory_scores(task, ["ingiza nenosiri", "fungua faili", "zzz"], ["enter your password", "open the file", "qqq"])
    assert scores.argmax(1).tolist() == [0, 1]
    assert memory_scores(task, ["qq"], ["ww"]).abs().sum() == 0
