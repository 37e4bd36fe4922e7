"""Time is told from what was measured, or not at all."""

import pytest

from optical_ray.artifacts import Store, write_json
from optical_ray.errors import ConfigError
from optical_ray.forecast.calibration import Calibration, calibrate, find_calibration
from optical_ray.forecast.duration import find_duration, from_calibration
from optical_ray.forecast.shards import forecast_store
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import TrialStatus
from optical_ray.stages import prepare


def finish(run, name, steps, train, once=4.0):
    write_json(run.trial(name).recipe, {})
    seconds = {"prepare": once / 2, "train": train, "validate": 1.0, "evaluate": once / 2}
    run.trial(name).write_status(TrialStatus(trial_id=name, state="finished", step=steps, max_steps=steps, seconds=seconds))


def test_without_a_measurement_nothing_is_known(tmp_path):
    assert find_duration(Recipe(), Resources(), Store(tmp_path / "store"), RunFolder(tmp_path / "run")) is None
    assert not (tmp_path / "store").exists(), "asking makes nothing"


def test_finished_trials_tell_the_others(tmp_path):
    run = RunFolder(tmp_path / "run")
    for name, steps, train in (("a", 100, 20.0), ("b", 200, 40.0), ("c", 0, 0.0)):
        finish(run, name, steps, train)
    duration = find_duration(Recipe(), Resources(), Store(tmp_path), run)
    recipe = Recipe().override({"training.max_steps": 300})
    assert duration.of(recipe) == pytest.approx(300 * 0.2 + 4.0)
    assert duration.source.startswith("2 finished trials"), "the untrained control says nothing of a step"
    assert duration.of_sweep([(recipe, 4)], concurrent=2) == pytest.approx(2 * 64.0)
    assert duration.of_sweep([(recipe, 1)], concurrent=9) == pytest.approx(64.0), "a trial is not shared"


def test_a_calibration_counts_steps_validations_and_what_is_done_once():
    found = Calibration(step=0.1, validate=2.0, prepare=3.0, evaluate=5.0, measured_at="then")
    recipe = Recipe().override({"training.max_steps": 100, "training.validate_every": 40})
    assert from_calibration(recipe, found) == pytest.approx(3.0 + 10.0 + 4 * 2.0 + 5.0)


def test_a_calibration_is_real_steps_kept_in_the_store_for_any_number_of_steps(world, tmp_path):
    found = calibrate(world.recipe, Resources(), world.store)
    assert all(value > 0 for value in (found.step, found.validate, found.prepare, found.evaluate))
    longer = world.recipe.override({"training.max_steps": 500, "seed": 3})
    assert find_calibration(longer, Resources(), world.store) == found
    assert find_calibration(world.recipe.override({"batch.pairs": 32}), Resources(), world.store) is None, "another step"
    assert find_calibration(world.recipe, Resources(threads=2), world.store) is None
    assert not list(world.store.root.glob(".calibration-*.scratch")), "its trial is thrown away"
    with pytest.raises(ConfigError, match="times one worker in this process"):
        calibrate(world.recipe, Resources(workers=2), world.store)


def test_the_store_still_takes_what_is_not_built(world, tmp_path):
    prepare(world.recipe, world.store)
    built = forecast_store([world.recipe], world.store)
    assert (built.bytes, built.unknown) == (0, ())
    nothing = forecast_store([world.recipe], Store(tmp_path / "empty"))
    assert nothing.bytes == 0
    assert "the corpus (not built yet" in nothing.unknown[0]
