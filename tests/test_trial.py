"""One trial, whole, on a tiny world: what it writes, and that nothing but the recipe decides its numbers."""

import json
import multiprocessing
import os
import shutil
import signal

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from optical_ray import distillation
from optical_ray import trial as trial_module
from optical_ray.errors import LanguageError, ResourceError
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.provenance import read_starts
from optical_ray.training.checkpoint import latest_checkpoint
from optical_ray.trial import run_trial

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:multiprocessing")


def losses(run, recipe):
    return {(row.step, row.name): row.value for row in run.trial(recipe.trial_id).read_metrics() if row.name != names.STEP_SECONDS}


def run_once(world, path, **changes):
    recipe = world.recipe.override({name.replace("__", "."): value for name, value in changes.items()})
    run = RunFolder(path)
    return run, recipe, run_trial(recipe, Resources(), world.store, run)


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    return run_once(world, tmp_path_factory.mktemp("finished"))


def test_a_trial_leaves_everything_the_format_names(finished, world):
    run, recipe, status = finished
    folder = run.trial(recipe.trial_id)
    assert status.state == "finished"
    assert (status.step, status.max_steps, status.pairs_seen, status.attempts) == (20, 20, 320, 1)
    assert set(status.seconds) == {"prepare", "train", "validate", "evaluate"}
    assert Recipe.read(folder.recipe) == recipe
    plan = json.loads(folder.plan.read_text())
    assert plan["languages"] == list(recipe.languages.pool)
    assert sum(plan["draws"].values()) == 320
    assert plan["epsilon_unit"] > 0
    seen = {"source": "student.init=scratch", "model": None, "languages": [], "seen": dict.fromkeys(recipe.languages.pool, False)}
    assert plan["pretraining_languages"] == seen
    checkpoint = latest_checkpoint(folder.checkpoint)
    assert not (checkpoint / "optimizer.pt").exists()
    texts = pq.read_table(run.tasks / "bitext.parquet")
    assert set(texts["split"].to_pylist()) == {"test"}


def test_a_trial_writes_down_where_it_ran_what_it_cost_and_what_it_stands_on(finished, world):
    run, recipe, status = finished
    folder = run.trial(recipe.trial_id)
    provenance = json.loads(folder.provenance.read_text())
    assert provenance["fingerprint"] == recipe.fingerprint
    (start,) = read_starts(folder)
    assert start["resources"] == Resources().to_dict()
    assert start["versions"]["torch"]
    assert start["git"] is None or set(start["git"]) == {"commit", "dirty"}
    assert start["machine"]["cpus"] >= 1
    assert "command" not in start
    assert status.cpu_seconds > 0
    assert status.gpu_seconds == 0
    artifacts = json.loads(folder.artifacts.read_text())
    assert {name.rpartition("-")[0] for name in artifacts} >= {"corpus", "tokenizer", "teacher-tokens", "tokens", "references"}
    assert all((world.store.root / name).is_dir() for name in artifacts)


def test_seconds_and_cost_are_readable_while_a_trial_runs_and_add_up_over_its_starts(world, tmp_path):
    run, seen = RunFolder(tmp_path), []

    def stop(step, metrics):
        seen.append(run.trial(world.recipe.trial_id).read_status())
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(world.recipe, Resources(), world.store, run, stop)
    assert seen[-1].seconds["train"] > seen[0].seconds["train"] > 0
    assert seen[-1].cpu_seconds > seen[0].cpu_seconds > 0
    stopped = run.trial(world.recipe.trial_id).read_status()
    assert (stopped.state, stopped.seconds["train"] >= seen[-1].seconds["train"]) == ("stopped", True)
    assert (latest_checkpoint(run.trial(world.recipe.trial_id).checkpoint) / "optimizer.pt").is_file(), "what it goes on from"
    done = run_trial(world.recipe, Resources(), world.store, run)
    assert done.seconds["train"] > stopped.seconds["train"]
    assert done.cpu_seconds > stopped.cpu_seconds
    assert len(read_starts(run.trial(world.recipe.trial_id))) == 2


def test_several_workers_cost_what_they_reserve():
    two = Resources(workers=2, threads=3, device="cuda", gpus_per_worker=0.5)
    assert (two.other_cpus, two.gpus) == (6.0, 1.0)
    assert Resources(threads=4).other_cpus == 0.0, "one worker is the trial's own process, whose time is measured"


