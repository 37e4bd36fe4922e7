"""The front of a search with several objectives, read from the run folder."""

import pytest

from optical_ray.analysis.load import load_run
from optical_ray.analysis.pareto import describe_fronts
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.objectives import Objective


@pytest.fixture
def traded(tmp_path, sweep_writer):
    """A search whose trials have the qualities that their epsilon gives, and costs of 100, 200, ... in order of trial id."""
    path = sweep_writer(tmp_path / "run", sizes=(1,), searches=4, queries=10)
    run = RunFolder(path)
    record = run.read_sweep()
    objectives = [Objective("quality").describe(), Objective("cost", "pairs_seen").describe()]
    parts = [part | ({"objectives": objectives} if part["kind"] == "search" else {}) for part in record.parts]
    run.write_sweep(record.model_copy(update={"parts": parts}))
    for number, trial in enumerate(run.trials(), 1):
        trial.write_status(trial.read_status().model_copy(update={"pairs_seen": 100 * number}))
    return path


def test_a_trial_is_on_the_front_unless_another_is_cheaper_and_no_worse(traded):
    head, *lines = describe_fronts(load_run(traded))
    searched = [trial for trial in load_run(traded).trials if trial.status.objective not in (None, 0.3)]
    assert len(searched) == 4
    rest = [(trial.status.objective, trial.status.pairs_seen, trial.trial_id) for trial in searched]
    expected = [
        trial_id for value, cost, trial_id in rest if not any(v >= value and c <= cost and (v, c) != (value, cost) for v, c, _ in rest)
    ]
    assert head == f"Pareto front of 'search' (quality, cost): {len(expected)} of 4 trials"
    assert sorted(line.split()[0].rstrip(":") for line in lines) == sorted(expected)
    assert "transport.epsilon=" in lines[0]


def test_a_search_of_one_objective_has_no_front(planted_run):
    assert list(describe_fronts(load_run(planted_run))) == []
