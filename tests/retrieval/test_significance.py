"""The randomisation test against scipy's and against all relabellings in a loop, then its level on systems that are alike."""

import itertools

import numpy as np
import pytest
from scipy import stats

from optical_ray.retrieval.intervals import QueryBootstrap
from optical_ray.retrieval.significance import PairedComparison, cluster_shares, randomise


def paired(first, second, relevant=None, resamples=10_000, seed=0):
    """p of one language and one measure."""
    ids = np.arange(len(first)).astype(str) if relevant is None else np.asarray(relevant).astype(str)
    test = PairedComparison(QueryBootstrap(resamples, seed=seed)).test(
        {"sw": np.asarray(first, float)[:, None]}, {"sw": np.asarray(second, float)[:, None]}, {"sw": ids}
    )
    return test[0]


@pytest.mark.parametrize("seed", range(4))
def test_few_queries_get_the_exact_p_of_scipy(seed):
    generator = np.random.default_rng(seed)
    first, second = generator.random(11), generator.random(11)
    expected = stats.permutation_test(
        (first, second), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    found = paired(first, second)
    assert found.exact
    assert found.p_randomisation == pytest.approx(expected.pvalue)
    assert found.difference.estimate == pytest.approx((first - second).mean())


def test_many_queries_get_the_p_of_scipys_random_relabellings():
    generator = np.random.default_rng(5)
    first = generator.random(80)
    second = first - generator.normal(0.05, 0.2, size=80)
    expected = stats.permutation_test(
        (first, second), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=20_000, vectorized=True,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    found = paired(first, second)
    assert not found.exact
    assert found.p_randomisation == pytest.approx(expected.pvalue, abs=0.008)
    assert found.p_randomisation == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=0.01)


def test_sentences_that_languages_share_change_sign_together():
    generator = np.random.default_rng(6)
    relevant = {"sw": np.array(list("abcdef")), "yo": np.array(list("cdeefgh"))}  # yo asks for e twice
    differences = {name: generator.normal(0.3, 1, size=(len(ids), 1)) for name, ids in relevant.items()}
    sentences, far = "abcdefgh", 0
    observed = np.mean([values.mean() for values in differences.values()])
    for signs in itertools.product([1, -1], repeat=len(sentences)):
        sign_of = dict(zip(sentences, signs, strict=True))
        flipped = [
            np.mean([sign_of[name] * value for name, value in zip(relevant[tag], differences[tag][:, 0], strict=True)]) for tag in relevant
        ]
        far += abs(np.mean(flipped)) >= abs(observed) - 1e-12
    shares = cluster_shares(differences, relevant)
    assert shares.shape == (8, 1) and shares.sum() == pytest.approx(observed)
    p_value, exact = randomise(shares)
    assert exact and p_value[0] == pytest.approx(far / 2**8)


def test_random_relabellings_approach_all_of_them():
    shares = np.random.default_rng(7).normal(0.2, 1, size=(13, 3))
    every, exact = randomise(shares, resamples=2**13)
    some, sampled = randomise(shares, resamples=2**13 - 1)
    assert exact and not sampled
    assert some == pytest.approx(every, abs=0.02)


def test_all_relabellings_in_blocks_are_all_of_them(monkeypatch):
    shares = np.random.default_rng(8).normal(0.2, 1, size=(10, 2))
    expected = randomise(shares)[0]
    monkeypatch.setattr("optical_ray.retrieval.significance.BLOCK_SIGNS", 300)
    assert randomise(shares)[0].tolist() == expected.tolist()


def test_systems_that_never_differ_are_alike_for_certain():
    found = paired(np.ones(30), np.ones(30))
    assert (found.p_randomisation, found.difference.estimate, found.difference.p_value) == (1.0, 0.0, 1.0)


def test_queries_without_a_difference_change_nothing():
    values = np.random.default_rng(9).normal(0.4, 1, size=12)
    padded = np.concatenate([values, np.zeros(500)])
    assert randomise(padded[:, None])[0] == pytest.approx(randomise(values[:, None])[0])


def test_p_is_never_0_and_knows_no_direction():
    first, second = np.ones(100), np.zeros(100)
    found, turned = paired(first, second, resamples=999), paired(second, first, resamples=999)
    assert found.p_randomisation == turned.p_randomisation == pytest.approx(1 / 1000)
    assert found.difference.p_value == pytest.approx(2 / 1000)


def test_the_same_seed_gives_the_same_p_and_another_seed_another():
    generator = np.random.default_rng(10)
    first, second = generator.random(60), generator.random(60)
    assert paired(first, second, seed=1) == paired(first, second, seed=1)
    assert paired(first, second, seed=1).p_randomisation != paired(first, second, seed=2).p_randomisation


def test_measures_side_by_side_get_what_each_gets_alone():
    generator = np.random.default_rng(11)
    first, second, ids = generator.random((50, 3)), generator.random((50, 3)), np.arange(50).astype(str)
    compare = PairedComparison(QueryBootstrap(2000))
    together = compare.test({"sw": first}, {"sw": second}, {"sw": ids})
    alone = compare.test({"sw": first[:, 2:]}, {"sw": second[:, 2:]}, {"sw": ids})[0]
    assert together[2].p_randomisation == alone.p_randomisation
    for name in ("first", "second", "difference"):
        one, two = getattr(together[2], name), getattr(alone, name)
        assert (one.estimate, one.low, one.high) == pytest.approx((two.estimate, two.low, two.high), abs=1e-6)


def test_means_and_difference_have_the_intervals_of_the_bootstrap():
    generator = np.random.default_rng(12)
    first, second, ids = generator.random(40), generator.random(40), np.arange(40).astype(str)
    bootstrap, found = QueryBootstrap(3000), paired(first, second, resamples=3000)
    for interval, expected in (
        (found.first, bootstrap.mean(first, ids)), (found.second, bootstrap.mean(second, ids)),
        (found.difference, bootstrap.difference(first, second, ids)),
    ):  # fmt: skip
        assert (interval.low, interval.high, interval.p_value) == pytest.approx((expected.low, expected.high, expected.p_value), abs=1e-6)


def test_systems_that_are_alike_are_rarely_told_apart_and_clusters_are_what_keeps_it_so():
    """300 worlds of two systems alike, three languages that ask for the same 40 sentences: at 5 % about one in 20 is wrong."""
    generator, wrong, wrong_apart, draws = np.random.default_rng(13), 0, 0, 300
    ids = np.arange(40).astype(str)
    for number in range(draws):
        hard = generator.normal(size=(2, 40))  # each system finds other sentences hard, in every language alike
        sides = [{name: ((0.9 * own + 0.45 * generator.normal(size=40)) > 0).astype(float)[:, None] for name in "abc"} for own in hard]
        differences = {name: sides[0][name] - sides[1][name] for name in "abc"}
        together = cluster_shares(differences, dict.fromkeys("abc", ids))
        apart = cluster_shares(differences, {name: np.char.add(name, ids) for name in "abc"})
        wrong += randomise(together, 999, number)[0][0] <= 0.05
        wrong_apart += randomise(apart, 999, number)[0][0] <= 0.05
    assert 0.02 <= wrong / draws <= 0.08 < 0.15 < wrong_apart / draws


def test_a_planted_difference_is_found():
    generator, found = np.random.default_rng(14), 0
    for number in range(60):
        base = generator.random(150)
        found += paired(base + 0.12 * generator.normal(0.35, 1, size=150), base, resamples=999, seed=number).p_randomisation <= 0.05
    assert found >= 54


def test_other_queries_are_refused_by_name():
    compare = PairedComparison()
    with pytest.raises(ValueError, match="sw: 3 and 4 queries"):
        compare.test({"sw": np.ones((3, 1))}, {"sw": np.ones((4, 1))}, {"sw": np.array(["a", "b", "c"])})
    with pytest.raises(ValueError, match="yo in one only"):
        compare.test({"sw": np.ones((3, 1))}, {"sw": np.ones((3, 1)), "yo": np.ones((3, 1))}, {})
