"""Bootstrap intervals against scipy's and a loop over resamples, then their coverage on data whose truth is known, then bad input."""

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


def apart(values):
    """Relevant ids for languages that share no sentence."""
    return {name: np.array([f"{name}-{number}" for number in range(len(values_Q))]) for name, values_Q in values.items()}


def draw_world(generator, levels, asked=100, sentences=160, shared=0.8):
    """Successes by language, which share the hardness of their sentences, and what was asked for; the true rates are Phi(levels)."""
    hard = generator.normal(size=sentences)
    hits, relevant = {}, {}
    for number, level in enumerate(levels):
        which = generator.permutation(sentences)[:asked]
        hardness = np.sqrt(shared) * hard[which] + np.sqrt(1 - shared) * generator.normal(size=asked)
        hits[f"l{number}"], relevant[f"l{number}"] = (hardness < level).astype(float), which.astype(str)
    return hits, relevant


def test_a_mean_over_languages_agrees_with_drawing_sentences_in_a_loop(bootstrap):
    generator = np.random.default_rng(14)
    relevant = {"sw": np.arange(60), "yo": np.arange(40, 80), "ha": np.repeat(np.arange(50, 75), 2)}  # in ha two queries for each
    hard = generator.random(80)
    values = {name: hard[ids] + 0.5 * generator.random(len(ids)) for name, ids in relevant.items()}
    means = []
    for _ in range(4000):
        drawn = generator.integers(0, 80, size=80)
        means.append(np.mean([np.concatenate([values[name][ids == i] for i in drawn]).mean() for name, ids in relevant.items()]))
    found = bootstrap.mean_over_languages(values, {name: ids.astype(str) for name, ids in relevant.items()})
    assert found.estimate == pytest.approx(np.mean([v.mean() for v in values.values()]))  # languages count alike
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.006)


def test_languages_that_ask_for_the_same_sentences_are_one_sample_of_their_means(bootstrap):
    generator = np.random.default_rng(15)
    values = {name: generator.random(90) for name in ("sw", "yo", "ha")}
    ids = np.array([f"en-{number:02d}" for number in range(90)])
    together, alone = bootstrap.mean_over_languages(values, dict.fromkeys(values, ids)), bootstrap.mean(sum(values.values()) / 3, ids)
    assert (together.estimate, together.low, together.high) == pytest.approx((alone.estimate, alone.low, alone.high), abs=1e-6)


