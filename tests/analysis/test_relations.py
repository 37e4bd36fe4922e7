"""Arms beside a baseline, cost, plan, maps and importance: what they say is what the runs hold."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.compare import ARMS
from optical_ray.analysis.design import PartView
from optical_ray.analysis.importance import LEAST_TRIALS, importance
from optical_ray.analysis.load import load_run
from optical_ray.analysis.relations import draw_arms, draw_heat, draw_importance, draw_relations
from optical_ray.analysis.summary import ALL
from optical_ray.errors import ConfigError
from optical_ray.retrieval.intervals import QueryBootstrap


@pytest.fixture(scope="module")
def of_five_seeds(tmp_path_factory, sweep_writer):
    path = sweep_writer(tmp_path_factory.mktemp("seeds") / "run", sizes=(4,), seeds=(0, 1, 2, 3, 4), searches=0, queries=60)
    return analyse(load_run(path), QueryBootstrap(resamples=500))


def test_every_other_arm_stands_beside_the_baseline_with_its_seeds(of_five_seeds):
    arms = {arm.comparison.arm: arm for arm in of_five_seeds.arms}
    assert set(arms) == {"OT", "OT + contrastive"}, "contrastive is the baseline"
    below = arms["OT"]
    assert below.comparison.direction == "below"
    assert len(below.seeds) == 5
    assert np.mean(below.seeds) == pytest.approx(below.comparison.difference.estimate)
    expected = ttest_1samp(below.seeds, 0.0).confidence_interval(0.95)
    assert (below.over_seeds.low, below.over_seeds.high) == pytest.approx((expected.low, expected.high))
    assert arms["OT + contrastive"].comparison.direction == "not shown"
    (panel,) = draw_arms(of_five_seeds.arms)
    assert "OT, k = 4 -0." in panel.alt


def test_fewer_seeds_are_points_without_an_interval(planted_analysis):
    assert [len(arm.seeds) for arm in planted_analysis.arms] == [1, 1]
    assert all(arm.over_seeds is None for arm in planted_analysis.arms)


def test_another_baseline_can_be_named_and_one_that_is_not_there_cannot(planted_run):
    run, bootstrap = load_run(planted_run), QueryBootstrap(resamples=200)
    rows = [row for row in analyse(run, bootstrap, "OT").comparisons if row.kind == ARMS]
    assert {row.second for row in rows} == {"OT, k = 16"}
    with pytest.raises(ConfigError, match="baseline 'greedy': .*there are OT, OT \\+ contrastive, contrastive"):
        analyse(run, bootstrap, "greedy")


def test_quality_stands_against_cost_with_floor_and_untrained_student(of_five_seeds):
    levels = of_five_seeds.levels(ALL)
    assert set(levels) == {"TF-IDF", "untrained"}
    assert levels["TF-IDF"] > levels["untrained"]
    trials = of_five_seeds.run.trials
    with_cost = [dataclasses.replace(t, status=t.status.override({"cpu_seconds": 60.0 + n})) for n, t in enumerate(trials)]
    part = dataclasses.replace(of_five_seeds.parts[0], trials=tuple(with_cost))
    panels = {panel.name: panel for panel in draw_relations(dataclasses.replace(of_five_seeds, parts=(part,)))}
    assert f"{len(trials)} trials against CPU hours" in panels["cost"].alt
    assert "entropy-quality" not in panels, "all plans have the same entropy here: nothing to be seen"


def test_two_settings_of_a_search_are_a_map(planted_analysis):
    names = [panel.name for panel in draw_heat(planted_analysis)]
    assert names == ["heat-search-epsilon-temperature", "heat-search-epsilon-tau", "heat-search-temperature-tau"]


def make_search(trial, count, score):
    """A part of trials over epsilon and tau, with a score of both."""
    draw = np.random.default_rng(0)
    trials = []
    for number in range(count):
        epsilon, tau = float(np.exp(draw.uniform(-3, 0))), float(draw.uniform(1, 5))
        recipe = {**trial.recipe, "transport": {"epsilon": epsilon}, "mixing": {"temperature": tau}}
        status = trial.status.override({"objective": score(epsilon, tau)})
        trials.append(dataclasses.replace(trial, trial_id=f"{number:012d}", recipe=recipe, status=status))
    space = {
        "transport.epsilon": {"kind": "LogUniform", "low": float(np.exp(-3)), "high": 1.0},
        "mixing.temperature": {"kind": "Uniform", "low": 1.0, "high": 5.0},
    }
    return PartView("search", "search", count, tuple(trials), space)


def test_importance_finds_the_dimension_that_matters(planted_analysis):
    trial = next(trial for trial in planted_analysis.run.trials if trial.finished)
    found = importance(make_search(trial, 60, lambda epsilon, tau: -abs(np.log(epsilon) + 1.5)))
    assert next(iter(found.shares)) == "transport.epsilon"
    assert found.shares["transport.epsilon"] > 0.8
    assert sum(found.shares.values()) == pytest.approx(1.0)
    part = make_search(trial, 60, lambda epsilon, tau: epsilon)
    (panel,) = draw_importance([(part, found)])
    assert "transport.epsilon" in panel.alt


@pytest.mark.parametrize(
    ("count", "score", "note"),
    [
        (LEAST_TRIALS - 1, lambda epsilon, tau: epsilon, "not told from 19 finished trials"),
        (30, lambda epsilon, tau: 0.5, "the same score"),
    ],
)
def test_importance_that_cannot_be_told_says_why(planted_analysis, count, score, note):
    trial = next(trial for trial in planted_analysis.run.trials if trial.finished)
    found = importance(make_search(trial, count, score))
    assert not found.shares
    assert note in found.note
    assert draw_importance([(make_search(trial, count, score), found)]) == []
