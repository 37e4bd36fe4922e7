"""Two workers under Ray Train, fed by Ray Data, on the tiny world."""

import json
from dataclasses import fields

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError
from ray.train.v2.api.exceptions import WorkerGroupError

from optical_ray.data.batches import read_batches
from optical_ray.data.plan import START
from optical_ray.errors import LanguageError, NumericsError, WorkerDied
from optical_ray.orchestration.feed import read_rank
from optical_ray.orchestration.train import distil_with_ray, find_cause
from optical_ray.orchestration.tune import run_sweep
from optical_ray.recipe import Resources
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder
from optical_ray.stages import prepare
from optical_ray.sweep import GridPart, Sweep
from optical_ray.trial import run_trial

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


LOST = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer")


@pytest.mark.parametrize(
    ("failures", "expected", "message"),
    [
        ({0: LOST, 1: RayActorError()}, WorkerDied, "worker 1 died"),
        ({0: WorkerHealthCheckFailedError("A worker health check failed.", RayActorError()), 1: LOST}, WorkerDied, "worker 0 died"),
        ({0: LOST, 1: WorkerHealthCheckTimeoutError("A worker health check hung.")}, WorkerDied, "worker 1 died"),
        ({0: LOST, 1: OutOfMemoryError("Task was killed")}, WorkerDied, "worker 1 died"),
        ({0: LOST}, WorkerDied, "worker 0 lost its connection to another one, which died"),
        ({0: torch.distributed.DistBackendError("NCCL error"), 1: LOST}, WorkerDied, "worker 0, 1 lost its connection"),
        ({0: LOST, 1: NumericsError("step 3: the loss is NaN")}, NumericsError, "step 3"),
        ({0: LOST, 1: ZeroDivisionError("by 0")}, ZeroDivisionError, "by 0"),
        ({0: RayActorError(), 1: ZeroDivisionError("by 0")}, WorkerDied, "worker 0 died"),
    ],
)
def test_of_the_failures_of_a_group_the_cause_is_told(failures, expected, message):
    cause = find_cause(WorkerGroupError("training failed", failures))
    assert type(cause) is expected
    assert message in str(cause)


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


def equal(one, other):
    sides = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(first is second is None or torch.equal(first, second) for first, second in sides)


@pytest.mark.parametrize("tokens", [None, 1200])
def test_ray_data_gives_each_rank_the_batches_that_it_would_read_itself(world, recipe, cluster, tokens):
    changes = {"batch.tokens": tokens, "batch.length_window": 4, "student.max_tokens": 24, "objective.english": 0.0 if tokens else 1.0}
    stages = prepare(recipe.override(changes), world.store)
    whole = list(read_batches(stages.source(), stages.plan))
    for workers, start in [(1, START), (2, START), (2, whole[6][1])]:  # and in the middle of a window
        for rank in range(workers):
            expected = list(read_batches(stages.source(), stages.plan, start, rank, workers))
            found = list(read_rank(stages.source(), stages.plan, start, rank, workers))
            assert len(found) == len(expected) > 0
            assert [after for _, after in found] == [after for _, after in expected]
            assert all(equal(one, other) for (one, _), (other, _) in zip(found, expected, strict=True))


def test_no_shard_size_makes_a_worker_wait_for_the_others(world, tmp_path, cluster):
    """1, 10 and 700 rows: ranks that took shards, or passes over them, would run out at different steps and wait for ever."""
    bitext = tmp_path / "bitext"
    sentences = pq.read_table(world.bitext / "lang=sw" / "part-0.parquet", partitioning=None).to_pydict()
    english = [f"{text} {word}" for word in ("today", "again", "slowly") for text in sentences["english"]]
    for language, rows in {"sw": 900, "ha": 14, "yo": 3}.items():
        folder = bitext / f"lang={language}"
        folder.mkdir(parents=True)
        pq.write_table(
            pa.table({"english": english[:rows], "text": [f"{language} {text}" for text in english[:rows]]}), folder / "part-0.parquet"
        )
    changes = {"corpus.sources": str(bitext), "corpus.min_pairs": 1, "languages.pool": ["sw", "ha", "yo"], "mixing.temperature": 100.0}
    changes |= {
        "batch.tokens": 1200,
        "batch.length_window": 2,
        "student.max_tokens": 24,
        "evaluation.languages": ["sw"],
        "training.max_steps": 40,
    }
    recipe = world.recipe.override(changes)
    rows = prepare(recipe, world.store).plan.mixture.rows
    assert rows["yo"] <= 3 < rows["ha"] <= 14 < 600 < rows["sw"]
    status = run_trial(recipe, Resources(workers=2), world.store, RunFolder(tmp_path / "run"), distil=distil_with_ray)
    assert (status.state, status.step) == ("finished", 40)
    alone = run_trial(recipe, Resources(), world.store, RunFolder(tmp_path / "alone"))
    assert status.pairs_seen == alone.pairs_seen
    assert status.objective == pytest.approx(alone.objective, abs=0.05)