def test_the_order_of_queries_and_languages_does_not_matter(bootstrap):
    values, relevant = draw_world(np.random.default_rng(16), [0.0, 0.5, -0.5])
    order = np.random.default_rng(17).permutation(100)
    names = list(values)[::-1]
    turned = bootstrap.mean_over_languages({n: values[n][order] for n in names}, {n: relevant[n][order] for n in names})
    expected = bootstrap.mean_over_languages(values, relevant)
    assert (turned.low, turned.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_language_none_of_whose_sentences_is_drawn_is_left_out_of_that_resample(bootstrap):
    values = {"sw": np.zeros(40), "yo": np.ones(1)}
    found = bootstrap.mean_over_languages(values, apart(values))
    assert (found.estimate, found.low, found.high) == (0.5, 0.0, 0.5)  # yo is missing in a share of (40 / 41)^41 = 0.36
    half = QueryBootstrap(confidence=0.2).mean_over_languages(values, apart(values))
    assert (half.low, half.high) == (0.5, 0.5)


def test_a_mean_over_languages_that_share_no_sentence_has_the_spread_of_independent_strata(bootstrap):
    generator = np.random.default_rng(4)
    values = {f"l{number}": generator.random(50 + 40 * number) for number in range(4)}
    found = bootstrap.mean_over_languages(values, apart(values))
    expected = np.sqrt(sum(v.var() / len(v) for v in values.values())) / len(values)
    assert found.estimate == pytest.approx(np.mean([v.mean() for v in values.values()]))  # languages count alike
    assert (found.high - found.low) / (2 * 1.96) == pytest.approx(expected, rel=0.05)


def test_systems_on_the_same_queries_meet_the_same_resamples(bootstrap):
    values, relevant = np.random.default_rng(5).random((60, 2)), {"sw": np.arange(60).astype(str)}
    together = bootstrap.means_over_languages({"sw": values}, relevant)
    alone = QueryBootstrap(seed=3).means_over_languages({"sw": values[:, 1:]}, relevant)
    assert (together[1].low, together[1].high) == pytest.approx((alone[0].low, alone[0].high), rel=1e-6)


def test_pairing_narrows_the_interval_of_correlated_systems(bootstrap):
    generator = np.random.default_rng(6)
    difficulty = generator.random(300)
    first, second = (difficulty < 0.55).astype(float), (difficulty < 0.50).astype(float)
    paired, shuffled = bootstrap.difference(first, second), bootstrap.difference(first, generator.permutation(second))
    assert paired.high - paired.low < 0.5 * (shuffled.high - shuffled.low)
    assert paired.excludes_zero and not shuffled.excludes_zero


def test_the_interval_covers_the_true_mean_over_languages_where_independent_queries_would_not():
    generator, levels, draws = np.random.default_rng(7), np.array([-0.8, -0.3, 0.0, 0.2, 0.6]), 500
    truth, covered, covered_apart, wider = stats.norm.cdf(levels).mean(), 0, 0, 0
    for number in range(draws):
        hits, relevant = draw_world(generator, levels)
        bootstrap = QueryBootstrap(resamples=1000, seed=number)
        found, independent = bootstrap.mean_over_languages(hits, relevant), bootstrap.mean_over_languages(hits, apart(hits))
        covered += found.low <= truth <= found.high
        covered_apart += independent.low <= truth <= independent.high
        wider += found.high - found.low > 1.2 * (independent.high - independent.low)
    assert 0.92 <= covered / draws <= 0.98
    assert covered_apart / draws < 0.85
    assert wider / draws > 0.97


def test_the_paired_interval_covers_a_planted_difference_and_excludes_0_rarely_where_there_is_none():
    generator, levels, draws = np.random.default_rng(8), np.array([-0.8, -0.3, 0.0, 0.2, 0.6]), 500
    truth = (stats.norm.cdf(levels + 0.2) - stats.norm.cdf(levels)).mean()
    covered = false_alarms = false_alarms_apart = 0
    for number in range(draws):
        bootstrap = QueryBootstrap(resamples=1000, seed=number)
        first, relevant = draw_world(generator, levels + 0.2)
        rivals = {name: np.empty(len(ids)) for name, ids in relevant.items()}
        equals = {name: np.empty(len(ids)) for name, ids in relevant.items()}
        own = generator.normal(size=(2, 160))  # each system finds other sentences hard, in every language alike
        for name, level in zip(relevant, levels, strict=True):
            places = relevant[name].astype(int)
            rivals[name] = (np.sqrt(0.8) * own[0, places] + np.sqrt(0.2) * generator.normal(size=len(places)) < level).astype(float)
            equals[name] = (np.sqrt(0.8) * own[1, places] + np.sqrt(0.2) * generator.normal(size=len(places)) < level).astype(float)
        planted = bootstrap.difference_over_languages(first, rivals, relevant)
        covered += planted.low <= truth <= planted.high
        false_alarms += bootstrap.difference_over_languages(rivals, equals, relevant).excludes_zero
        false_alarms_apart += bootstrap.difference_over_languages(rivals, equals, apart(rivals)).excludes_zero
    assert 0.92 <= covered / draws <= 0.98
    assert 0.02 <= false_alarms / draws <= 0.08 < 0.15 < false_alarms_apart / draws


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(9).random(80)
    assert QueryBootstrap(seed=1).mean(values) == QueryBootstrap(seed=1).mean(values) != QueryBootstrap(seed=2).mean(values)


def test_what_does_not_fit_the_cache_gives_the_same_numbers(monkeypatch):
    values = np.random.default_rng(10).random(71)
    expected = QueryBootstrap(resamples=500).mean(values)
    monkeypatch.setattr("optical_ray.retrieval.intervals.CACHE_BYTES", 0)
    assert QueryBootstrap(resamples=500).mean(values) == expected
    monkeypatch.setattr("optical_ray.retrieval.intervals.CHUNK_BYTES", 8 * 71 * 33)  # 33 resamples a block
    found = QueryBootstrap(resamples=500).mean(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)


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
        (lambda b: b.mean_over_languages({}, {}), "no language"),
        (lambda b: b.mean_over_languages({"sw": np.ones(3), "yo": np.array([])}, {"sw": np.arange(3).astype(str)}), "yo: no query"),
        (lambda b: b.mean_over_languages({"sw": np.ones(3)}, {"sw": np.array(["a", "b"])}), "sw: 3 queries, 2 relevant ids"),
        (lambda b: b.mean_over_languages({"sw": np.ones(3)}, {"yo": np.array(["a", "b", "c"])}), "sw: 3 queries, 0 relevant ids"),
        (lambda b: b.difference(np.ones(3), np.ones(4)), "3 and 4 queries"),
        (lambda b: b.difference_over_languages({"sw": np.ones(3)}, {"yo": np.ones(3)}, {}), "sw, yo in one only"),
    ],
)
def test_input_that_cannot_be_resampled_is_refused_by_name(bootstrap, call, message):
    with pytest.raises(ValueError, match=message):
        call(bootstrap)


def test_no_resamples_or_an_impossible_confidence_are_refused():
    for bad in ({"resamples": 0}, {"confidence": 1.0}):
        with pytest.raises(ValueError, match="expected at least 1 resample"):
            QueryBootstrap(**bad)
