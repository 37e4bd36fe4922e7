"""The study on disk, without Ray: what is sampled, what is settled, what is asked again."""

import math
import shutil

import optuna
import pytest
from optuna.trial import TrialState

from optical_ray.errors import ArtifactError
from optical_ray.orchestration.study import StudyPart, open_storage
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import TrialStatus
from optical_ray.sweep import Asha, Categorical, Conditional, Integer, LogUniform, Objective, SearchPart, Uniform

SPACE = {"transport.epsilon": LogUniform(0.01, 1.0), "mixing.temperature": Uniform(1.0, 5.0)}


def make(tmp_path, sampler="random", trials=6, concurrent=False, **changes) -> StudyPart:
    run = RunFolder(tmp_path)
    part = SearchPart("search", SPACE, trials, sampler=sampler, **changes)
    return StudyPart.open(part, Recipe(), run, open_storage(run.study), concurrent)


def ask(study: StudyPart):
    return study.ask()


def write(study: StudyPart, trial, state, objective=None):
    planned = study.planned(trial)
    study.run.trial(planned.trial_id).write_status(TrialStatus(trial_id=planned.trial_id, state=state, objective=objective))
    return planned.trial_id


def frozen(study: StudyPart, trial):
    return study.study.get_trials(deepcopy=False)[trial.number]


def states(study: StudyPart):
    return [trial.state.name for trial in study.study.trials]


TRADE = (Objective("quality"), Objective("cost", "cpu_seconds"))


@pytest.mark.parametrize(("sampler", "objectives"), [("random", ()), ("tpe", ()), ("tpe", TRADE), ("nsga2", TRADE)])
def test_a_search_that_was_killed_and_resumed_tries_the_same_points(tmp_path, sampler, objectives):
    def run(path, kill_at):
        def start():
            return make(path, sampler, objectives=objectives, population=3)

        study, points = start(), []
        for number in range(8):
            trial = ask(study)
            if number == kill_at:
                study = start()  # a new process: new storage, new sampler
                study.settle()
                study.enqueue_unfinished(retry_failed=True)
                trial = ask(study)
            points.append(tuple(trial.params.values()))
            quality = -abs(math.log10(trial.params["transport.epsilon"]) + 1)
            study.study.tell(trial.number, [quality, trial.params["mixing.temperature"]][: len(study.part.directions)])
            write(study, trial, "finished")
        return points

    whole = run(tmp_path / "whole", None)
    assert len(set(whole)) == 8
    assert run(tmp_path / "killed", 3) == whole


def test_random_points_do_not_depend_on_how_many_are_asked_at_a_time(tmp_path):
    one, two = make(tmp_path / "one"), make(tmp_path / "two", concurrent=True)
    single = []
    for _ in range(4):
        trial = ask(one)
        single.append(trial.params)
        one.study.tell(trial.number, 0.0)
    pairs = []
    for _ in range(2):
        trials = [ask(two), ask(two)]
        pairs += [trial.params for trial in trials]
        for trial in reversed(trials):
            two.study.tell(trial.number, 0.0)
    assert pairs == single


def test_settling_believes_the_status_files(tmp_path):
    study = make(tmp_path)
    asked = [ask(study) for _ in range(4)]
    write(study, frozen(study, asked[0]), "finished", 0.5)  # killed before Optuna was told
    write(study, frozen(study, asked[1]), "running", 0.2)
    write(study, frozen(study, asked[2]), "finished", None)  # finished without an objective
    study.settle()
    assert states(study) == ["COMPLETE", "FAIL", "FAIL", "FAIL"]
    assert study.study.trials[0].value == 0.5
    assert study.study.best_value == 0.5


def test_unfinished_trials_are_asked_for_again_with_their_very_parameters(tmp_path):
    study = make(tmp_path)
    interrupted, failed = ask(study), ask(study)
    write(study, frozen(study, interrupted), "running")
    write(study, frozen(study, failed), "failed")
    study.settle()
    study.enqueue_unfinished(retry_failed=False)
    study.enqueue_unfinished(retry_failed=False)  # a driver killed before it asked: once is enough
    assert states(study) == ["FAIL", "FAIL", "WAITING"]
    assert study.remaining(retry_failed=False) == 5
    study.enqueue_unfinished(retry_failed=True)
    assert study.remaining(retry_failed=True) == 6
    again = [ask(study), ask(study)]
    assert [trial.params for trial in again] == [interrupted.params, failed.params]
    assert study.planned(frozen(study, again[0])).trial_id == study.planned(frozen(study, interrupted)).trial_id
    assert len(list(study.trials())) == 2, "a trial that was tried twice is one trial"


