"""Two workers under Ray Train, fed by Ray Data, on the tiny world."""

import json

import pytest

from optical_ray.errors import LanguageError, NumericsError
from optical_ray.orchestration.train import distil_with_ray, read_rank
from optical_ray.orchestration.tune import run_sweep
from optical_ray.recipe import Resources
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import GridPart, Sweep
from optical_ray.trial import prepare, run_trial

REDUCED = (names.LOSS, names.LOSS_TRANSPORT, names.LOSS_CONTRASTIVE, names.GRAD_NORM, names.LEARNING_RATE, names.TRANSPORT_ENTROPY)
REDUCED += (names.VALID_SUCCESS_AT_1, names.WITHIN_SENTENCE_COSINE, names.PAIRS_SEEN)


def reports(run, recipe):
    return {(row.step, row.name): row.value for row in run.trial(recipe.trial_id).read_metrics() if row.name in REDUCED}


@pytest.fixture(scope="module")
def recipe(world):
    return world.recipe.override({"objective.contrastive": 0.5, "training.report_every": 1})


def test_a_tune_trial_of_two_workers_gives_the_losses_of_one(world, recipe, tmp_path, cluster):
    alone, together = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "together")
    run_trial(recipe, Resources(), world.store, alone)
    sweep = Sweep("two", "does it scale?", "yes", recipe, (GridPart("grid"),), Resources(workers=2))
    outcome = run_sweep(sweep, together, world.store)
    assert outcome.finished == (recipe.trial_id,), outcome.failed
    expected, found = reports(alone, recipe), reports(together, recipe)
    assert found.keys() == expected.keys()
    assert {step for step, name in expected if name == names.LOSS_TRANSPORT} == set(range(1, 21))
    for (step, name), value in expected.items():
        assert found[step, name] == pytest.approx(value, rel=1e-5, abs=1e-6), f"{name} at step {step}"
    rows = [json.loads(line) for line in (together.ray / recipe.trial_id / "result.json").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 10, 20, 20], "Tune hears every validation, and the end"
    assert rows[-1][names.VALID_SUCCESS_AT_1] == found[20, names.VALID_SUCCESS_AT_1]
    assert not (together.trial(recipe.trial_id).path / ".train").exists(), "Train's own folder is scratch"


def test_what_the_caller_raises_at_a_report_ends_the_workers(world, recipe, tmp_path, cluster):
    recipe = recipe.override({"training.max_steps": 2000, "training.checkpoint_every": 5, "training.validate_every": 1000})
    heard = []

    def stop(step, metrics):
        heard.append(step)
        if step == 3:
            raise NumericsError("enough")

    with pytest.raises(NumericsError, match="enough"):
        run_trial(recipe, Resources(workers=2), world.store, RunFolder(tmp_path), stop, distil_with_ray)
    assert heard == [0, 1, 2, 3], "every report reaches the caller, once and in order"
    assert 3 <= RunFolder(tmp_path).trial(recipe.trial_id).read_status().step < 2000


def test_an_error_of_a_worker_comes_back_as_it_was(world, recipe, tmp_path, cluster):
    recipe = recipe.override({"languages.size": 9})
    with pytest.raises(LanguageError, match="^languages|9 languages"):
        distil_with_ray(recipe, Resources(workers=2), world.store, RunFolder(tmp_path).trial(recipe.trial_id), lambda step, metrics: None)


@pytest.mark.parametrize("start_step", [0, 7])
def test_ray_data_gives_each_rank_its_rows_in_the_order_of_the_plan(world, recipe, cluster, start_step):
    stages = prepare(recipe, world.store)
    source, plan = stages.source(recipe), stages.plan
    for rank in (0, 1):
        batches = list(read_rank(source, plan, start_step, rank, 2, stages.teacher.dimension))
        assert len(batches) == plan.steps - start_step
        assert {len(batch.english_B) for batch in batches} == {8}
        _, language, row = plan.rows(start_step, rank, 2)
        assert [int(i) for batch in batches for i in batch.language_B] == language.tolist()
        assert [int(i) for batch in batches for i in batch.english_B] == source.english_ids(language, row).tolist()
