"""The rule of successive halving, on numbers alone."""

import pytest

from optical_ray.orchestration.halving import must_stop, rungs
from optical_ray.sweep import Asha

ASHA = Asha(grace_steps=10, reduction=3)


def curve(value, *steps):
    return dict.fromkeys(steps, value)


def test_rungs_stop_below_the_last_step():
    assert rungs(ASHA, 100) == [10, 30, 90]
    assert rungs(ASHA, 90) == [10, 30]
    assert rungs(ASHA, 10) == []


def test_at_a_rung_the_best_third_of_those_that_came_so_far_goes_on():
    others = [curve(value, 10) for value in (0.1, 0.2, 0.3, 0.4, 0.5)]  # with this one six, of which two go on
    decisions = {value: must_stop(ASHA, 100, curve(value, 10), 10, others) for value in (0.05, 0.35, 0.45, 0.55)}
    assert decisions == {0.05: True, 0.35: True, 0.45: False, 0.55: False}
    assert not must_stop(ASHA, 100, curve(0.4, 10), 10, others), "equals stay together"


def test_the_first_ones_go_on_if_they_are_the_best_so_far():
    assert not must_stop(ASHA, 100, curve(0.0, 10), 10, [])
    assert must_stop(ASHA, 100, curve(0.0, 10), 10, [curve(0.1, 10)])
    assert not must_stop(ASHA, 100, curve(0.2, 10), 10, [curve(0.1, 10)])


def test_no_trial_is_stopped_in_its_grace_between_rungs_or_at_its_last_step():
    better = [curve(0.9, 5, 10, 20, 30, 100)] * 5
    assert not must_stop(ASHA, 100, {5: 0.0}, 5, better)
    assert must_stop(ASHA, 100, {5: 0.0, 10: 0.0}, 10, better)
    assert not must_stop(ASHA, 100, {10: 0.0, 20: 0.0}, 20, better), "it was judged at 10, and passed"
    assert must_stop(ASHA, 100, {10: 0.0, 20: 0.0, 30: 0.0}, 30, better)
    assert not must_stop(ASHA, 100, {90: 0.0, 100: 0.0}, 100, better), "what reached its end has test rows to write"
    assert not must_stop(ASHA, 30, {10: 0.0, 30: 0.0}, 30, better)


def test_trials_are_compared_at_the_rung_and_not_by_what_they_reached_later():
    late = [{10: 0.1, 30: 0.9}] * 5
    assert not must_stop(ASHA, 100, {10: 0.2}, 10, late)
    assert must_stop(ASHA, 100, {10: 0.2, 30: 0.2}, 30, late)


def test_a_validation_past_several_rungs_is_judged_at_the_highest_among_those_who_came_there():
    others = [{25: 0.9}, {25: 0.8, 50: 0.1}]
    assert not must_stop(ASHA, 100, {50: 0.2}, 50, others), "at 30 it is better than the only other one there"


@pytest.mark.parametrize("step", [10, 12, 29])
def test_the_first_validation_at_or_after_a_rung_counts_for_it(step):
    assert must_stop(ASHA, 100, {step: 0.1}, step, [{10: 0.2}, {11: 0.2}])


def test_a_resumed_trial_is_not_judged_again_at_a_rung_that_it_passed():
    better = [curve(0.9, 10)] * 5
    assert not must_stop(ASHA, 100, {10: 0.0, 15: 0.0}, 15, better), "its earlier attempt passed the rung when it was alone there"
