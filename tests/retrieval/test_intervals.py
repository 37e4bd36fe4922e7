"""Bootstrap intervals against scipy's, then their coverage on data whose truth is known, then bad input."""

import numpy as np
import pytest
from scipy import stats

from optical_ray.retrieval.intervals import QueryBootstrap, adjust_holm


@pytest.fixture
def bootstrap() -> QueryBootstrap:
    return QueryBootstrap(seed=3)


def test_the_interval_of_a_mean_agrees_with_scipys_percentile_bootstrap(bootstrap):
    values = np.random.default_rng(0).beta(0.4, 0.8, size=150)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = bootstrap.mean(values)
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.003)


def test_the_paired_interval_agrees_with_scipys_on_the_differences(bootstrap):
    generator = np.random.default_rng(2)
    first, second = generator.random(120) < 0.6, generator.random(120) < 0.5
    differences = first.astype(float) - second
    expected = stats.bootstrap((differences,), np.mean, n_resamples=10_000, method="percentile", rng=generator).confidence_interval
    found = bootstrap.difference(first, second)
    assert (found.estimate, found.low, found.high) == pytest.approx((differences.mean(), expected.low, expected.high), abs=0.012)


def test_a_mean_over_languages_has_the_spread_of_independent_strata(bootstrap):
    generator = np.random.default_rng(4)
    values = {f"l{number}": generator.random(50 + 40 * number) for number in range(4)}
    found = bootstrap.mean_over_languages(values)
    expected = np.sqrt(sum(v.var() / len(v) for v in values.values())) / len(values)
    assert found.estimate == pytest.approx(np.mean([v.mean() for v in values.values()]))  # languages count alike
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(expected, rel=0.05)


def test_counting_values_and_counting_queries_give_the_same_distribution(bootstrap, monkeypatch):
    values = (np.random.default_rng(13).random(150) < 0.3).astype(float)
    few = bootstrap.resampled_mean(values)
    monkeypatch.setattr("optical_ray.retrieval.intervals.FEW_VALUES", 0)
    many = bootstrap.resampled_mean(values)
    assert few.mean() == pytest.approx(many.mean(), abs=0.002) and few.std() == pytest.approx(many.std(), rel=0.03)
    assert stats.ks_2samp(few, many).pvalue > 0.01


def test_two_languages_of_one_size_are_resampled_independently(bootstrap):
    values = np.arange(40.0)[:, None]
    first, second = bootstrap.resampled_means(values, "sw")[:, 0], bootstrap.resampled_means(values, "yo")[:, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    first, second = bootstrap.resampled_mean(values[:, 0] > 20, "sw"), bootstrap.resampled_mean(values[:, 0] > 20, "yo")
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_systems_on_the_same_queries_meet_the_same_resamples(bootstrap):
    values = np.random.default_rng(5).random((60, 2))
    together = bootstrap.resampled_means(values, "sw")
    alone = QueryBootstrap(seed=3).resampled_means(values[:, 1:], "sw")
    np.testing.assert_allclose(together[:, 1:], alone, rtol=1e-6)


def test_pairing_narrows_the_interval_of_correlated_systems(bootstrap):
    generator = np.random.default_rng(6)
    difficulty = generator.random(300)
    first, second = (difficulty < 0.55).astype(float), (difficulty < 0.50).astype(float)
    paired, shuffled = bootstrap.difference(first, second), bootstrap.difference(first, generator.permutation(second))
    assert paired.high - paired.low < 0.5 * (shuffled.high - shuffled.low)
    assert paired.excludes_zero and not shuffled.excludes_zero


def test_the_interval_covers_the_true_mean_over_languages_in_about_95_of_100_draws():
    generator, truth, inside = np.random.default_rng(7), np.array([0.1, 0.3, 0.6]), 0
    draws = 600
    for number in range(draws):
        bootstrap = QueryBootstrap(resamples=1000, seed=number)
        found = bootstrap.mean_over_languages({f"l{i}": generator.random(150) < p for i, p in enumerate(truth)})
        inside += found.low <= truth.mean() <= found.high
    assert 0.92 <= inside / draws <= 0.975


def test_the_paired_interval_covers_a_planted_difference_and_excludes_0_rarely_where_there_is_none():
    generator, draws, covered, false_alarms = np.random.default_rng(8), 600, 0, 0
    for number in range(draws):
        bootstrap = QueryBootstrap(resamples=1000, seed=number)
        floor = {name: generator.random(150) for name in ("fr", "sw")}  # one difficulty per query, so the two systems are correlated
        planted = bootstrap.difference_over_languages({k: v < 0.37 for k, v in floor.items()}, {k: v < 0.30 for k, v in floor.items()})
        covered += planted.low <= 0.07 <= planted.high
        null = bootstrap.difference_over_languages(
            {k: generator.random(150) < 0.3 for k in floor}, {k: generator.random(150) < 0.3 for k in floor}
        )
        false_alarms += null.excludes_zero
    assert 0.92 <= covered / draws <= 0.975
    assert 0.025 <= false_alarms / draws <= 0.08


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(9).random(80)
    assert QueryBootstrap(seed=1).mean(values) == QueryBootstrap(seed=1).mean(values) != QueryBootstrap(seed=2).mean(values)


def test_what_does_not_fit_the_cache_gives_the_same_numbers(monkeypatch):
    values = np.random.default_rng(10).random((70, 1))
    expected = QueryBootstrap(resamples=500).resampled_means(values)
    monkeypatch.setattr("optical_ray.retrieval.intervals.CACHE_BYTES", 0)
    np.testing.assert_array_equal(QueryBootstrap(resamples=500).resampled_means(values), expected)
    monkeypatch.setattr("optical_ray.retrieval.intervals.CHUNK_BYTES", 8 * 70 * 64)  # 64 rows a chunk
    np.testing.assert_array_equal(QueryBootstrap(resamples=500).resampled_means(values), expected)


def test_equal_outcomes_give_an_interval_without_width(bootstrap):
    found = bootstrap.mean(np.zeros(150))
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 0.0)


