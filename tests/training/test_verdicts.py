"""What a falling loss does not tell."""

import pytest

from optical_ray.runs import names
from optical_ray.training.verdicts import COLLAPSE_MARGINS, verdicts

SCRATCH = {names.WITHIN_SENTENCE_COSINE: 0.44, names.COMMON_SHARE: 0.06}
HEALTHY = {names.TRANSPORT_ENTROPY: 0.8, names.WITHIN_SENTENCE_COSINE: 0.55, names.COMMON_SHARE: 0.03}
ANISOTROPIC = {names.WITHIN_SENTENCE_COSINE: 0.87, names.COMMON_SHARE: 0.8}


def test_a_healthy_student_has_none():
    assert verdicts(HEALTHY, SCRATCH) == []


def test_a_plan_near_the_independent_one_is_uniform():
    assert verdicts(HEALTHY | {names.TRANSPORT_ENTROPY: 0.995}, SCRATCH) == [names.PLAN_UNIFORM]


@pytest.mark.parametrize("name", COLLAPSE_MARGINS)
def test_either_statistic_far_beyond_its_baseline_is_a_collapse_whatever_the_objective(name):
    without_plan = {key: value for key, value in HEALTHY.items() if key != names.TRANSPORT_ENTROPY}
    limit = SCRATCH[name] + COLLAPSE_MARGINS[name]
    if limit > (1 + SCRATCH[name]) / 2:
        limit = (1 + SCRATCH[name]) / 2
    assert verdicts(without_plan | {name: limit + 0.01}, SCRATCH) == [names.COLLAPSED]
    assert verdicts(without_plan | {name: limit - 0.01}, SCRATCH) == []


def test_where_little_is_left_to_1_half_of_it_is_the_margin():
    assert verdicts(ANISOTROPIC | {names.WITHIN_SENTENCE_COSINE: 0.985}, ANISOTROPIC) == [names.COLLAPSED]
    assert verdicts(ANISOTROPIC | {names.WITHIN_SENTENCE_COSINE: 0.9}, ANISOTROPIC) == []


def test_both_verdicts_may_stand_and_a_statistic_that_is_not_known_gives_none():
    broken = {names.TRANSPORT_ENTROPY: 0.995, names.WITHIN_SENTENCE_COSINE: 0.95, names.COMMON_SHARE: 0.9}
    assert verdicts(broken, SCRATCH) == [names.PLAN_UNIFORM, names.COLLAPSED]
    assert verdicts({}, SCRATCH) == []
    assert verdicts({names.WITHIN_SENTENCE_COSINE: 0.9}, {names.WITHIN_SENTENCE_COSINE: float("nan")}) == []