PAIRS = {"batch.pairs": Integer(32, 128)}
"""Both corners are multiples of batch.group=32; of the other 95 points, two are."""


def test_an_invalid_point_that_a_kill_left_open_is_settled_kept_with_its_reason_and_never_asked_for_again(tmp_path):
    run = RunFolder(tmp_path)
    study = StudyPart.open(SearchPart("search", PAIRS, 3), Recipe(), run, open_storage(run.study))
    for pairs in (57, 64):
        study.study.enqueue_trial({"batch.pairs": pairs})
    invalid, valid = ask(study), ask(study)
    assert study.planned(frozen(study, invalid)) is None
    study.settle()
    study.settle()
    assert states(study) == ["FAIL", "FAIL"]
    ((point, reason),) = study.invalid().items()
    assert point == "batch.pairs=57"
    assert "batch.pairs=57 is not a multiple of batch.group=32" in reason
    assert [trial.recipe.batch.pairs for trial in study.trials()] == [64]
    assert study.remaining(retry_failed=False) == 3
    study.enqueue_unfinished(retry_failed=True)
    assert ask(study).params == valid.params
    assert len(study.study.trials) == 3


def test_remaining_counts_what_is_complete_and_never_below_zero(tmp_path):
    study = make(tmp_path, trials=2)
    for value in (0.1, 0.2, 0.3):
        study.study.tell(ask(study).number, value)
    assert study.remaining(retry_failed=True) == 0


@pytest.mark.parametrize("left", [None, "running"])
def test_a_trial_whose_files_are_lost_is_asked_for_again_and_counts_once(tmp_path, left):
    study = make(tmp_path, trials=3)
    for _ in range(3):
        trial = ask(study)
        write(study, trial, "finished", 0.5)
        study.study.tell(trial.number, 0.5)
    second = study.study.trials[1]
    folder = study.run.trial(study.planned(second).trial_id)
    shutil.rmtree(folder.path)
    if left is not None:
        write(study, second, left)
    study = make(tmp_path, trials=3)
    study.settle()
    study.enqueue_unfinished(retry_failed=False)
    assert study.remaining(retry_failed=False) == 1
    again = ask(study)
    assert again.params == second.params
    write(study, again, "finished", 0.5)
    study.study.tell(again.number, 0.5)
    study = make(tmp_path, trials=3)
    study.enqueue_unfinished(retry_failed=False)
    assert study.remaining(retry_failed=False) == 0
    assert states(study) == ["COMPLETE"] * 4


def test_a_trial_that_was_stopped_early_is_not_run_again_where_a_kill_left_its_status_open(tmp_path):
    study = make(tmp_path, trials=1, scheduler=Asha(grace_steps=10))
    trial = ask(study)
    write(study, trial, "running", 0.2)
    study.report(trial.number, 10, 0.2)
    study.conclude(trial.number, None, pruned=True)
    study = make(tmp_path, trials=1, scheduler=Asha(grace_steps=10))
    study.settle()
    study.enqueue_unfinished(retry_failed=False)
    assert states(study) == ["PRUNED"]
    assert study.remaining(retry_failed=False) == 0


@pytest.mark.parametrize("content", [b"\x00" * 64 + b"\n", b"{}\n", b"no json\n{}\n", bytes(range(128, 200)) + b"\n"])
def test_a_damaged_journal_is_named_with_what_to_do(tmp_path, content):
    run = RunFolder(tmp_path)
    run.study.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"study\.journal: cannot be read as Optuna's journal .*move it away and --resume"):
        open_storage(run.study)


def test_a_half_written_line_of_a_killed_driver_is_taken_off(tmp_path):
    study = make(tmp_path)
    study.study.tell(ask(study).number, 0.5)
    journal = study.run.study
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 5, "worker')
    again = make(tmp_path)
    assert b'"worker{' not in journal.read_bytes()
    assert journal.read_bytes().startswith(whole)
    again.study.tell(ask(again).number, 0.25)
    assert [trial.value for trial in make(tmp_path).study.trials] == [0.5, 0.25]