def test_a_plan_says_what_the_student_saw_before(world):
    def describe(**changes):
        changes = {f"student.{name}": value for name, value in changes.items()}
        recipe = world.recipe.override({"student.init": str(world.teacher), "languages.size": 2} | changes)
        return trial_module.prepare(recipe, world.store).describe()["pretraining_languages"]

    assert describe() is None
    found = describe(pretraining_languages=["hau", "swa", "cmn"])
    assert found["languages"] == ["ha", "sw", "zh-Hans"]
    assert found["seen"] == {"sw": True, "ha": True, "yo": False, "so": False}


def test_every_query_has_a_row_for_every_system_and_scorer(finished):
    run, recipe, _ = finished
    table = pq.read_table(run.trial(recipe.trial_id).queries)
    counts = table.group_by(["system", "scorer"]).aggregate([("query_id", "count")]).to_pylist()
    assert {(row["system"], row["scorer"]) for row in counts} == {
        *(("student", s) for s in ("maxsim", "maxsim-symmetric", "pooled")),
        *(("mean-removed", s) for s in ("maxsim", "maxsim-symmetric", "pooled")),
        *(("mean-removed-train", s) for s in ("maxsim", "maxsim-symmetric", "pooled")),
        *(("components-removed", s) for s in ("maxsim", "maxsim-symmetric", "pooled")),
        ("lexical", "tfidf"),
        ("translation-memory", "tfidf"),
    }
    assert {row["query_id_count"] for row in counts} == {4 * 12}
    assert set(table["split"].to_pylist()) == {"test"}
    assert pc.min(table["rank"]).as_py() >= 1
    assert pc.max(table["rank"]).as_py() <= 20


def test_validation_never_reads_a_test_row(finished, world):
    stages = trial_module.prepare(world.recipe, world.store)
    asked = {}
    for split in ("valid", "test"):
        evaluator = trial_module.make_evaluator(world.recipe, stages, split)
        asked[split] = {int(i) for task in evaluator.tasks for i in task.candidates}
    assert not asked["valid"] & asked["test"]
    english = np.asarray(stages.corpus.english()["split"])
    trained = set()
    for tag in stages.languages:
        trained |= set(stages.corpus.rows(tag, "train")["english_id"].to_pylist())
    assert {str(english[i]) for i in trained} == {"train"}


def test_training_learns(world, tmp_path):
    run, recipe, status = run_once(world, tmp_path, training__max_steps=200, training__validate_every=200, objective__contrastive=1.0)
    values = losses(run, recipe)
    assert values[200, names.LOSS_TRANSPORT] < 0.9 * values[5, names.LOSS_TRANSPORT]
    assert values[200, names.VALID_SUCCESS_AT_1] > values[0, names.VALID_SUCCESS_AT_1] + 0.2
    assert status.verdicts == []


def test_a_language_that_drifts_under_its_own_mean_has_not_collapsed(world, tmp_path):
    """Its offset makes all raw tokens alike, and the verdict must look past it."""
    changes = {"cost__centre": "language-mean", "evaluation__centre": "language-mean", "training__max_steps": 200}
    _, _, status = run_once(world, tmp_path, **changes, training__validate_every=200)
    assert status.objective > 0.9
    assert status.verdicts == []


def test_the_same_recipe_gives_the_same_numbers(finished, world, tmp_path):
    run, recipe, _ = run_once(world, tmp_path)
    assert losses(run, recipe) == losses(finished[0], recipe)
    assert pq.read_table(run.trial(recipe.trial_id).queries).equals(pq.read_table(finished[0].trial(recipe.trial_id).queries))


def test_another_seed_gives_other_numbers(finished, world, tmp_path):
    run, recipe, _ = run_once(world, tmp_path, seed=1)
    assert losses(run, recipe)[20, names.LOSS] != losses(finished[0], finished[1])[20, names.LOSS]


def test_where_tokens_are_computed_changes_no_result(finished, world, tmp_path):
    """Neither shards nor teacher cache: the same trial, to the rounding of a teacher that reads other batches."""
    run, recipe, status = run_once(world, tmp_path, batch__token_shards=False, teacher__cache=False)
    assert recipe.trial_id == finished[1].trial_id
    found, expected = losses(run, recipe), losses(finished[0], recipe)
    assert found.keys() == expected.keys()
    assert found[20, names.LOSS] == pytest.approx(expected[20, names.LOSS], rel=1e-3)
    plans = [json.loads(one.trial(recipe.trial_id).plan.read_text()) for one in (run, finished[0])]
    assert plans[0]["epsilon_unit"] == pytest.approx(plans[1]["epsilon_unit"], rel=1e-3)
    assert plans[0] | {"epsilon_unit": 0} == plans[1] | {"epsilon_unit": 0}
    assert status.objective == pytest.approx(finished[2].objective, abs=0.05)


