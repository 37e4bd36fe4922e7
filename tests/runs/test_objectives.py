"""Numbers of a trial that a search trades off, and the front of those that no other beats."""

import pytest

from optical_ray.runs.folder import RunFolder
from optical_ray.runs.names import VALID_SUCCESS_AT_1_UNSEEN, valid_success_at_1
from optical_ray.runs.objectives import Objective, pareto_front, trial_facts
from optical_ray.runs.schemas import TrialStatus

LOW = Objective("low-resource", languages=("sw", "yo"))
REST = Objective("rest", besides=("sw", "yo"))
COST = Objective("pairs", "pairs_seen")


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path).trial("abc")
    first = {"sw": 0.1, "yo": 0.1, "fr": 0.1, "es": 0.1}
    last = {"sw": 0.2, "yo": 0.4, "fr": 0.9, "es": 0.7}
    for step, values in ((50, first), (100, last)):
        report = {valid_success_at_1(tag): value for tag, value in values.items()} | {VALID_SUCCESS_AT_1_UNSEEN: 0.0}
        folder.append_metrics(step, None, report | {"loss/total": 1.0})
    folder.write_status(TrialStatus(trial_id="abc", state="finished", step=100, pairs_seen=6400, cpu_seconds=3.5, objective=0.55))
    return folder


def test_objectives_are_read_from_the_last_validation_and_the_status(folder):
    facts = trial_facts(folder)
    assert LOW.value(facts) == pytest.approx(0.3)
    assert REST.value(facts) == pytest.approx(0.8), "the mean over unseen languages is no language"
    assert COST.value(facts) == 6400
    assert Objective("CPU", "cpu_seconds").value(facts) == 3.5
    assert Objective("all").value(facts) == 0.55
    assert "loss/total" not in facts


def test_a_missing_or_unknown_number_is_none_not_a_mean_over_less(folder):
    facts = trial_facts(folder)
    assert Objective("x", languages=("sw", "zu")).value(facts) is None
    assert Objective("x", besides=("zu",)).value(facts) is None, "a language that is not there cannot be left out"
    assert LOW.value(facts | {valid_success_at_1("yo"): float("nan")}) is None
    assert trial_facts(RunFolder(folder.path).trial("nothing")) == {}


def test_quality_is_maximised_and_cost_minimised_unless_said_otherwise():
    assert [one.resolved for one in (LOW, REST, COST)] == ["maximize", "maximize", "minimize"]
    assert Objective("x", "pairs_seen", direction="maximize").resolved == "maximize"
    for one in (LOW, REST, COST):
        again = Objective.read(one.describe())
        assert (again.name, again.measure, again.languages, again.besides, again.resolved) == (
            one.name,
            one.measure,
            one.languages,
            one.besides,
            one.resolved,
        )


def test_the_front_is_what_no_other_point_beats():
    points = [(0.5, 10.0), (0.6, 20.0), (0.4, 20.0), (0.6, 20.0), (0.5, 11.0), (0.7, 30.0)]
    assert pareto_front(points, ("maximize", "minimize")) == [0, 1, 3, 5]
    assert pareto_front(points, ("maximize", "maximize")) == [5]
    assert pareto_front([], ("maximize",)) == []
    assert pareto_front([(1.0,), (3.0,), (2.0,)], ("maximize",)) == [1]
