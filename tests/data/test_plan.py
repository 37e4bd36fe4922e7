import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optical_ray.data import row_order
from optical_ray.data.plan import BatchPlan, build_plan, draws_of_first
from optical_ray.data.plan_config import BatchConfig
from optical_ray.errors import ConfigError
from optical_ray.languages.mixing import Mixture

MIXTURE = Mixture({"a": 40, "b": 7, "c": 100}, {"a": 0.5, "b": 0.2, "c": 0.3})
LENGTHS = {tag: np.random.default_rng(0).integers(2, 64, count) for tag, count in MIXTURE.rows.items()}


def make_plan(steps=30, seed=1, mixture=MIXTURE, **batch) -> BatchPlan:
    return build_plan(mixture, BatchConfig(**{"pairs": 16, "group": 8, "length_window": 4} | batch), steps, seed, 64)


def lengths_of(plan, language, row):
    return np.array([LENGTHS[plan.languages[tag]][one] for tag, one in zip(language, row, strict=True)], np.int64)


def global_batches(plan):
    """(language, row, length) of every global batch, in order."""
    for window in range(plan.windows):
        language, row = plan.draw(window)
        length = lengths_of(plan, language, row)
        for places in plan.deal(window, length):
            yield language[places], row[places], length[places]


def test_a_plan_is_a_pure_function_of_its_seed():
    first, again, other = (make_plan(seed=seed) for seed in (1, 1, 2))
    assert first.describe() == again.describe()
    assert first.describe()["digest"] != other.describe()["digest"]
    rows = [[row.tolist() for _, row, _ in global_batches(plan)] for plan in (first, again, other)]
    assert rows[0] == rows[1] != rows[2]


def test_a_window_is_the_same_whatever_was_asked_before_and_in_every_process():
    plan = make_plan(steps=400)
    forwards = [plan.draw(window)[1].tolist() for window in range(100)]
    backwards = [plan.draw(window)[1].tolist() for window in reversed(range(100))]
    assert forwards == backwards[::-1]
    assert pickle.loads(pickle.dumps(plan)).draw(70)[1].tolist() == forwards[70]
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).draw(70)[1].tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(plan), capture_output=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert done.stdout.decode().strip() == str(forwards[70])


def naive_draws(total, shares):
    """Huntington-Hill, seat by seat."""
    counts = [0] * len(shares)
    for _ in range(total):
        times = [np.sqrt(count * (count + 1)) / share for count, share in zip(counts, shares, strict=True)]
        counts[int(np.argmin(times))] += 1
    return counts


@given(weights=st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=8), total=st.integers(0, 300))
def test_draws_of_the_first_are_those_of_seat_by_seat_apportionment(weights, total):
    shares = tuple(weight / sum(weights) for weight in weights)
    assert draws_of_first(total, shares).tolist() == naive_draws(total, shares)


def test_a_share_of_nothing_is_still_drawn_once():
    assert draws_of_first(1000, (1.0, 0.0)).tolist() == [999, 1]


@settings(max_examples=20)
@given(steps=st.integers(1, 40), seed=st.integers(0, 5), window=st.integers(1, 9))
def test_draws_follow_the_shares_and_every_pass_shows_every_row_once(steps, seed, window):
    plan = make_plan(steps, seed, length_window=window)
    draws = plan.draws()
    parts = [plan.draw(index) for index in range(plan.windows)]
    language, row = (np.concatenate(side) for side in zip(*parts, strict=True))
    assert len(row) == sum(draws.values()) == 16 * steps
    for index, tag in enumerate(plan.languages):
        assert abs(draws[tag] - 16 * steps * MIXTURE.shares[tag]) <= 1.5
        rows, size = row[language == index], MIXTURE.rows[tag]
        assert len(rows) == draws[tag]
        for start in range(0, len(rows), size):
            seen = rows[start : start + size]
            assert len(set(seen.tolist())) == len(seen)
            assert seen.max() < size


