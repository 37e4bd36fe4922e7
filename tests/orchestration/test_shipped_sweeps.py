"""The shipped smoke sweep, on the tiny world's data, with a search behind it whose worse half is stopped: real trials on a real cluster."""

import dataclasses
import json
from pathlib import Path

import pytest

from optical_ray.analysis.load import load_run
from optical_ray.cli.record import record
from optical_ray.cli.sweep import load_sweep, with_base
from optical_ray.orchestration.tune import run_sweep
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.names import valid_success_at_1
from optical_ray.sweep import Asha, Categorical, SearchPart
from optical_ray.training.checkpoint import latest_checkpoint

SMOKE = Path(__file__).parents[2] / "sweeps" / "smoke.py"
SEED = 0
OF_THE_WORLD = (
    "corpus.sources", "corpus.cleaning.near_duplicates", "corpus.min_pairs", "teacher.path", "tokenizer.vocab_size", "student.hidden_size",
    "student.num_heads", "student.num_layers", "batch.pairs", "batch.group", "evaluation.valid_queries", "evaluation.test_queries",
    "evaluation.candidates",
)  # fmt: skip


def value_of(recipe, name):
    for part in name.split("."):
        recipe = recipe[part]
    return recipe


@pytest.mark.slow
def test_the_smoke_sweep_runs_on_other_data_and_a_real_trial_that_is_stopped_leaves_a_whole_folder(world, tmp_path, cluster):
    known = world.recipe.to_dict()
    sweep = with_base(load_sweep(SMOKE), [f"{name}={json.dumps(value_of(known, name))}" for name in OF_THE_WORLD])
    assert sweep.num_trials == 2
    # Of two students the second hardly moves, so it is the worse one at step 30. (SEED draws them in this order.)
    still = {"training.projection_learning_rate": 1e-12, "training.learning_rate": 1e-12}
    rates = {"training.embedding_learning_rate": Categorical((1e-2, 1e-12))}
    search = SearchPart("search", rates, 2, changes=still, sampler="random", seed=SEED, scheduler=Asha(30, 2))
    sweep = dataclasses.replace(sweep, parts=(*sweep.parts, search))
    run = RunFolder(tmp_path / "smoke")
    run.write_sweep(record(sweep))
    outcome = run_sweep(sweep, run, world.store, concurrent_trials=1)
    assert (outcome.failed, outcome.unfinished, outcome.interrupted) == ((), (), False)
    assert set(sweep.planned()) < set(outcome.finished), "a grid is not stopped"
    (pruned,) = outcome.pruned
    folder = run.trial(pruned)
    assert (folder.read_status().state, folder.read_status().step) == ("pruned", 30)
    assert latest_checkpoint(folder.checkpoint) is None
    assert not folder.queries.is_file(), "test rows are for trials that reached their end"
    assert any(row.name == valid_success_at_1("sw") for row in folder.read_metrics())
    assert {trial.trial_id: trial.problems for trial in load_run(run.path).trials}[pruned] == ()
