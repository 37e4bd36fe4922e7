"""optical pretrain as a user meets it."""

import json
import logging

import pytest

from optical_ray.cli import main

FEW = ["pretraining.training.max_steps=6", "pretraining.training.report_every=3", "pretraining.languages.size=2"]
FEW += ["pretraining.valid_rows=20", "pretraining.batch.pairs=16", "pretraining.batch.group=8", "--threads", 1]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: None)  # the handlers belong to pytest here


@pytest.fixture
def recipe_file(world, tmp_path):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(world.recipe.to_dict()))
    return path


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_it_pretrains_shows_each_language_and_says_how_to_use_the_encoder(world, recipe_file, tmp_path, capsys):
    assert call("pretrain", recipe_file, *FEW, "--store", world.store.root, "--out", tmp_path / "encoder") == 0
    out = capsys.readouterr().out
    assert "Masked-LM on 2 of 4 languages, 6 steps of 16 texts" in out
    assert "step      0/6: validation" in out
    assert "step      6/6: loss" in out
    assert "0 of 2 languages in it are below their unigram entropy" in out
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│")}
    assert set(rows) == {"sw", "ha", "yo", "so"}
    assert "yes" in rows["ha"]
    assert "yes" not in rows["yo"]
    assert f"student.init={tmp_path / 'encoder'}" in out.replace("\n", "")
    used = ["student.init=encoder", "training.max_steps=2", "--threads", 1, "--store", world.store.root]
    assert call("train", recipe_file, *used) == 0, "any recipe can start from the copy"
    capsys.readouterr()
    assert call("pretrain", recipe_file, *FEW, "--store", world.store.root) == 0
    assert "Masked-LM on" not in capsys.readouterr().out, "it is there already"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pretraining.training.max_steps=0", "pretraining.training.max_steps=0: this recipe has no pre-training; set it"),
        ('pretraining.languages.pool=["sw","xx"]', "pretraining.languages: 'xx' is no language code"),
        ('pretraining.languages.pool=["sw","fr"]', "pretraining.languages.pool: fr not in the corpus, which has ha, so, sw, yo"),
        ("pretraining.corpus=nowhere", "nowhere: no manifest.json"),
        ("pretraining.languages.size=7", "pretraining.languages.size: 7 languages asked for, the pool holds 4"),
    ],
)
def test_what_is_wrong_is_one_line(world, recipe_file, capsys, change, message):
    assert call("pretrain", recipe_file, *FEW, change, "--store", world.store.root) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