def test_a_token_budget_counts_the_pairs_that_were_seen(world, tmp_path):
    changes = {"batch__tokens": 600, "batch__length_window": 4, "student__max_tokens": 24, "training__max_steps": 10}
    run, recipe, status = run_once(world, tmp_path, **changes)
    plan = json.loads(run.trial(recipe.trial_id).plan.read_text())
    assert (plan["pairs_per_step"], plan["tokens_per_step"], plan["draws"]) == (None, 600, None)
    assert 80 < status.pairs_seen != 160
    assert losses(run, recipe)[10, names.PAIRS_SEEN] == status.pairs_seen


def test_a_finished_trial_is_not_run_again(finished, world):
    run, recipe, status = finished
    before = run.trial(recipe.trial_id).metrics.read_bytes()
    assert run_trial(recipe, Resources(), world.store, run) == status
    assert run.trial(recipe.trial_id).metrics.read_bytes() == before


def _train_until_killed(recipe, store, path):
    def stop(step, metrics):
        if step == 15:
            os.kill(os.getpid(), signal.SIGKILL)

    run_trial(recipe, Resources(), store, RunFolder(path), stop)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch.length_window": 7},
        {"student.dropout": 0.1},
        {"batch.tokens": 600, "batch.length_window": 7, "student.max_tokens": 24},
        {"training.micro_groups": 1, "student.dropout": 0.1, "training.precision": "bf16"},
    ],
    ids=["mid-window", "dropout", "tokens", "accumulation"],
)
def test_a_killed_training_continues_bit_for_bit(world, tmp_path, changes):
    recipe = world.recipe.override(changes)
    process = multiprocessing.get_context("spawn").Process(target=_train_until_killed, args=(recipe, world.store, tmp_path / "killed"))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    killed = RunFolder(tmp_path / "killed")
    assert killed.trial(recipe.trial_id).read_status().state == "running"
    status = run_trial(recipe, Resources(), world.store, killed)
    assert (status.state, status.attempts, status.resumed_from) == ("finished", 2, 10)
    whole = RunFolder(tmp_path / "whole")
    run_trial(recipe, Resources(), world.store, whole)
    assert losses(killed, recipe) == losses(whole, recipe)
    first, second = (latest_checkpoint(run.trial(recipe.trial_id).checkpoint) / "model.safetensors" for run in (killed, whole))
    assert first.read_bytes() == second.read_bytes()
    first, second = (run.trial(recipe.trial_id).checkpoint / "best" for run in (killed, whole))
    for name in ("model.safetensors", "position.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_kill_between_report_and_checkpoint_loses_no_row(world, tmp_path, monkeypatch):
    """At the last step: the report is written, the checkpoint is not; the resumed trial must end with the same rows."""
    run, recipe = RunFolder(tmp_path), world.recipe
    save = distillation.save_checkpoint

    def die_at_the_end(folder, state, *rest):
        if state.step == 20:
            raise KeyboardInterrupt
        return save(folder, state, *rest)

    monkeypatch.setattr(distillation, "save_checkpoint", die_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        run_trial(recipe, Resources(), world.store, run)
    assert run.trial(recipe.trial_id).read_status().state == "stopped"
    monkeypatch.setattr(distillation, "save_checkpoint", save)
    status = run_trial(recipe, Resources(), world.store, run)
    whole = RunFolder(tmp_path / "whole")
    assert status.objective == run_trial(recipe, Resources(), world.store, whole).objective
    assert losses(run, recipe) == losses(whole, recipe)


def test_a_trial_is_not_continued_on_other_data(world, tmp_path):
    from optical_ray.errors import RunFolderError

    bitext = tmp_path / "bitext"
    shutil.copytree(world.bitext, bitext)
    recipe, run = world.recipe.override({"corpus.sources": str(bitext)}), RunFolder(tmp_path / "run")

    def stop(step, metrics):
        if step == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_trial(recipe, Resources(), world.store, run, stop)
    rows = pq.read_table(bitext / "lang=so" / "part-0.parquet", partitioning=None)
    pq.write_table(rows.slice(5), bitext / "lang=so" / "part-0.parquet")
    with pytest.raises(RunFolderError, match=r"was begun with other data \(corpus"):
        run_trial(recipe, Resources(), world.store, run)


def test_the_objective_may_be_of_languages_that_are_not_in_training(world, tmp_path):
    few = {"languages.size": 1, "training.max_steps": 0}
    own = run_trial(world.recipe.override(few), Resources(), world.store, RunFolder(tmp_path))
    fixed = {"evaluation.objective_languages": ["ha", "yo"]}
    other = run_trial(world.recipe.override(few | fixed), Resources(), world.store, RunFolder(tmp_path))
    assert own.trial_id != other.trial_id
    stages = trial_module.prepare(world.recipe.override(few), world.store)
    evaluator = trial_module.make_evaluator(world.recipe, stages, "valid")
    student = trial_module.load_student(latest_checkpoint(RunFolder(tmp_path).trial(other.trial_id).checkpoint))
    by_language = evaluator.success_at_1(evaluator.clouds(student), world.recipe.evaluation.scorer)
    assert other.objective == pytest.approx((by_language["ha"] + by_language["yo"]) / 2)
    assert own.objective == pytest.approx(by_language["sw"])


def test_the_best_student_is_evaluated_where_it_is_asked_for(world, tmp_path):
    changes = {"training__validate_every": 5, "training__max_steps": 30, "training__schedule": "constant"}
    changes["training__projection_learning_rate"] = 0.5  # learns, and forgets again
    run, recipe, _ = run_once(world, tmp_path, **changes)
    valid = {step: value for (step, name), value in losses(run, recipe).items() if name == names.VALID_SUCCESS_AT_1 and step > 0}
    best = min(valid, key=lambda step: (-valid[step], step))
    assert valid[best] > valid[30], "the case is chosen so"
    other_run, other, _ = run_once(world, tmp_path, **changes, training__evaluate_checkpoint="best")
    assert other.trial_id != recipe.trial_id
    assert losses(other_run, other) == losses(run, recipe)
    stages = trial_module.prepare(recipe, world.store)
    evaluator = trial_module.make_evaluator(recipe, stages, "test")
    for one, asked, step in ((run, recipe, 30), (other_run, other, best)):
        folder = one.trial(asked.trial_id)
        paths = [path for path in folder.checkpoint.iterdir() if json.loads((path / "position.json").read_text())["step"] == step]
        student = trial_module.load_student(paths[0])
        rows = pq.read_table(folder.queries)
        expected = evaluator.outcomes(evaluator.clouds(student), evaluator.sample_clouds(student))
        assert rows.slice(0, len(expected)).equals(expected.select(rows.column_names).cast(rows.schema))
        assert {path.name for path in folder.checkpoint.iterdir()} == {"step-00000030", "best"}
        assert not list(folder.checkpoint.glob("*/optimizer.pt"))


def test_the_untrained_control_is_evaluated_as_it_was_initialised(world, tmp_path):
    run, recipe, status = run_once(world, tmp_path, training__max_steps=0)
    assert recipe.arm == "none"
    assert status.state == "finished"
    assert run.trial(recipe.trial_id).queries.is_file()


def test_a_failure_is_written_in_one_line_and_raised(world, tmp_path):
    recipe = world.recipe.override({"languages.size": 9})
    run = RunFolder(tmp_path)
    with pytest.raises(LanguageError, match="9 languages asked for, the pool holds 4"):
        run_trial(recipe, Resources(), world.store, run)
    status = run.trial(recipe.trial_id).read_status()
    assert status.state == "failed"
    assert "9 languages asked for" in status.error


def test_two_processes_do_not_run_one_trial(world, tmp_path):
    run = RunFolder(tmp_path)

    def second(step, metrics):
        with pytest.raises(ResourceError, match="another process is running this trial"):
            run_trial(world.recipe, Resources(), world.store, run)

    run_trial(world.recipe, Resources(), world.store, run, second)


def test_workers_that_cannot_share_the_groups_are_refused(world, tmp_path):
    with pytest.raises(ResourceError, match="3 workers cannot share 2 groups of 8 pairs"):
        run_trial(world.recipe, Resources(workers=3), world.store, RunFolder(tmp_path))


def test_an_infinite_loss_fails_the_trial_and_says_what_to_do(world, tmp_path):
    from optical_ray.errors import NumericsError

    recipe = world.recipe.override({"training.learning_rate": 1e30, "training.embedding_learning_rate": 1e30, "training.warmup_share": 0.0})
    run = RunFolder(tmp_path)
    with pytest.raises(NumericsError):
        run_trial(recipe, Resources(), world.store, run)
    assert run.trial(recipe.trial_id).read_status().state == "failed"


def test_threads_come_from_resources(world, tmp_path):
    seen = []
    run_trial(
        world.recipe, Resources(threads=2), world.store, RunFolder(tmp_path), lambda step, metrics: seen.append(torch.get_num_threads())
    )
    assert set(seen) == {2}
