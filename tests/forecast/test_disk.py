"""The arithmetic of disk, against what a trial really leaves; refused with the numbers."""

import shutil

import pytest

from optical_ray.encoders.student_folder import load_student
from optical_ray.errors import ResourceError
from optical_ray.forecast import disk as disk_module
from optical_ray.forecast.disk import bytes_by_place, check_disk, count_parameters, forecast_sweep, forecast_trial
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.disk import tree_bytes
from optical_ray.runs.folder import OPTIMIZER, RunFolder
from optical_ray.trial import run_trial


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """A finished trial of the tiny world, and its recipe with the vocabulary that its corpus gave."""
    run = RunFolder(tmp_path_factory.mktemp("runs") / "r")
    run_trial(world.recipe, Resources(), world.store, run)
    trial = run.trial(world.recipe.trial_id)
    student = load_student(next(trial.checkpoint.glob("step-*")))
    pieces = student.encoder.get_input_embeddings().weight.shape[0]
    return trial, world.recipe.override({"tokenizer.vocab_size": pieces}), student


def test_parameters_are_counted_as_they_are(finished):
    _, recipe, student = finished
    assert count_parameters(recipe) == sum(parameter.numel() for parameter in student.parameters())


def test_a_student_that_starts_from_a_folder_is_counted_from_its_weights(finished, world):
    trial, recipe, student = finished
    folder = next(trial.checkpoint.glob("step-*"))
    counted = count_parameters(recipe.override({"student.init": str(folder)}))
    assert counted == sum(parameter.numel() for parameter in student.parameters())
    assert count_parameters(recipe.override({"student.init": "nobody/nothing-that-is-cached"})) is None


def test_what_a_finished_trial_leaves_is_what_was_forecast(finished):
    trial, recipe, _ = finished
    kept = tree_bytes(trial.path)
    said = forecast_trial(recipe)
    assert said.student * 2 * 0.7 < kept < said.finished, "an upper bound, and no wild one"
    assert not list(trial.checkpoint.rglob(OPTIMIZER)), "the optimizer state is dropped when a trial finishes"


def test_the_sweep_keeps_what_its_trials_keep_and_peaks_by_those_at_work():
    recipe, control = Recipe(), Recipe().override({"training.max_steps": 0})
    one, untrained = forecast_trial(recipe), forecast_trial(control)
    whole = forecast_sweep([(recipe, 5), (control, 1)], concurrent=2)
    assert whole.kept == 5 * one.finished + untrained.finished
    assert whole.peak == whole.kept + 2 * (one.peak - one.finished)
    few = forecast_sweep([(recipe, 5), (control, 1)], concurrent=2, keep_best=2)
    assert 2 * one.finished < few.kept < 3 * one.finished
    sizes = [(recipe.override({"languages.size": size}), 3) for size in (1, 2)]
    assert forecast_sweep(sizes, 1, keep_best=2).kept > 4 * one.finished, "two of each language set"
    judges = [(each.override({"evaluation.objective_languages": ["sw"]}), count) for each, count in sizes]
    assert forecast_sweep(judges, 1, keep_best=2).kept < 3 * one.finished, "all are judged on one"
    unknown = forecast_sweep([(recipe.override({"teacher.path": "nobody/nothing"}), 3)], concurrent=1)
    assert (unknown.kept, unknown.unknown) == (0, 3)


def test_what_does_not_fit_is_refused_with_both_numbers(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk_module.shutil, "disk_usage", lambda path: usage._replace(free=5_000_000))
    check_disk(tmp_path / "runs", tmp_path / "store", 2_000_000, 3_000_000)
    with pytest.raises(ResourceError, match=r"runs: the sweep will take up to 6.0 MB there, 5.0 MB are free; make room .*--keep-best"):
        check_disk(tmp_path / "runs", tmp_path / "store", 2_000_000, 4_000_000)


def test_on_one_disk_both_folders_count(tmp_path):
    assert set(bytes_by_place(tmp_path / "runs", tmp_path / "store", 1, 2).values()) == {3}
