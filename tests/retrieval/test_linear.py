"""Linear intervals: against the textbook's variance, and how often they hold the truth."""

import numpy as np
import pytest
from scipy import stats

from optical_ray.retrieval.linear import LinearIntervals


def test_one_language_of_different_sentences_gets_students_interval_of_a_mean():
    values = np.random.default_rng(0).random(40)
    found = LinearIntervals({"sw": np.arange(40).astype(str)}).means({"sw": values[:, None]}, [("sw",)])[0, :, 0]
    low, high = stats.t.interval(0.95, 39, values.mean(), values.std(ddof=1) / np.sqrt(40))
    assert found == pytest.approx([values.mean(), low, high])


def test_the_same_queries_in_two_languages_weigh_as_one():
    values = np.random.default_rng(1).random((30, 2))
    relevant = {name: np.arange(30).astype(str) for name in ("ha", "sw")}
    intervals = LinearIntervals(relevant)
    alone, both = intervals.means({"ha": values, "sw": values}, [("ha",), ("ha", "sw")])
    assert both == pytest.approx(alone)
    apart = LinearIntervals(relevant | {"sw": np.arange(30, 60).astype(str)}).means({"ha": values, "sw": values}, [("ha", "sw")])[0]
    assert ((apart[2] - apart[1]) < 0.75 * (both[2] - both[1])).all()


def test_they_hold_the_mean_of_what_sentences_are_drawn_from():
    """Six languages that share two hundred sentences, half of what makes one hard being common to all: 400 draws."""
    generator = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        relevant = {name: np.sort(generator.permutation(200)[:120]).astype(str) for name in "abcdef"}
        common = generator.random(200)
        values = {name: (0.5 * common[ids.astype(int)] + 0.5 * generator.random(120) < 0.4)[:, None] for name, ids in relevant.items()}
        _, low, high = LinearIntervals(relevant).means(values, [tuple(relevant)])[0, :, 0]
        held += low <= 0.32 <= high  # the sum of two uniforms on [0, 1/2] is below 0.4 with probability 2 * 0.4 ** 2
    assert 0.92 <= held / 400 <= 0.98


def test_a_single_sentence_has_no_spread():
    found = LinearIntervals({"sw": np.array(["a", "a"])}).means({"sw": np.array([[0.0], [1.0]])}, [("sw",)])
    assert found[0, :, 0].tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("relevant", [{}, {"sw": np.array([], np.str_)}])
def test_no_query_is_refused(relevant):
    with pytest.raises(ValueError, match="at least one query"):
        LinearIntervals(relevant)


def test_what_is_no_number_is_refused_by_name():
    with pytest.raises(ValueError, match="sw: a value that is not finite"):
        LinearIntervals({"sw": np.array(["a", "b"])}).means({"sw": np.array([[0.0], [np.nan]])}, [("sw",)])
