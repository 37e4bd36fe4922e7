import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optical_ray.data.plan import build_plan
from optical_ray.data.plan_config import BatchConfig
from optical_ray.languages.mixing import Mixture

MIXTURE = Mixture({"a": 40, "b": 7, "c": 100}, {"a": 0.5, "b": 0.2, "c": 0.3})


def test_a_plan_is_a_pure_function_of_its_seed():
    first, again, other = (build_plan(MIXTURE, BatchConfig(pairs=16, group=8), 30, seed) for seed in (1, 1, 2))
    assert first.describe() == again.describe()
    assert first.describe()["digest"] != other.describe()["digest"]


@given(steps=st.integers(1, 40), seed=st.integers(0, 5))
def test_draws_follow_the_shares_and_every_pass_shows_every_row_once(steps, seed):
    plan = build_plan(MIXTURE, BatchConfig(pairs=16, group=8), steps, seed)
    draws = plan.draws()
    assert sum(draws.values()) == 16 * steps
    for index, tag in enumerate(plan.languages):
        assert abs(draws[tag] - 16 * steps * MIXTURE.shares[tag]) <= 1 or draws[tag] == 1
        rows = plan.row.reshape(-1)[plan.language.reshape(-1) == index]
        size = MIXTURE.rows[tag]
        for start in range(0, len(rows), size):
            seen = rows[start : start + size]
            assert len(set(seen.tolist())) == len(seen)
            assert seen.max() < size


def test_every_batch_is_close_to_the_shares():
    plan = build_plan(MIXTURE, BatchConfig(pairs=20, group=20), 50, 0)
    for step in plan.language:
        assert np.abs(np.bincount(step, minlength=3) - [10, 4, 6]).max() <= 3


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_hold_whole_groups_of_the_same_global_batches(workers):
    plan = build_plan(MIXTURE, BatchConfig(pairs=16, group=4), 10, 0)
    parts = [plan.rows(3, rank, workers) for rank in range(workers)]
    share = 16 // workers
    for step in range(7):
        languages = np.concatenate([language[step * share : (step + 1) * share] for _, language, _ in parts])
        rows = np.concatenate([row[step * share : (step + 1) * share] for _, _, row in parts])
        np.testing.assert_array_equal(languages, plan.language[step + 3])
        np.testing.assert_array_equal(rows, plan.row[step + 3])
        assert {int(s[step * share]) for s, _, _ in parts} == {step + 3}


def test_windows_gather_pairs_of_like_length_and_lose_none():
    lengths = {tag: np.random.default_rng(0).integers(1, 100, count) for tag, count in MIXTURE.rows.items()}
    plain = build_plan(MIXTURE, BatchConfig(pairs=16, group=8), 20, 3)
    windowed = build_plan(MIXTURE, BatchConfig(pairs=16, group=8, length_window=8), 20, 3, lengths)
    for first in (0, 8, 16):
        window = slice(first, first + 8)
        pairs = [sorted(zip(p.language[window].flat, p.row[window].flat, strict=True)) for p in (plain, windowed)]
        assert pairs[0] == pairs[1]

    def padding(plan):
        found = np.vectorize(lambda language, row: lengths[plan.languages[language]][row])(plan.language, plan.row)
        return 1 - found.mean() / found.max(1).mean()

    assert padding(windowed) < padding(plain) / 3


def test_resuming_is_a_slice():
    plan = build_plan(MIXTURE, BatchConfig(pairs=16, group=8), 12, 0)
    _, language, row = plan.rows(0)
    _, later_language, later_row = plan.rows(5)
    np.testing.assert_array_equal(language[5 * 16 :], later_language)
    np.testing.assert_array_equal(row[5 * 16 :], later_row)


def test_no_steps_is_an_empty_plan():
    plan = build_plan(MIXTURE, BatchConfig(), 0, 0)
    assert plan.steps == 0
    assert plan.draws() == {"a": 0, "b": 0, "c": 0}


def test_a_batch_is_whole_groups():
    with pytest.raises(ValueError, match=r"batch.pairs=10 is not a multiple of batch.group=4"):
        BatchConfig(pairs=10, group=4)
