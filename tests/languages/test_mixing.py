import math

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from optical_ray.errors import ConfigError
from optical_ray.languages.apportionment import apportion, fill
from optical_ray.languages.mixing import MixingConfig, Mixture, cap_shares, mix

COUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 5000), min_size=1)


@given(counts=COUNTS, temperature=st.floats(0.05, 100), pairs=st.integers(8, 20000))
@example(counts={"a": 10} | dict.fromkeys("bcdefgh", 5), temperature=0.05, pairs=12)  # capping before flooring gave 17
def test_a_total_budget_is_met_exactly_as_far_as_there_are_rows(counts, temperature, pairs):
    mixture = mix(MixingConfig(temperature=temperature, budget="total", pairs=pairs), counts)
    assert sum(mixture.rows.values()) == min(pairs, sum(counts.values()))
    assert all(1 <= mixture.rows[tag] <= counts[tag] for tag in counts)
    assert math.isclose(sum(mixture.shares.values()), 1.0)


@given(
    weights=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 50), st.integers(0, 50), st.floats(0.1, 30)), min_size=1, max_size=6),
    place=st.floats(0, 1),
)
def test_quotas_between_bounds_are_those_of_a_bisection(weights, place):
    """Reference: the multiplier lambda found by halving an interval, as the cost of clip(lambda * share) grows with it."""
    tags = "abcdef"[: len(weights)]
    shares, lower, span, price = (dict(zip(tags, column, strict=True)) for column in zip(*weights, strict=True))
    assume(all(share == 0 or share > 1e-6 for share in shares.values()) and any(shares.values()))
    upper = {tag: lower[tag] + span[tag] for tag in tags}
    cheapest, dearest = (sum(price[tag] * bound[tag] for tag in tags) for bound in (lower, upper))
    reachable = sum(price[tag] * (upper[tag] if shares[tag] else lower[tag]) for tag in tags)
    total = min(cheapest + place * (dearest - cheapest), reachable)

    def clipped(multiplier):
        return {tag: min(max(multiplier * shares[tag], lower[tag]), upper[tag]) for tag in tags}

    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(price[tag] * clipped(middle)[tag] for tag in tags) < total else (low, middle)
    assert fill(total, shares, lower, upper, price) == pytest.approx(clipped(high), abs=1e-6)


@given(
    counts=COUNTS,
    temperature=st.floats(0.05, 100),
    tokens=st.integers(8 * 40, 10**6),
    lengths=st.lists(st.floats(1, 40), min_size=8, max_size=8),
)
def test_a_total_budget_of_tokens_is_never_exceeded_and_no_row_is_left_that_fits(counts, temperature, tokens, lengths):
    length = dict(zip("abcdefgh", lengths, strict=True))
    mixture = mix(MixingConfig(temperature=temperature, budget="total", tokens=tokens), counts, length)
    spent = math.fsum(mixture.tokens.values())
    assert spent <= tokens
    assert mixture.tokens == {tag: mixture.rows[tag] * length[tag] for tag in counts}
    assert all(1 <= mixture.rows[tag] <= counts[tag] for tag in counts)
    growing = [length[tag] for tag in counts if mixture.rows[tag] < counts[tag]]
    assert not growing or tokens - spent < min(growing) + 1e-6


@given(counts=COUNTS, tokens=st.integers(40, 10**5), lengths=st.lists(st.floats(1, 40), min_size=8, max_size=8))
def test_a_budget_of_tokens_per_language_takes_the_most_rows_that_fit(counts, tokens, lengths):
    length = dict(zip("abcdefgh", lengths, strict=True))
    rows = mix(MixingConfig(tokens=tokens), counts, length).rows
    for tag, count in counts.items():
        assert rows[tag] * length[tag] <= tokens * (1 + 1e-12)
        assert rows[tag] == count or (rows[tag] + 1) * length[tag] > tokens * (1 - 1e-12)


def test_tokens_of_one_a_pair_are_pairs():
    counts = {"a": 900, "b": 90, "c": 10}
    for budget, size in (("total", 500), ("per_language", 50)):
        in_pairs = mix(MixingConfig(budget=budget, pairs=size, temperature=2), counts)
        in_tokens = mix(MixingConfig(budget=budget, tokens=size, temperature=2), counts, dict.fromkeys(counts, 1.0))
        assert (in_tokens.rows, in_tokens.shares) == (in_pairs.rows, in_pairs.shares)


def test_a_language_of_longer_sentences_gets_as_many_rows_of_a_total_but_fewer_of_a_budget_per_language():
    counts, length = {"a": 1000, "b": 1000}, {"a": 10.0, "b": 30.0}
    assert mix(MixingConfig(budget="total", tokens=8000), counts, length).rows == {"a": 200, "b": 200}
    assert mix(MixingConfig(tokens=3000), counts, length).rows == {"a": 300, "b": 100}


@given(counts=COUNTS, temperature=st.floats(0.3, 100), max_repeats=st.floats(1, 5), place=st.floats(0.01, 1))
def test_a_cap_on_repetition_holds_and_keeps_the_ratios_of_the_others(counts, temperature, max_repeats, place):
    mixture = mix(MixingConfig(temperature=temperature), counts)
    caps = {tag: math.floor(max_repeats * rows) for tag, rows in mixture.rows.items()}
    draws = max(1, math.floor(place * sum(caps.values())))
    capped = cap_shares(mixture, draws, max_repeats)
    assert capped.rows == mixture.rows
    assert math.isclose(sum(capped.shares.values()), 1.0)
    assert all(capped.shares[tag] * draws <= caps[tag] * (1 + 1e-9) for tag in counts)
    free = [tag for tag in counts if capped.shares[tag] * draws < caps[tag] * (1 - 1e-9)]
    raised = {capped.shares[tag] / mixture.shares[tag] for tag in free}
    assert not raised or max(raised) <= min(raised) * (1 + 1e-6)
    assert all(capped.shares[tag] > 0 for tag in counts)


