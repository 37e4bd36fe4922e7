"""A sweep of real trials on the tiny world: the numbers are those of the same recipes run alone, and the report reads them."""

import optuna

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.load import load_run
from optical_ray.analysis.table import render_table
from optical_ray.cli.record import record
from optical_ray.orchestration.study import open_storage
from optical_ray.orchestration.tune import run_sweep
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import Choice, GridPart, LogUniform, SearchPart, Sweep
from optical_ray.trial import run_trial


def reports(run, recipe):
    return [(row.step, row.name, row.value) for row in run.trial(recipe.trial_id).read_metrics() if row.name != names.STEP_SECONDS]


def test_trials_of_a_sweep_are_the_trials_run_alone_bit_for_bit(world, tmp_path, cluster):
    arms = (Choice("OT", {"objective.contrastive": 0.0}), Choice("both", {"objective.contrastive": 0.3}))
    sweep = Sweep(
        "tiny",
        "Does it run?",
        "It does.",
        world.recipe,
        (
            GridPart("control", changes={"training.max_steps": 0}),
            GridPart("arms", {"arm": arms, "languages.size": (1, 4)}),
            SearchPart("search", {"transport.epsilon": LogUniform(0.05, 1.0)}, num_trials=2, startup_trials=1),
        ),
        Resources(threads=1),
    )
    run = RunFolder(tmp_path / "sweep")
    run.write_sweep(record(sweep))
    outcome = run_sweep(sweep, run, world.store, concurrent_trials=2)
    assert len(outcome.finished) == 7, outcome.failed
    study = optuna.load_study(study_name="search", storage=open_storage(run.study))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    for trial in run.trials():
        recipe = Recipe.read(trial.recipe)
        alone = RunFolder(tmp_path / "alone")
        run_trial(recipe, Resources(threads=1), world.store, alone)
        assert reports(run, recipe) == reports(alone, recipe)
        assert trial.queries.read_bytes() == alone.trial(recipe.trial_id).queries.read_bytes()
    found = sorted(trial.value for trial in study.trials)
    assert found == sorted(run.trial(i).read_status().objective for i in outcome.finished[-2:])
    analysis = analyse(load_run(run.path))
    assert len(analysis.cells) == 4
    assert render_table(analysis) is not None
