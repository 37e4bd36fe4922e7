import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optical_ray.errors import ConfigError
from optical_ray.languages.mixing import MixingConfig, apportion, mix

COUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 5000), min_size=1)


@given(counts=COUNTS, temperature=st.floats(0.05, 100), pairs=st.integers(8, 20000))
def test_a_total_budget_is_met_exactly_as_far_as_there_are_rows(counts, temperature, pairs):
    mixture = mix(MixingConfig(temperature=temperature, budget="total", pairs=pairs), counts)
    assert sum(mixture.rows.values()) == min(pairs, sum(counts.values()))
    assert all(1 <= mixture.rows[tag] <= counts[tag] for tag in counts)
    assert math.isclose(sum(mixture.shares.values()), 1.0)


@given(counts=COUNTS, pairs=st.integers(1, 6000))
def test_a_budget_per_language_is_the_same_for_all_that_have_it(counts, pairs):
    assert mix(MixingConfig(pairs=pairs), counts).rows == {tag: min(pairs, count) for tag, count in counts.items()}


def test_temperature_goes_from_proportional_to_uniform():
    counts = {"a": 900, "b": 90, "c": 10}
    assert mix(MixingConfig(temperature=1), counts).shares == pytest.approx({"a": 0.9, "b": 0.09, "c": 0.01})
    root = mix(MixingConfig(temperature=2), counts).shares
    assert root["a"] / root["b"] == pytest.approx(math.sqrt(10))
    assert mix(MixingConfig(temperature=1e6), counts).shares == pytest.approx({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, abs=1e-4)


def test_entropy_counts_effective_languages():
    mixture = mix(MixingConfig(), {"a": 50, "b": 50})
    assert mixture.entropy == pytest.approx(math.log(2))
    assert mixture.effective_languages == pytest.approx(2)
    assert mix(MixingConfig(temperature=0.05), {"a": 500, "b": 50}).effective_languages == pytest.approx(1, abs=1e-3)


def test_what_a_capped_language_cannot_take_goes_to_the_others():
    assert apportion(100, {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 10, "b": 1000, "c": 1000}) == {"a": 10, "b": 54, "c": 36}


def test_a_total_budget_names_its_pairs():
    with pytest.raises(ValueError, match="mixing.budget=total needs mixing.pairs"):
        MixingConfig(budget="total")


def test_no_language_is_silently_dropped():
    assert apportion(10, {"a": 0.999, "b": 0.001}, {"a": 100, "b": 100}) == {"a": 9, "b": 1}
    with pytest.raises(ConfigError, match="1 pairs for 2 languages"):
        apportion(1, {"a": 0.5, "b": 0.5}, {"a": 5, "b": 5})
    with pytest.raises(ConfigError, match="no training pairs for b"):
        mix(MixingConfig(), {"a": 5, "b": 0})
