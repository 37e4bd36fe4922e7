from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from optical_ray.encoders.config import StudentConfig
from optical_ray.encoders.student import build_student
from optical_ray.encoders.tokenizer import TokenTable, tokenize
from optical_ray.retrieval.encoding import encode_texts, length_sorted_batches

TEXTS = ("the teacher reads", "a", "her hat", "the old doctor sells a long story", "two letters", "a", "every child opens the gate")


@pytest.fixture
def student_and_table(world):
    tokenizer = AutoTokenizer.from_pretrained(world.teacher)
    config = StudentConfig(hidden_size=32, num_heads=2, num_layers=2, max_tokens=24, embedding_std=1.0, position_std=0.5)
    sample = torch.randn(8, generator=torch.Generator().manual_seed(1))
    student = build_student(config, tokenizer, sample, 4.0, torch.Generator().manual_seed(0))
    return student, tokenize(tokenizer, TEXTS, 24, "query: ")


@pytest.mark.parametrize("budget", [1, 16, 40, 1000])
def test_batches_keep_to_the_budget_and_take_every_text_once(budget):
    lengths = np.random.default_rng(0).integers(1, 30, 100)
    batches = length_sorted_batches(lengths, budget)
    assert sorted(np.concatenate(batches).tolist()) == list(range(100))
    assert all(len(batch) == 1 or len(batch) * lengths[batch].max() <= budget for batch in batches)
    widths = [lengths[batch].max() for batch in batches]
    assert widths == sorted(widths, reverse=True)
    for batch, following in pairwise(batches):
        assert len(following) and (len(batch) + 1) * lengths[batch].max() > budget  # as full as it can be
    for batch, again in zip(batches, length_sorted_batches(lengths, budget), strict=True):
        assert np.array_equal(batch, again)


@pytest.mark.parametrize("budget", [1, 30, 8192])
def test_a_text_is_encoded_as_if_it_were_alone(budget, student_and_table):
    student, table = student_and_table
    student.train()
    found = encode_texts(student, table, batches=length_sorted_batches(table.lengths, budget))
    assert student.training and not found.vectors_TD.requires_grad
    student.eval()
    for index, vectors in enumerate(found.vectors_TD.split(found.lengths.tolist())):
        own = table.slice(index, index + 1)
        with torch.no_grad():
            alone = student(torch.from_numpy(own.ids.astype(np.int64))[None], torch.ones(1, len(own.ids), dtype=torch.bool))[0]
        torch.testing.assert_close(vectors, alone[torch.from_numpy(own.content)], atol=1e-5, rtol=1e-5)


def test_the_same_texts_give_the_same_bits(student_and_table):
    student, table = student_and_table
    assert torch.equal(encode_texts(student, table).vectors_TD, encode_texts(student, table).vectors_TD)


def test_no_texts_give_no_tokens(student_and_table):
    student, _ = student_and_table
    nothing = TokenTable(np.empty(0, np.int32), np.empty(0, bool), np.zeros(1, np.int64))
    found = encode_texts(student, nothing)
    assert found.vectors_TD.shape == (0, student.projection.out_features) and len(found) == 0