def test_every_kind_of_dimension_survives_the_journal(tmp_path):
    space = {
        "transport.epsilon": LogUniform(0.01, 1.0),
        "student.num_layers": Integer(0, 2),
        "training.schedule": Categorical(("linear", "cosine")),
    }
    run = RunFolder(tmp_path)
    study = StudyPart.open(SearchPart("search", space, 3), Recipe(), run, open_storage(run.study))
    trial = ask(study)
    stored = optuna.load_study(study_name="search", storage=open_storage(run.study)).trials[0]
    assert stored.state == TrialState.RUNNING
    planned = study.planned(stored)
    assert planned.recipe.transport.epsilon == trial.params["transport.epsilon"], "to the last bit: the trial's id hangs on it"
    assert planned.recipe.training.schedule == trial.params["training.schedule"]
    assert planned.label.startswith("student.num_layers=")


CONDITIONAL = {
    "languages.strategy": Categorical(("diverse", "random")),
    "languages.seed": Conditional(Integer(0, 9), when={"languages.strategy": ("random",)}),
    "transport.epsilon": LogUniform(0.01, 1.0),
}


@pytest.mark.parametrize(("sampler", "objectives"), [("random", ()), ("tpe", ()), ("tpe", TRADE), ("nsga2", TRADE)])
def test_conditional_dimensions_are_drawn_where_they_exist_and_survive_the_journal(tmp_path, sampler, objectives):
    run = RunFolder(tmp_path)
    part = SearchPart("search", CONDITIONAL, 12, sampler=sampler, objectives=objectives, population=4)
    study = StudyPart.open(part, Recipe(), run, open_storage(run.study))
    for value in range(12):
        trial = ask(study)
        assert ("languages.seed" in trial.params) == (trial.params["languages.strategy"] == "random")
        study.study.tell(trial.number, [float(value % 5), float(value % 3)][: len(part.directions)])
    again = StudyPart.open(part, Recipe(), run, open_storage(run.study))
    planned = [again.planned(trial) for trial in again.study.trials]
    assert None not in planned
    seeds = {trial.recipe.languages.seed for trial in planned if trial.recipe.languages.strategy == "diverse"}
    assert seeds == {Recipe().languages.seed}, "where the dimension does not exist, the base's value stays"
    assert len({trial.recipe.languages.seed for trial in planned}) > 1


def test_both_values_of_a_trial_are_kept_with_the_step_they_were_reached_at(tmp_path):
    study = make(tmp_path, "nsga2", objectives=TRADE)
    first, second = ask(study), ask(study)
    study.conclude(first.number, {"valid/Success@1": 0.5, "cpu_seconds": 3.0, "step": 40})
    study.conclude(second.number, {"valid/Success@1": 0.5, "step": 40})
    again = make(tmp_path, "nsga2", objectives=TRADE).study.trials
    assert again[0].values == [0.5, 3.0]
    assert again[0].user_attrs["step"] == 40
    assert again[1].state == TrialState.FAIL, "a cost that is missing is no cost of 0"


def test_patience_is_over_when_the_last_trials_brought_nothing_better_and_begins_anew_where_a_search_is_extended(tmp_path):
    study = make(tmp_path, trials=5)
    study.note_number()
    told = []
    for value in (0.1, 0.3, 0.2, 0.3):
        study.study.tell(ask(study).number, value)
        told.append(study.is_stale(2))
    assert told == [False, False, False, True], "an equal one is not better"
    extended = make(tmp_path, trials=9)
    extended.note_number()
    assert not extended.is_stale(2)
    extended.study.tell(ask(extended).number, 0.1)
    extended.study.tell(ask(extended).number, state=TrialState.PRUNED)
    assert extended.is_stale(2)
    again = make(tmp_path, trials=9)
    again.note_number()
    assert again.is_stale(2), "a resume is no extension"


def test_patience_of_several_objectives_waits_for_a_new_point_on_the_front(tmp_path):
    study = make(tmp_path, objectives=TRADE)
    for values in ([0.5, 10.0], [0.4, 12.0], [0.3, 5.0]):
        study.study.tell(ask(study).number, values)
    assert not study.is_stale(2), "the last is cheaper than all"
    study.study.tell(ask(study).number, [0.5, 10.0])
    assert not study.is_stale(2)
    study.study.tell(ask(study).number, [0.2, 6.0])
    assert study.is_stale(2)
