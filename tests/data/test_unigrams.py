"""The floor under a masked language model, by hand."""

import math

import numpy as np
import pytest

from optical_ray.data.token_shards import TokenBlock
from optical_ray.data.unigrams import SMOOTHING, count_pieces, rows_in_use, training_blocks, unigram_nats
from optical_ray.encoders.tokenizer import TokenTable
from optical_ray.stages import prepare


def test_pieces_are_counted_among_content_or_among_all():
    table = TokenTable(np.array([1, 3, 3, 2, 1, 4, 2], np.int32), np.array([0, 1, 1, 0, 0, 1, 0], bool), np.array([0, 4, 7]))
    block = TokenBlock(table, np.array([0, 1], np.int32))
    assert count_pieces([block, block], 6).tolist() == [0, 0, 0, 4, 2, 0]
    assert count_pieces([block], 6, content=False).tolist() == [0, 2, 2, 2, 1, 0]


def test_the_floor_is_the_mean_code_length_under_smoothed_frequencies():
    counts = np.array([6, 3, 1, 0])
    total = 10 + 4 * SMOOTHING
    expected = -(2 * math.log((6 + SMOOTHING) / total) + math.log((1 + SMOOTHING) / total) + math.log(SMOOTHING / total)) / 4
    assert unigram_nats(counts, np.array([0, 2, 0, 3])) == pytest.approx(expected)
    assert math.isnan(unigram_nats(counts, np.array([], np.int64)))


def test_rows_in_use_are_those_of_the_mixture_each_once(world):
    tokens = prepare(world.recipe, world.store).tokens
    found = {tag: block.tokens for tag, block in rows_in_use(tokens, {"sw": 7, "yo": 3})}
    assert {tag: len(table) for tag, table in found.items()} == {"sw": 7, "yo": 3}
    whole = next(iter(training_blocks(tokens.rules, "sw", 7))).tokens
    assert np.array_equal(found["sw"].ids, whole.slice(0, 7).ids)
