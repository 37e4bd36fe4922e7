"""The searcher by hand, as Tune drives it, over status files that the test writes: no cluster, no process, no time."""

import itertools

import pytest
from optuna.trial import TrialState

from optical_ray.artifacts import write_json
from optical_ray.orchestration.scheduler import close_pruned
from optical_ray.orchestration.search import SweepSearch
from optical_ray.orchestration.study import open_storage
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.names import VALID_SUCCESS_AT_1, valid_success_at_1
from optical_ray.runs.objectives import trial_facts
from optical_ray.runs.schemas import TrialStatus
from optical_ray.sweep import Asha, Categorical, GridPart, LogUniform, Objective, SearchPart, StopRules, Sweep

BASE = Recipe().override({"training.max_steps": 100, "training.validate_every": 10})
EPSILON = {"transport.epsilon": LogUniform(0.01, 1.0)}
ASHA = Asha(grace_steps=10, reduction=3)


class Driver:
    """Tune, one trial at a time, and the trials that it would run."""

    def __init__(self, folder, *parts, retry_failed=False, **options):
        self.run = RunFolder(folder)
        self.search = SweepSearch(Sweep("s", "q?", "e.", BASE, parts, **options), self.run, 1, retry_failed)
        self.ids = map(str, itertools.count())
        self.started: list[str] = []

    def start(self):
        """(Tune's id, trial id) of the next trial, whose status says running; None when there is none."""
        token = next(self.ids)
        config = self.search.suggest(token)
        if not isinstance(config, dict):
            return None
        self.started.append(config["trial_id"])
        self.write(config["trial_id"], "running")
        return token, config["trial_id"]

    def write(self, trial_id, state, **fields):
        folder = self.run.trial(trial_id)
        write_json(folder.recipe, {})
        folder.write_status(TrialStatus(trial_id=trial_id, state=state, **fields))

    def validate(self, token, step, value):
        """True when the trial is stopped there."""
        result = {"step": step, VALID_SUCCESS_AT_1: value}
        if self.search.must_stop(token, result):
            self.search.on_trial_complete(token, result)
            return True
        self.search.on_trial_result(token, result)
        return False

    def finish(self, token, trial_id, value, **fields):
        self.write(trial_id, "finished", objective=value, step=100, **fields)
        self.search.on_trial_complete(token, {"step": 100, "state": "finished", **trial_facts(self.run.trial(trial_id))})

    def fail(self, token, trial_id):
        self.write(trial_id, "failed", error="NaN")
        self.search.on_trial_complete(token, error=True)

    def go(self, values):
        """Run trials to their ends with these values, one after the other, as long as there are both."""
        for value in values:
            if (started := self.start()) is None:
                return
            token, trial_id = started
            if not any(self.validate(token, step, value) for step in (10, 30, 90)):
                self.finish(token, trial_id, value)

    def history(self):
        import optuna

        return optuna.load_study(study_name="search", storage=open_storage(self.run.study)).trials

    def states(self):
        return [trial.state.name for trial in self.history()]


def halving(num_trials=4, **changes):
    return SearchPart("search", EPSILON, num_trials, sampler="random", scheduler=ASHA, **changes)


def test_a_stopped_trial_is_pruned_with_its_curve_and_never_the_best(tmp_path):
    driver = Driver(tmp_path, halving())
    driver.go([0.5, 0.2, 0.6, 0.1])
    assert driver.states() == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED"]
    full, stopped = driver.history()[:2]
    assert (full.value, full.user_attrs["step"]) == (0.5, 100)
    assert stopped.intermediate_values == {10: 0.2}
    assert stopped.user_attrs["step"] == 10
    assert driver.search.remaining == 0

    early = Driver(tmp_path / "early", halving(num_trials=3))
    token, trial_id = early.start()
    early.validate(token, 10, 0.3)
    early.finish(token, trial_id, 0.3)
    token, _ = early.start()
    assert not early.validate(token, 10, 0.9), "the best so far"
    token_of_last, _ = early.start()
    assert early.validate(token_of_last, 10, 0.8)
    early.search.settle()
    assert early.states() == ["COMPLETE", "FAIL", "PRUNED"]
    assert early.search._parts[0].study.best_value == 0.3, "what was stopped at 0.8 is no best trial"