def test_what_a_cap_on_repetition_takes_goes_to_the_other_languages():
    mixture = Mixture({"a": 100, "b": 1000, "c": 1000}, {"a": 0.5, "b": 0.3, "c": 0.2})
    assert cap_shares(mixture, 1000, 2).shares == pytest.approx({"a": 0.2, "b": 0.48, "c": 0.32})
    assert cap_shares(mixture, 1000, 5).shares == pytest.approx(mixture.shares)
    assert cap_shares(mixture, 1000, None) is mixture
    assert cap_shares(mixture, 0, 1) is mixture


def test_a_cap_that_all_languages_together_cannot_meet_is_refused_with_the_numbers():
    mixture = Mixture({"a": 100, "b": 500}, {"a": 0.5, "b": 0.5})
    message = r"mixing.max_repeats=2: so many passes over 600 pairs give at most 1,200 draws, the training makes 1,800.*above 3.00"
    with pytest.raises(ConfigError, match=message):
        cap_shares(mixture, 1800, 2)
    with pytest.raises(ConfigError, match="max_repeats"):
        MixingConfig().override({"max_repeats": 0.5})


@given(counts=COUNTS, pairs=st.integers(1, 6000))
def test_a_budget_per_language_is_the_same_for_all_that_have_it(counts, pairs):
    assert mix(MixingConfig(pairs=pairs), counts).rows == {tag: min(pairs, count) for tag, count in counts.items()}


def test_temperature_goes_from_proportional_to_uniform():
    counts = {"a": 900, "b": 90, "c": 10}
    assert mix(MixingConfig(temperature=1), counts).shares == pytest.approx({"a": 0.9, "b": 0.09, "c": 0.01})
    root = mix(MixingConfig(temperature=2), counts).shares
    assert root["a"] / root["b"] == pytest.approx(math.sqrt(10))
    cold = mix(MixingConfig(temperature=0.01), counts).shares
    assert cold["a"] == pytest.approx(1.0)
    assert mix(MixingConfig(temperature=1e6), counts).shares == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, abs=1e-4)


def test_entropy_counts_effective_languages():
    mixture = mix(MixingConfig(), {"a": 50, "b": 50})
    assert mixture.entropy == pytest.approx(math.log(2))
    assert mixture.effective_languages == pytest.approx(2)
    assert mix(MixingConfig(temperature=0.05), {"a": 500, "b": 50}).effective_languages == pytest.approx(1, abs=1e-3)


def test_what_a_capped_language_cannot_take_goes_to_the_others():
    assert apportion(100, {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 10, "b": 1000, "c": 1000}) == {"a": 10, "b": 54, "c": 36}


def test_a_total_budget_names_its_pairs():
    with pytest.raises(ValueError, match="mixing.budget=total needs mixing.pairs or mixing.tokens"):
        MixingConfig(budget="total")


def test_a_budget_has_one_unit():
    with pytest.raises(ConfigError, match="mixing.pairs=5 and mixing.tokens=7: a budget has one unit"):
        MixingConfig().override({"pairs": 5, "tokens": 7})


@pytest.mark.parametrize(
    ("config", "lengths", "message"),
    [
        ({"tokens": 50}, None, "tokens per pair are not known of a, b"),
        ({"tokens": 50}, {"a": 3.0}, "tokens per pair are not known of b"),
        ({"tokens": 50}, {"a": 3.0, "b": 0.0}, "tokens per pair are not known of b"),
        ({"tokens": 5}, {"a": 3.0, "b": 5.5}, "mixing.tokens: 5 is less than one pair of mean length has in tokens: b 5.5"),
        ({"tokens": 8, "budget": "total"}, {"a": 3.0, "b": 5.5}, "mixing.tokens: 8 for 2 languages; one pair of each has 9 tokens"),
    ],
)
def test_a_budget_of_tokens_that_cannot_be_dealt_is_one_clear_line(config, lengths, message):
    with pytest.raises(ConfigError, match=message):
        mix(MixingConfig(**config), {"a": 5, "b": 5}, lengths)


def test_no_language_is_silently_dropped():
    assert apportion(10, {"a": 0.999, "b": 0.001}, {"a": 100, "b": 100}) == {"a": 9, "b": 1}
    with pytest.raises(ConfigError, match="1 pairs for 2 languages"):
        apportion(1, {"a": 0.5, "b": 0.5}, {"a": 5, "b": 5})
    with pytest.raises(ConfigError, match="no training pairs for b"):
        mix(MixingConfig(), {"a": 5, "b": 0})


@pytest.mark.parametrize("temperature", [0.002, 0.005, 0.02, 0.1])
def test_a_total_budget_is_spent_though_shares_underflow(temperature):
    mixture = mix(MixingConfig(temperature=temperature, budget="total", pairs=1015), {"a": 1000, "b": 10, "c": 9})
    assert sum(mixture.rows.values()) == 1015
