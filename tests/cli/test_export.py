"""A finished trial's student leaves as a folder that others read, with a card that says what it is; nothing else leaves."""

import json
import re
import shutil

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from optical_ray.artifacts import write_json
from optical_ray.cli import main
from optical_ray.cli.model_card import hide_path, render_card
from optical_ray.cli.record import record
from optical_ray.encoders.known_languages import pretraining_languages
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.student_folder import load_student, read_description
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.recipe import Recipe, Resources
from optical_ray.retrieval.encoding import encode_texts
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import GridPart, Sweep
from optical_ray.training.checkpoint import latest_checkpoint
from optical_ray.trial import run_trial

TEXTS = ["habari ya asubuhi", "red book", "x"]


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def finish(world, path, **changes):
    recipe = world.recipe.override({"training.max_steps": 4, "languages.size": 2} | {k.replace("__", "."): v for k, v in changes.items()})
    run = RunFolder(path)
    run.write_sweep(record(Sweep("tiny", "Does it run?", "It does.", recipe, (GridPart("single"),))))
    run_trial(recipe, Resources(), world.store, run)
    return run, run.trial(recipe.trial_id)


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    return finish(world, tmp_path_factory.mktemp("finished"))


def vectors(folder, form):
    table = tokenize(load_tokenizer(str(folder)), TEXTS, form.max_tokens, form.prefix)
    return encode_texts(load_student(folder), table).vectors_TD


def test_an_exported_student_gives_the_token_vectors_of_its_trial(finished, tmp_path, capsys):
    _, trial = finished
    assert call("export", trial.path, "--out", tmp_path / "model") == 0
    assert "Model: " in capsys.readouterr().out
    form = read_description(tmp_path / "model").query
    assert torch.equal(vectors(tmp_path / "model", form), vectors(latest_checkpoint(trial.checkpoint), form))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]  # no scratch stays
    left = {path.name for path in (tmp_path / "model").iterdir()}
    assert {"README.md", "modules.json", "1_Dense", "config_sentence_transformers.json", "student.json"} <= left
    assert not {"optimizer.pt", "position.json"} & left


def test_pylates_keys_stand_there_every_one(finished, tmp_path):
    _, trial = finished
    call("export", trial.path, "--out", tmp_path / "model")
    texts = json.loads((tmp_path / "model" / "config_sentence_transformers.json").read_text())
    expected = {"query_prefix": "", "document_prefix": "", "query_length": 64, "document_length": 64, "do_query_expansion": False}
    expected |= {"attend_to_expansion_tokens": False, "skiplist_words": ["[CLS]", "[SEP]"], "similarity_fn_name": "MaxSim"}
    assert {name: texts[name] for name in expected} == expected


def test_vectors_are_those_that_were_scored_where_the_evaluation_centres(world, tmp_path):
    _, trial = finish(world, tmp_path / "run", evaluation__centre="teacher-mean", student__projection_bias=False)
    call("export", trial.path, "--out", tmp_path / "model")
    checkpoint = latest_checkpoint(trial.checkpoint)
    form = read_description(checkpoint).query
    centre_D = load_student(checkpoint).centre_D
    assert centre_D.norm() > 0.1
    torch.testing.assert_close(vectors(tmp_path / "model", form), vectors(checkpoint, form) - centre_D, atol=1e-5, rtol=1e-5)
    assert read_description(tmp_path / "model").centred and not read_description(checkpoint).centred
    assert "subtract it from the teacher's document vectors too" in " ".join((tmp_path / "model" / "README.md").read_text().split())


def test_the_card_holds_languages_data_floors_and_what_to_run(finished, world, tmp_path):
    run, trial = finished
    call("export", run.path, "--out", tmp_path / "model")  # one trial: the run is enough
    card = (tmp_path / "model" / "README.md").read_text()
    plan = json.loads(trial.plan.read_text())
    for tag in plan["languages"]:
        assert re.search(rf"\| [^|]* \({tag}\) \|.*\| {plan['rows'][tag]} \|", card)
    assert "| bitext | not stated |" in card
    rows = pq.read_table(trial.queries, partitioning=None)
    for system, scorer in (("student", "maxsim"), ("mean-removed", "pooled"), ("lexical", "tfidf")):
        chosen = rows.filter(pc.and_(pc.equal(rows["system"], system), pc.equal(rows["scorer"], scorer))).to_pandas()
        chosen = chosen[chosen["query_language"].isin(plan["languages"])]
        expected = np.mean([(group["rank"] == 1).mean() for _, group in chosen.groupby("query_language")])
        assert re.search(rf"\| bitext \| {system} \| {scorer} \| trained \(2\) \| {expected:.3f} \[", card)
    assert "not trained (2)" in card
    assert f"Trial `{trial.trial_id}` of `tiny`" in card and "optical train recipe.json --workers 1" in card
    assert "models.ColBERT(" in card and "MultiVectorEncoder(" in card
    recipe = json.loads(card.split("```json")[1].split("```")[0])
    assert recipe["teacher"]["path"] == "teacher" and recipe["corpus"]["sources"] == ["bitext"]
    for path in (tmp_path / "model").rglob("*.*"):
        if path.suffix in (".json", ".md"):
            assert str(world.teacher.parent) not in path.read_text() and str(run.path) not in path.read_text()