@pytest.mark.parametrize("rows", [1, 3, 8, 9, 20, 24])
def test_an_epoch_goes_block_by_block_through_every_row(monkeypatch, rows):
    monkeypatch.setattr(row_order, "BLOCK_ROWS", 8)
    order = row_order.RowOrder("sw", rows, 0)
    drawn = order.draw(0, 5 * rows)
    np.testing.assert_array_equal(drawn[rows + 1 : 3 * rows], row_order.RowOrder("sw", rows, 0).draw(rows + 1, 2 * rows - 1))
    epochs = drawn.reshape(5, rows)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(rows))
        blocks = epoch // 8
        assert np.count_nonzero(np.diff(blocks)) == -(-rows // 8) - 1, "a block is left once, when all of it was read"
    if rows > 3:
        assert len({tuple(epoch.tolist()) for epoch in epochs}) == 5, "every pass has an order of its own"


def test_every_window_is_close_to_the_shares():
    plan = make_plan(steps=50, pairs=20, group=20, length_window=1)
    for language, _, _ in global_batches(plan):
        assert np.abs(np.bincount(language, minlength=3) - [10, 4, 6]).max() <= 2


def test_windows_gather_pairs_of_like_length_and_lose_none():
    plain, windowed = make_plan(20, 3, length_window=1), make_plan(20, 3, length_window=8)
    for first in (0, 8, 16):
        pairs = []
        for plan in (plain, windowed):
            batches = list(global_batches(plan))[first : first + 8]
            pairs.append(sorted((int(tag), int(row)) for language, rows, _ in batches for tag, row in zip(language, rows, strict=True)))
        assert pairs[0] == pairs[1]

    def padding(plan):
        lengths = np.array([length for _, _, length in global_batches(plan)])
        return 1 - lengths.mean() / lengths.max(1).mean()

    assert padding(windowed) < padding(plain) / 3


@pytest.mark.parametrize("budget", [1024, 2000, 4096, 100_000])
@pytest.mark.parametrize("window", [1, 8])
def test_a_token_budget_is_never_exceeded_and_serves_every_worker_a_group(budget, window):
    plan = make_plan(tokens=budget, length_window=window)
    fewest = plan.batch.fewest_groups(64)
    assert fewest >= 1
    for index in range(10):
        language, row = plan.draw(index)
        length = lengths_of(plan, language, row)
        batches = plan.deal(index, length)
        assert sorted(np.concatenate(batches).tolist()) == list(range(16 * window)), "every pair of the window stands in one batch"
        for places in batches:
            assert len(places) % 8 == 0
            assert len(places) >= 8 * fewest
            assert len(places) * length[places].max() <= budget


def test_a_budget_below_one_group_of_long_sentences_is_refused_with_the_numbers():
    with pytest.raises(
        ConfigError, match=r"batch.tokens=511 does not hold one group of 8 sentences of student.max_tokens=64; set it to 512"
    ):
        make_plan(tokens=511)
    assert make_plan(tokens=512).batch.fewest_groups(64) == 1


def test_no_steps_is_an_empty_plan():
    plan = make_plan(steps=0)
    assert (plan.steps, plan.windows) == (0, 0)
    assert plan.draws() == {"a": 0, "b": 0, "c": 0}
    assert list(plan.first_rows(10)) == []


def test_fewer_pairs_than_languages_are_refused():
    with pytest.raises(ConfigError, match="training.max_steps x batch.pairs: 2 pairs for 3 languages"):
        make_plan(steps=1, pairs=2, group=2)


def test_first_rows_are_as_many_as_asked_for_in_the_shares_of_the_mixture():
    plan = make_plan(steps=400)
    parts = list(plan.first_rows(500))
    language = np.concatenate([language for language, _ in parts])
    assert len(language) == 500
    assert np.abs(np.bincount(language) / 500 - list(MIXTURE.shares.values())).max() < 0.05
    assert sum(len(row) for _, row in make_plan(steps=2).first_rows(500)) == 32, "a short plan gives all it has"


def test_a_batch_is_whole_groups():
    with pytest.raises(ValueError, match=r"batch.pairs=10 is not a multiple of batch.group=4"):
        BatchConfig(pairs=10, group=4)


def groups_of(plan, window):
    language, _ = plan.draw(window)
    lengths = np.random.default_rng(window).integers(2, 64, len(language))  # alike in every language, so that no group is of one by length
    places = np.concatenate(plan.deal(window, lengths))
    return language[places].reshape(-1, plan.batch.group), places


@pytest.mark.parametrize("window", [1, 8])
@pytest.mark.parametrize("tokens", [None, 2000])
@pytest.mark.parametrize("share", [0.25, 0.6, 1.0])
def test_a_share_of_the_groups_is_of_one_language_and_no_pair_is_lost(share, tokens, window):
    plan = make_plan(400, pairs=64, group=4, length_window=window, tokens=tokens, monolingual_share=share)
    plain = make_plan(400, pairs=64, group=4, length_window=window, tokens=tokens)
    alone, of_language, total = 0, np.zeros(3), 0
    for index in range(400 // window // 2):
        groups, places = groups_of(plan, index)
        assert sorted(places.tolist()) == list(range(groups.size)), "every pair stands in one group"
        assert plan.draw(index)[1].tolist() == plain.draw(index)[1].tolist(), "the rows are those of mixed batches"
        same = (groups == groups[:, :1]).all(1)
        by_chance = sum((count / groups.size) ** 4 for count in np.bincount(groups.flatten(), minlength=3))
        alone += same.sum() - by_chance * (1 - share) * len(groups)
        of_language += np.bincount(groups[same][:, 0], minlength=3)
        total += len(groups)
    slack = 0.02 if share < 1 else 3 / groups_of(plan, 0)[0].shape[0]  # what is left of each language is less than a group
    assert alone / total == pytest.approx(share, abs=slack)
    assert np.abs(of_language / of_language.sum() - [0.5, 0.2, 0.3]).max() < 0.08


def test_hybrid_windows_gather_pairs_of_like_length():
    def padding(window):
        plan = make_plan(64, pairs=64, group=8, length_window=window, monolingual_share=0.5)
        length = [length for _, _, length in global_batches(plan)]
        return 1 - np.mean([one.mean() for one in length]) / np.mean([one.max() for one in length])

    assert padding(32) < padding(1) / 2


def test_a_share_of_nothing_is_the_order_of_mixed_batches():
    """Bit for bit: the digest of an order that was laid before the field existed."""
    places = [batch.tolist() for window in range(2) for batch in make_plan().deal(window, np.arange(64) % 13)]
    assert hashlib.sha256(str(places).encode()).hexdigest()[:16] == "d3eb84b05c8df35a"


def test_a_language_of_few_pairs_is_never_alone():
    plan = make_plan(8, pairs=16, group=8, length_window=1, monolingual_share=1.0)  # 3 of 16 pairs are of language b
    for window in range(8):
        groups, _ = groups_of(plan, window)
        assert not (groups == 1).all(1).any()
        assert (groups == 0).all(1).sum() == 1


def test_where_tokens_are_read_from_is_no_part_of_the_plan():
    assert make_plan(token_shards=True).describe() == make_plan(token_shards=False).describe()
