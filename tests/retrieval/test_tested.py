"""Released data sets as a stage of a trial: rows beside the held-out bitext, once, of a finished student and its references."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sentences import OBJECTS, SUBJECTS, VERBS, translate

from optical_ray.errors import ConfigError, DataError
from optical_ray.recipe import Recipe, Resources
from optical_ray.retrieval import tested
from optical_ray.runs.folder import RunFolder
from optical_ray.trial import run_trial

SENTENCES = [f"{s} {v} {o}" for s, v, o in zip(SUBJECTS * 3, VERBS[3:] * 5, OBJECTS[1:] * 4, strict=False)][:15]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    queries = {"query_id": [f"q{i}" for i in range(6)], "text": [translate(text, "sw") for text in SENTENCES[:6]], "lang": ["sw"] * 6}
    pq.write_table(pa.table(queries), folder / "queries.parquet")
    pq.write_table(pa.table({"doc_id": [f"d{i}" for i in range(15)], "text": SENTENCES, "lang": ["en"] * 15}), folder / "corpus.parquet")
    qrels = {"query_id": queries["query_id"], "doc_id": [f"d{i}" for i in range(6)], "relevance": [1] * 6}
    pq.write_table(pa.table(qrels), folder / "qrels.parquet")
    return folder


def with_task(world, task, **changes):
    row = {"task": "parquet", "path": str(task), "name": "toy"}
    return world.recipe.override(
        {"training.max_steps": 2, "evaluation.tasks": [row]} | {k.replace("__", "."): v for k, v in changes.items()}
    )


def test_a_finished_trial_has_rows_of_its_tasks(world, task, tmp_path, monkeypatch):
    recipe, run = with_task(world, task), RunFolder(tmp_path / "run")
    read = []
    monkeypatch.setattr(tested, "read_collections", lambda *given: read.append(given) or _read(*given))
    run_trial(recipe, Resources(), world.store, run)
    assert len(read) == 1
    rows = pq.read_table(run.trial(recipe.trial_id).queries, partitioning=None)
    own = rows.filter(pc.equal(rows["task"], "toy"))
    found = own.group_by(["system", "scorer"]).aggregate([("query_id", "count_distinct")]).to_pylist()
    tokens = ("student", "mean-removed", "components-removed", "zero-shot", "zero-shot-mean-removed")
    expected = {(system, scorer) for system in tokens for scorer in ("maxsim", "maxsim-symmetric", "pooled")}
    assert {(row["system"], row["scorer"]) for row in found} == expected | {("lexical", "tfidf"), ("bm25", "bm25"), ("random", "random")}
    assert {row["query_id_count_distinct"] for row in found} == {6}
    assert set(own["split"].to_pylist()) == {"test"}
    bitext = rows.filter(pc.equal(rows["task"], "bitext"))
    plain = world.recipe.override({"training.max_steps": 2})
    run_trial(plain, Resources(), world.store, RunFolder(tmp_path / "plain"))
    assert bitext.equals(pq.read_table(RunFolder(tmp_path / "plain").trial(plain.trial_id).queries, partitioning=None))
    run_trial(recipe, Resources(), world.store, run)  # finished: nothing is asked again
    assert len(read) == 1


_read = tested.read_collections


def test_the_student_s_rows_are_those_of_the_verb(world, task, tmp_path):
    from optical_ray.cli import main

    recipe, run = with_task(world, task, evaluation__centre="teacher-mean"), RunFolder(tmp_path / "run")
    run_trial(recipe, Resources(), world.store, run)
    trial = run.trial(recipe.trial_id)
    given = ["--task", "parquet", "--data", str(task), "--out", str(tmp_path / "out"), "--store", str(world.store.root), "--threads", "1"]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(trial.path), *given])
    assert ended.value.code == 0
    keys = ["system", "scorer", "query_id"]
    columns = [*keys, "rank", "AP", "num_candidates"]
    own = pq.read_table(trial.queries, partitioning=None)
    own = own.filter(pc.equal(own["task"], "toy")).select(columns).sort_by([(key, "ascending") for key in keys])
    theirs = pq.read_table(tmp_path / "out" / "queries.parquet").select(columns).sort_by([(key, "ascending") for key in keys])
    assert own.to_pylist() == theirs.to_pylist()


def test_references_are_computed_once_for_all_trials(world, task, tmp_path, monkeypatch):
    asked = []
    evaluate = tested.evaluate
    monkeypatch.setattr(
        tested, "evaluate", lambda found, systems: asked.append([system.name for system in systems]) or evaluate(found, systems)
    )
    for seed in (5, 6):
        run_trial(with_task(world, task, seed=seed, evaluation__seed=3), Resources(), world.store, RunFolder(tmp_path / str(seed)))
    own, others = ["student", "mean-removed", "components-removed"], ["zero-shot", "zero-shot-mean-removed", "lexical", "bm25", "random"]
    assert asked == [own, others, own]


def test_a_trial_with_tasks_is_another_trial(world, task):
    assert with_task(world, task).trial_id != world.recipe.override({"training.max_steps": 2}).trial_id


@pytest.mark.parametrize(
    ("tasks", "twice"), [(["bitext"], "bitext"), (["tatoeba", "lareqa", "tatoeba"], "tatoeba")], ids=["held-out bitext", "two of a task"]
)
def test_two_sets_of_rows_need_two_names(tasks, twice):
    rows = [{"task": task, "path": "data"} for task in tasks]
    with pytest.raises(ConfigError, match=f"two sets of rows would be called {twice}; give one of them another `name`"):
        Recipe().override({"evaluation.tasks": rows})
    rows[-1]["name"] = "another"
    assert Recipe().override({"evaluation.tasks": rows}).evaluation.tasks[-1].label == "another"


def test_a_task_that_there_is_not_is_no_recipe():
    with pytest.raises(ConfigError, match=r"evaluation.tasks.0.task: .*'bitext', 'tatoeba', .* \(found 'tatuba'\)"):
        Recipe().override({"evaluation.tasks": [{"task": "tatuba", "path": "data"}]})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"path": "absent"}, DataError, "evaluation.tasks: toy reads absent, which is not there"),
        ({"systems": ["best"]}, ConfigError, "evaluation.tasks: no system 'best'; there are student"),
    ],
)
def test_a_task_that_cannot_be_asked_fails_the_trial_before_it_is_trained(world, task, tmp_path, changes, error, message):
    row = {"task": "parquet", "path": str(task), "name": "toy"} | changes
    recipe, run = world.recipe.override({"evaluation.tasks": [row]}), RunFolder(tmp_path / "run")
    with pytest.raises(error, match=message):
        run_trial(recipe, Resources(), world.store, run)
    status = run.trial(recipe.trial_id).read_status()
    assert (status.state, status.step) == ("failed", 0) and message in status.error
