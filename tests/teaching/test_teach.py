"""A teacher from data to verdict: judged both ways, resumed bit for bit, and then it teaches."""

import json
import logging
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from optical_ray.cli import main
from optical_ray.data.teacher_centre import identify_model
from optical_ray.encoders.config import TeacherConfig
from optical_ray.encoders.student_folder import load_student, read_description
from optical_ray.encoders.teacher import load_teacher, warn_below_floor
from optical_ray.errors import ArtifactError, ConfigError, NumericsError, ResourceError
from optical_ray.recipe import Resources
from optical_ray.retrieval.relevance import RelevanceTask, judge_scores
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import QUERIES
from optical_ray.teaching.teach import prepare_teacher, read_verdict, teach
from optical_ray.teaching.verdict import LEXICAL, TEACHER, ZERO_SHOT, judge, summarise
from optical_ray.trial import run_trial


@pytest.fixture(scope="module")
def store(world):
    return world.store


@pytest.fixture(scope="module")
def below(base, copied, store, tmp_path_factory):
    """A teacher that cannot beat the floor, as TF-IDF finds everything."""
    stages = prepare_teacher(base.override({"data.sources": [str(copied)], "training.max_steps": 0}), store)
    out = tmp_path_factory.mktemp("below") / "teacher"
    return out, teach(stages, Resources(), store, out)


def test_a_teacher_that_beats_tf_idf_is_above_the_floor(base, foreign, store, tmp_path):
    rates = {"training.learning_rate": 5e-3, "training.embedding_learning_rate": 2e-2, "training.projection_learning_rate": 5e-3}
    changes = rates | {"training.max_steps": 40, "batch.chunk": None, "batch.queries": 16, "batch.group": 16}
    changes |= {f"training.{what}_every": 40 for what in ("report", "validate", "checkpoint")}
    stages = prepare_teacher(base.override({"data.sources": [str(foreign)]} | changes), store)
    found = teach(stages, Resources(), store, tmp_path / "teacher")
    assert found["verdict"] == names.ABOVE_FLOOR, found["reason"]
    valid = found["splits"]["valid"]
    means = {system: values["nDCG@10"]["estimate"] for system, values in valid["systems"].items()}
    assert means["teacher"] > means["zero-shot"] + 0.2
    assert valid["differences"]["teacher - zero-shot"]["nDCG@10"]["low"] > 0
    rows = pq.read_table(tmp_path / "teacher" / "queries.parquet")
    assert rows.schema.equals(QUERIES)
    assert set(rows["system"].to_pylist()) == {"teacher", "zero-shot", "lexical"}
    assert len(rows) == 3 * valid["queries"]


def test_a_teacher_that_cannot_be_told_from_tf_idf_is_below_the_floor_and_that_is_said_when_it_teaches(below, caplog):
    out, found = below
    assert found["verdict"] == names.BELOW_FLOOR
    assert found["splits"]["valid"]["systems"]["lexical"]["Success@1"]["estimate"] == 1
    warn_below_floor.cache_clear()
    with caplog.at_level(logging.WARNING):
        warn_below_floor(str(out))
        warn_below_floor(str(out))
        warn_below_floor("OWNER/NAME")
    [message] = caplog.messages
    assert re.match(rf"{out}: this teacher is below_floor \(nDCG@10 .* over TF-IDF's 1.000 on", message)


def outcomes(queries, documents):
    """A teacher that finds everything where the others find nothing, for queries that ask for some documents in turn."""
    relevant_QC = np.arange(queries)[:, None] % documents == np.arange(documents + 1)
    task = RelevanceTask("valid", ("q",) * queries, np.arange(documents + 1), ("d",) * (documents + 1), relevant_QC)
    good, bad = (judge_scores(torch.from_numpy(sign * relevant_QC.astype(float)), relevant_QC) for sign in (1, -1))
    return task, {TEACHER: good, ZERO_SHOT: bad, LEXICAL: bad}