def test_the_p_value_says_at_which_level_the_interval_reaches_zero():
    generator = np.random.default_rng(12)
    differences = (generator.random(150) < 0.45).astype(float) - (generator.random(150) < 0.33)
    p_value = QueryBootstrap(seed=5).mean(differences).p_value
    assert p_value == pytest.approx(stats.ttest_1samp(differences, 0.0).pvalue, abs=0.02)
    assert not QueryBootstrap(seed=5, confidence=1 - 0.8 * p_value).mean(differences).excludes_zero
    assert QueryBootstrap(seed=5, confidence=1 - 1.2 * p_value).mean(differences).excludes_zero
    assert QueryBootstrap(resamples=999).difference(np.zeros(20), np.zeros(20)).p_value == 1.0
    assert QueryBootstrap(resamples=999).difference(np.ones(20), np.zeros(20)).p_value == pytest.approx(2 / 1000)


def test_holms_correction_gives_the_textbook_values_in_the_order_given():
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert adjust_holm([0.9, 0.6]) == [1.0, 1.0] and adjust_holm([]) == []


def test_a_higher_confidence_gives_a_wider_interval():
    values = np.random.default_rng(11).random(100)
    narrow, wide = QueryBootstrap(confidence=0.8).mean(values), QueryBootstrap(confidence=0.99).mean(values)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: b.mean(np.array([])), "no query"),
        (lambda b: b.mean(np.array([0.1, np.nan])), "not finite"),
        (lambda b: b.mean_over_languages({}), "no language"),
        (lambda b: b.mean_over_languages({"sw": np.ones(3), "yo": np.array([])}), "yo: no query"),
        (lambda b: b.difference(np.ones(3), np.ones(4)), "3 and 4 queries"),
        (lambda b: b.difference_over_languages({"sw": np.ones(3)}, {"yo": np.ones(3)}), "sw, yo in one only"),
    ],
)
def test_input_that_cannot_be_resampled_is_refused_by_name(bootstrap, call, message):
    with pytest.raises(ValueError, match=message):
        call(bootstrap)


def test_no_resamples_or_an_impossible_confidence_are_refused():
    for bad in ({"resamples": 0}, {"confidence": 1.0}):
        with pytest.raises(ValueError, match="expected at least 1 resample"):
            QueryBootstrap(**bad)