def test_verdicts_are_on_the_card(finished, tmp_path):
    run, trial = finished
    shutil.copytree(run.path, tmp_path / "run")
    copy = RunFolder(tmp_path / "run").trial(trial.trial_id)
    copy.write_status(copy.read_status().model_copy(update={"verdicts": ["collapsed"]}))
    call("export", copy.path, "--out", tmp_path / "model")
    assert "**collapsed**: the tokens of one sentence" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"state": "failed", "error": "loss is NaN"}, "failed at step 4 of 4: loss is NaN; only a finished one is exported: run it again"),
        ({"state": "running"}, "is running at step 4 of 4; only a finished one is exported: wait for it"),
    ],
)
def test_a_trial_that_has_not_finished_is_refused(state, message, finished, tmp_path, capsys):
    run, trial = finished
    shutil.copytree(run.path, tmp_path / "run")
    copy = RunFolder(tmp_path / "run").trial(trial.trial_id)
    copy.write_status(copy.read_status().model_copy(update=state))
    assert call("export", copy.path, "--out", tmp_path / "model") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


def test_a_folder_that_is_there_is_kept_without_force_and_one_of_others_always(finished, tmp_path, capsys):
    _, trial = finished
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    assert call("export", trial.path, "--out", tmp_path / "mine", "--force") == 2
    assert "is there and is no exported model; choose another --out" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"
    assert call("export", trial.path, "--out", tmp_path / "model") == 0
    (tmp_path / "model" / "README.md").write_text("old")
    assert call("export", trial.path, "--out", tmp_path / "model") == 2
    assert "is there already; choose another --out, or replace it with --force" in capsys.readouterr().err
    assert (tmp_path / "model" / "README.md").read_text() == "old"
    assert call("export", trial.path, "--out", tmp_path / "model", "--force") == 0
    assert (tmp_path / "model" / "README.md").read_text() != "old"


def test_an_export_that_breaks_off_leaves_what_was_there(finished, tmp_path, monkeypatch):
    _, trial = finished
    call("export", trial.path, "--out", tmp_path / "model")

    def fail(*arguments):
        raise RuntimeError("interrupted")

    monkeypatch.setattr("optical_ray.cli.export.render_card", fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        main(["export", str(trial.path), "--out", str(tmp_path / "model"), "--force"])
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    load_student(tmp_path / "model")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda run: "/nowhere", "/nowhere: no such folder"),
        (lambda run: run.path / "trials" / "0123", "no such folder"),
        (lambda run: run.path, "has 2 trials"),
    ],
)
def test_a_path_that_names_no_trial_or_several_is_refused(make, message, finished, tmp_path, capsys):
    run, trial = finished
    shutil.copytree(run.path, tmp_path / "run")
    copy = RunFolder(tmp_path / "run")
    shutil.copytree(copy.trial(trial.trial_id).path, copy.path / "trials" / "second")
    assert call("export", make(copy), "--out", tmp_path / "model") == 2
    assert message in capsys.readouterr().err


def test_paths_of_this_machine_are_cut_to_their_names_and_all_else_stays():
    assert hide_path("/home/me/bitext.tsv,lang=sw") == "bitext.tsv,lang=sw"
    assert hide_path("~/models/teacher") == "teacher"
    assert hide_path("file:/data/x") == "x"
    for text in ("catalogs", "hf:owner/name,lang=sw", "s3://bucket/bitext", "intfloat/multilingual-e5-small", "teacher-mean"):
        assert hide_path(text) == text


def test_the_card_names_what_the_student_saw_before(world, tmp_path):
    student = {"student__init": str(world.teacher), "student__pretraining_languages": ["swa", "fra"]}
    _, trial = finish(world, tmp_path / "run", **student, training__max_steps=1)
    call("export", trial.path, "--out", tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "had seen 2 languages in pre-training, by the list (student.pretraining_languages): fr sw. Of those above: sw.\n" in card
    assert "base_model" not in card


def test_a_card_names_the_checkpoint_whose_list_it_is_so_that_the_next_student_knows(finished, tmp_path):
    run, trial = finished
    assert "trained from scratch" in render_card(run, trial, Recipe.read(trial.recipe), "m")
    shutil.copytree(trial.path, tmp_path / "run" / "trials" / trial.trial_id)
    shutil.copy(run.path / "sweep.json", tmp_path / "run")
    moved = RunFolder(tmp_path / "run")
    recipe = Recipe.read(trial.recipe).override({"student.init": "xlm-roberta-base"})
    plan = json.loads(trial.plan.read_text())
    write_json(moved.trial(trial.trial_id).plan, plan | {"pretraining_languages": pretraining_languages("xlm-roberta-base").describe(())})
    card = render_card(moved, moved.trial(trial.trial_id), recipe, "m")
    assert "\nbase_model: FacebookAI/xlm-roberta-base\n" in card
    (tmp_path / "README.md").write_text(card)
    (tmp_path / "config.json").write_text('{"vocab_size": 250002}')
    assert pretraining_languages(str(tmp_path)) == pretraining_languages("xlm-roberta-base")