@pytest.mark.parametrize(("queries", "documents"), [(1, 1), (29, 29), (60, 1), (60, 29)])
def test_too_few_validation_queries_decide_nothing_and_give_no_p_value(queries, documents, tmp_path, caplog):
    found = summarise(*outcomes(queries, documents))
    verdict, reason = judge(found)
    assert verdict == names.UNDECIDED
    assert reason == f"{documents} validation queries ask for different documents, a verdict needs 30"
    assert not any("p_value" in values for means in found["differences"].values() for values in means.values())
    (tmp_path / "teacher.json").write_text(json.dumps({"verdict": verdict, "reason": reason}))
    warn_below_floor.cache_clear()
    with caplog.at_level(logging.WARNING):
        warn_below_floor(str(tmp_path))
    assert caplog.messages == [f"{tmp_path}: this teacher is undecided ({reason}); that it has something to teach was not shown"]


def test_thirty_validation_queries_decide():
    found = summarise(*outcomes(30, 30))
    assert judge(found)[0] == names.ABOVE_FLOOR
    assert found["differences"]["teacher - lexical"]["nDCG@10"]["p_value"] < 0.01


class Killed(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("stop_at", [1, 3, 6])
def test_a_teacher_that_was_killed_and_run_again_is_the_same_bit_for_bit(stop_at, base, foreign, store, tmp_path):
    recipe = base.override({"data.sources": [str(foreign)], "objective.kl": 0.0})
    stages = prepare_teacher(recipe, store)
    whole = teach(stages, Resources(), store, tmp_path / "whole")
    heard = []

    def stop(step, metrics):
        heard.append(step)
        if step == stop_at:
            raise Killed

    with pytest.raises(Killed):
        teach(stages, Resources(), store, tmp_path / "again", stop)
    assert not (tmp_path / "again").exists(), "whole or not at all"
    told = []
    resumed = teach(stages, Resources(), store, tmp_path / "again", lambda step, metrics: heard.append(step), progress=told.append)
    assert resumed == whole
    assert told[0].startswith("Continues from step-") == (stop_at >= 2)
    if stop_at > 2:
        assert heard.count(1) == 1, "it went on from a checkpoint"
    for file in ("model.safetensors", "1_Dense/model.safetensors", "teacher.json", "recipe.json"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    assert not (tmp_path / "again" / "training").exists()
    one, other = (identify_model(str(tmp_path / name), None) for name in ("whole", "again"))
    assert one == other, "a cache of its tokens serves both"
    before = (tmp_path / "whole" / "model.safetensors").stat().st_mtime_ns
    assert teach(stages, Resources(), store, tmp_path / "whole", stop) == whole, "a finished one is left as it is"
    assert (tmp_path / "whole" / "model.safetensors").stat().st_mtime_ns == before


def test_another_recipe_does_not_replace_a_teacher(below, base, copied, store):
    stages = prepare_teacher(base.override({"data.sources": [str(copied)], "training.max_steps": 0, "seed": 5}), store)
    with pytest.raises(ArtifactError, match=r"was built otherwise \(recipe.seed is 0, not 5\)"):
        teach(stages, Resources(), store, below[0])


def test_the_folder_teaches_in_a_distillation(below, world, tmp_path, caplog):
    out, _ = below
    teacher = load_teacher(str(out), TeacherConfig(path=str(out)))
    assert (teacher.dimension, teacher.form.prefix, teacher.form.max_tokens) == (16, "the ", 32)
    description = read_description(out)
    assert (description.query.prefix, description.query.max_tokens, description.dimension) == ("", 16, 16)
    recipe = world.recipe.override({"teacher.path": str(out), "training.max_steps": 2, "languages.size": 1})
    warn_below_floor.cache_clear()
    with caplog.at_level(logging.WARNING):
        status = run_trial(recipe, Resources(), world.store, RunFolder(tmp_path / "run"))
    assert status.state == "finished"
    assert sum("below_floor" in message for message in caplog.messages) == 1
    folder = RunFolder(tmp_path / "run").trial(recipe.trial_id)
    assert load_student(next(folder.checkpoint.glob("step-*"))).projection.out_features == 16


def test_a_teacher_without_a_projection_has_the_encoders_own_tokens_and_learns(base, copied, foreign, store, tmp_path):
    recipe = base.override({"data.sources": [str(copied)], "data.test_sources": [str(foreign)], "model.projection": "none"})
    stages = prepare_teacher(recipe.override({"training.max_steps": 2}), store)
    found = teach(stages, Resources(), store, tmp_path / "teacher")
    assert found["splits"].keys() == {"valid", "test"}
    model = load_student(tmp_path / "teacher")
    assert model.projection.weight.equal(model.projection.weight.new_zeros(32, 32).fill_diagonal_(1))
    untouched = teach(prepare_teacher(recipe.override({"training.max_steps": 0}), store), Resources(), store, tmp_path / "zero")
    systems = untouched["splits"]["valid"]["systems"]
    assert systems["teacher"] == systems["zero-shot"], "before any step it is what it was"


def test_given_scores_can_teach_alone(base, store, tmp_path):
    rows = [
        {"query": f"the teacher reads {n}", "documents": [f"her hat {n}", f"two letters {n}"], "scores": [n % 3, 1.5]} for n in range(60)
    ]
    source = tmp_path / "scored.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = base.override({"data.sources": [str(source)], "objective.contrastive": 0, "objective.kl": 1.0, "training.max_steps": 2})
    steps = []
    found = teach(prepare_teacher(recipe, store), Resources(), store, tmp_path / "out", lambda step, metrics: steps.append(metrics))
    assert found["verdict"] == names.UNDECIDED, "a quarter of 60 queries"
    assert names.LOSS_SCORE_KL in steps[-1]
    assert names.LOSS_CONTRASTIVE not in steps[-1]


def test_a_divergence_without_negatives_has_nothing_to_compare_and_is_refused(base):
    with pytest.raises(ConfigError, match=r"objective\.kl=1 compares a query's own documents, and batch\.negatives=0 leaves one of them"):
        base.override({"objective.contrastive": 0, "objective.kl": 1, "batch.negatives": 0})
    assert base.override({"batch.negatives": 0}).batch.negatives == 0


def test_a_projection_is_a_number_above_0_or_none(base):
    for wrong in (0, -3, "some", 1.5):
        with pytest.raises(ConfigError, match=rf"^model\.projection: expected a whole number above 0, or none \(found {wrong!r}\)$"):
            base.override({"model.projection": wrong})


def test_a_recipe_is_checked_against_where_it_runs(base):
    recipe = base.override({"data.sources": ["x.jsonl"]})
    recipe.check(Resources(workers=2))
    with pytest.raises(ResourceError, match="3 workers cannot share 2 groups of 4 queries evenly"):
        recipe.check(Resources(workers=3))
    with pytest.raises(ConfigError, match="batch.queries=10 is not a multiple of batch.group=4"):
        base.override({"batch.queries": 10})
    where = {"batch.chunk": 3, "training.micro_groups": 1, "data.on_bad_row": "skip"}
    assert base.override(where).fingerprint == base.fingerprint
    assert base.override({"batch.negatives": 3}).fingerprint != base.fingerprint


def test_a_loss_that_is_not_finite_ends_the_training_with_one_line(base, foreign, store, tmp_path):
    changes = {"training.learning_rate": 1e30, "training.projection_learning_rate": 1e30, "training.warmup_share": 0.0}
    stages = prepare_teacher(base.override({"data.sources": [str(foreign)], "training.validate_every": 100} | changes), store)
    with pytest.raises(NumericsError, match="last good checkpoint"):
        teach(stages, Resources(), store, tmp_path / "out")


# ---- the command


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: None)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        return stop.value.code

    return run


def test_the_command_trains_judges_and_says_how_to_go_on(base, copied, store, tmp_path, call, capsys):
    (tmp_path / "recipe.json").write_text(json.dumps(base.to_dict()))
    arguments = ["train-teacher", "recipe.json", "training.max_steps=2", "--data", copied, "--out", "mine", "--store", store.root]
    assert call(*arguments, "--threads", 1, "seed=3") == 0
    out = capsys.readouterr().out
    assert "step      2/2: loss" in out
    assert "TF-IDF floor" in out
    assert "BELOW THE FLOOR" in out
    assert "teacher.path=mine" in out
    assert read_verdict(tmp_path / "mine")["verdict"] == names.BELOW_FLOOR
    assert call(*arguments, "seed=3") == 0
    assert "mine: trained already" in capsys.readouterr().out
    assert call("recipe", "fields", "--teacher") == 0
    assert "objective.given_temperature = 1.0" in capsys.readouterr().out


def test_the_command_says_when_too_few_queries_were_asked(base, store, tmp_path, call, capsys):
    (tmp_path / "recipe.json").write_text(json.dumps(base.to_dict()))
    rows = [json.dumps({"query": f"question {n}", "positive": f"answer {n}"}) for n in range(20)]
    (tmp_path / "few.jsonl").write_text("\n".join(rows))
    command = ["train-teacher", "recipe.json", "training.max_steps=0", "--data", "few.jsonl", "--out", "mine", "--store", store.root]
    assert call(*command, "--threads", 1) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "UNDECIDED: whether this teacher beats TF-IDF of characters was not shown" in out
    assert "a verdict needs 30" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "data.sources is empty; name relevance data with --data PATH"),
        (["nowhere.json"], "nowhere.json: cannot be read"),
        (["recipe.json", "other.json"], "'other.json': a second recipe beside 'recipe.json'"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such file or folder"),
        (["--data", "bad.jsonl"], "bad.jsonl, line 1: no relevant text"),
        (["--data", "bad.jsonl", "--on-bad-row", "skip"], "bad.jsonl: no query with a relevant document"),
        (["--data", "one.jsonl", "data.valid_share=0.999"], "no training query is left"),
        (["--data", "one.jsonl", "data.valid_share=0"], "data.valid_share"),
        (["--data", "one.jsonl", "data.valid_share=0.001"], "none of 1 queries is held out for validation"),
        (["--data", "one.jsonl", "objective.contrastive=0"], "contrastive and kl are both 0"),
        (["--data", "one.jsonl", "objective.cl=1"], "RelevanceObjectiveConfig has no field 'cl'; it has contrastive, kl"),
        (["--data", "one.jsonl", "model.init=/nowhere"], "no such folder, and not a hub id"),
        (["--data", "one.jsonl", "model.projection=some"], "model.projection"),
        (["--data", "two.jsonl", "data.valid_share=0.5"], "teacher: reads at most 64 tokens, model.document_tokens is 180; lower it"),
        (["--data", "one.jsonl", 'data.test_sources=["one.jsonl"]'], "is in sources and in test_sources"),
        (["--data", "one.jsonl", "--workers", "3"], "3 workers cannot share"),
        (["--data", "one.jsonl", "--workers", "0"], "--workers 0: expected at least 1"),
        (["--data", "one.jsonl", "--device", "cuda"], "no CUDA device"),
    ],
)
def test_bad_input_is_one_clear_line(arguments, message, base, store, tmp_path, call, capsys, world):
    (tmp_path / "recipe.json").write_text(json.dumps(base.to_dict()))
    (tmp_path / "bad.jsonl").write_text('{"query": "q"}\n')
    (tmp_path / "one.jsonl").write_text('{"query": "q", "positive": "p"}\n')
    rows = [json.dumps({"query": f"question {n}", "positive": f"answer {n}"}) for n in range(20)]
    (tmp_path / "two.jsonl").write_text("\n".join(rows))
    init = [] if any(text.startswith("model.init") for text in arguments) else [f"model.init={world.teacher}"]
    assert call("train-teacher", *arguments, *init, "--out", "mine", "--store", store.root) == 2
    error = capsys.readouterr().err
    assert error.startswith("optical: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "mine").exists()