def test_a_resume_neither_runs_a_pruned_trial_again_nor_loses_it(tmp_path):
    first = Driver(tmp_path, halving(num_trials=3))
    first.go([0.5, 0.2])
    pruned = first.started[1]
    assert list(first.search.pruned()) == [pruned]
    close_pruned(first.run.trial(pruned))

    second = Driver(tmp_path, halving(num_trials=5))
    assert second.search.remaining == 3
    second.go([0.1, 0.6, 0.7])
    assert pruned not in second.started
    assert second.states() == ["COMPLETE", "PRUNED", "PRUNED", "COMPLETE", "COMPLETE"], "it is judged by what the first start saw"
    assert [trial.trial_id for trial in second.search.trials()] == first.started + second.started


def test_a_pruned_trial_says_so_keeps_its_best_student_and_drops_what_only_its_continuation_needs(tmp_path):
    driver = Driver(tmp_path, halving(num_trials=2))
    driver.go([0.5, 0.2])
    folder = driver.run.trial(driver.started[1])
    for name in ("step-00000010", "best"):
        (folder.checkpoint / name).mkdir(parents=True)
    assert folder.read_status().state == "running", "a driver killed here told the study, not the file"
    again = Driver(tmp_path, halving(num_trials=2))
    for trial_id in again.search.pruned():
        close_pruned(again.run.trial(trial_id))
    assert folder.read_status().state == "pruned"
    assert [path.name for path in folder.checkpoint.iterdir()] == ["best"]
    whole = again.run.trial(driver.started[0])
    close_pruned(whole)
    assert whole.read_status().state == "finished", "a trial that has test rows keeps them"


def test_a_driver_killed_after_the_file_but_before_the_study_loses_no_pruned_trial(tmp_path):
    driver = Driver(tmp_path, halving(num_trials=2))
    _, trial_id = driver.start()
    driver.write(trial_id, "pruned", step=10, objective=0.2)
    again = Driver(tmp_path, halving(num_trials=2))
    assert again.states() == ["PRUNED"]
    assert again.history()[0].intermediate_values == {10: 0.2}
    assert again.search.remaining == 1


def test_a_point_drawn_again_takes_the_value_it_has_stopped_or_not(tmp_path):
    seeds = SearchPart("search", {"seed": Categorical((0, 1))}, 6, sampler="random", scheduler=ASHA)
    driver = Driver(tmp_path, seeds)
    driver.go([0.5, 0.2])
    close_pruned(driver.run.trial(driver.started[1]))
    assert driver.start() is None
    assert len(driver.started) == 2
    assert sorted(driver.states()) == ["COMPLETE"] * driver.states().count("COMPLETE") + ["PRUNED"] * driver.states().count("PRUNED")
    assert len(driver.states()) == 6


def test_a_grid_runs_whole_what_a_search_had_stopped(tmp_path):
    search = SearchPart("search", {"seed": Categorical((0, 1))}, 6, sampler="random", scheduler=ASHA)
    driver = Driver(tmp_path, search)
    driver.go([0.5, 0.2])
    pruned = list(driver.search.pruned())
    assert len(pruned) == 1
    for trial_id in pruned:
        close_pruned(driver.run.trial(trial_id))
    grid = GridPart("grid", {"seed": (0, 1)})
    both = Driver(tmp_path, search, grid)
    assert list(both.search.pruned()) == [], "the grid wants it whole"
    both.go([0.1, 0.1])
    assert set(pruned) <= set(both.started)
    assert all(both.run.trial(trial_id).read_status().state == "finished" for trial_id in both.started)


def test_a_scheduler_stops_no_grid_trial_and_none_of_a_part_without_one(tmp_path):
    plain = SearchPart("plain", EPSILON, 2, sampler="random", seed=1)
    driver = Driver(tmp_path, GridPart("grid", {"seed": (0, 1, 2)}), plain, halving(num_trials=1))
    driver.go([0.9, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert len(driver.started) == 6
    assert all(driver.run.trial(trial_id).read_status().state == "finished" for trial_id in driver.started)


def test_plain_resume_leaves_failed_trials_alone_and_retry_failed_runs_them_again(tmp_path):
    parts = (GridPart("grid", {"seed": (0, 1)}), SearchPart("search", EPSILON, 2, sampler="random"))
    driver = Driver(tmp_path, *parts)
    failed = []
    while (started := driver.start()) is not None:
        if len(driver.started) % 2:
            driver.fail(*started)
            failed.append(started[1])
        else:
            driver.finish(*started, 0.5)
    plain = Driver(tmp_path, *parts)
    assert plain.search.remaining == 0
    plain.go([0.5] * 4)
    assert plain.started == []
    again = Driver(tmp_path, *parts, retry_failed=True)
    again.go([0.6] * 4)
    assert again.started == failed
    assert [state for state in again.states() if state != "FAIL"] == ["COMPLETE", "COMPLETE"]


def test_no_other_trial_is_started_when_more_have_failed_than_are_borne(tmp_path):
    grid = GridPart("grid", {"seed": (0, 1, 2, 3, 4)})
    driver = Driver(tmp_path, grid, stop=StopRules(max_failed=1))
    for _ in range(2):
        driver.fail(*driver.start())
    assert driver.start() is None
    assert len(driver.started) == 2
    assert driver.search.stopped["max_failed"].startswith("2 trials failed, and stop.max_failed=1: no other was started")
    plain = Driver(tmp_path, grid, stop=StopRules(max_failed=1))
    assert plain.start() is None, "they are failed still"
    again = Driver(tmp_path, grid, stop=StopRules(max_failed=1), retry_failed=True)
    again.go([0.5] * 5)
    assert len(again.started) == 5
    assert not again.search.stopped


def test_a_part_ends_when_nothing_gets_better_and_the_next_part_begins(tmp_path):
    parts = (SearchPart("search", EPSILON, 9, sampler="random"), SearchPart("next", EPSILON, 1, sampler="random"))
    driver = Driver(tmp_path, *parts, stop=StopRules(patience=3))
    driver.go([0.1, 0.4, 0.3, 0.2, 0.4, 0.9, 0.9])
    assert driver.states() == ["COMPLETE"] * 5
    assert len(driver.started) == 6
    assert driver.search.stopped == {"patience search": "part 'search': 3 trials in a row brought nothing better (stop.patience)"}
    assert driver.search.outstanding == 0
    extended = Driver(tmp_path, SearchPart("search", EPSILON, 11, sampler="random"), stop=StopRules(patience=3))
    extended.go([0.1] * 9)
    assert len(extended.started) == 3, "patience begins anew where a search is extended"


def test_the_time_of_a_start_is_over_once_and_leaves_the_rest_open(tmp_path):
    driver = Driver(tmp_path, GridPart("grid", {"seed": (0, 1)}), stop=StopRules(max_minutes=0))
    assert driver.start() is None
    assert driver.search.is_out_of_time()
    assert "0 minutes are over (stop.max_minutes)" in driver.search.stopped["max_minutes"]
    assert driver.search.outstanding == 2


def test_a_trial_that_was_stopped_by_force_has_no_value_and_is_asked_for_again(tmp_path):
    part = SearchPart("search", EPSILON, 2, sampler="random")
    driver = Driver(tmp_path, part)
    token, trial_id = driver.start()
    driver.validate(token, 10, 0.7)
    driver.search.on_trial_complete(token, {"step": 10, VALID_SUCCESS_AT_1: 0.7})  # Tune calls a stopped trial complete
    assert driver.states() == ["FAIL"]
    assert driver.history()[0].state != TrialState.COMPLETE
    again = Driver(tmp_path, part)
    assert again.start()[1] == trial_id


def test_a_process_that_died_after_its_last_word_has_finished(tmp_path):
    driver = Driver(tmp_path, SearchPart("search", EPSILON, 1, sampler="random"))
    token, trial_id = driver.start()
    driver.write(trial_id, "finished", objective=0.4, step=100)
    driver.search.on_trial_complete(token, error=True)
    assert driver.states() == ["COMPLETE"]
    assert driver.history()[0].value == 0.4


TRADE = (Objective("low", languages=("sw",)), Objective("rest", besides=("sw",)), Objective("pairs", "pairs_seen"))


@pytest.mark.parametrize("sampler", ["nsga2", "tpe"])
def test_a_study_of_several_objectives_keeps_all_values_of_what_finished(tmp_path, sampler):
    part = SearchPart("search", EPSILON, 5, sampler=sampler, objectives=TRADE, population=2, startup_trials=2)
    driver = Driver(tmp_path, part)
    for value in (0.1, 0.2, 0.3, 0.4):
        token, trial_id = driver.start()
        driver.run.trial(trial_id).append_metrics(100, None, {valid_success_at_1("sw"): value, valid_success_at_1("fr"): 1 - value})
        driver.validate(token, 50, value)
        driver.finish(token, trial_id, value, pairs_seen=int(1000 * value))
    driver.fail(*driver.start())
    assert driver.states() == ["COMPLETE"] * 4 + ["FAIL"]
    assert driver.history()[2].values == [0.3, 0.7, 300.0]
    resumed = Driver(tmp_path, part)
    assert resumed.search.remaining == 0
    assert resumed.states() == driver.states()
