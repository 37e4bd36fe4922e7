"""A sweep over pre-training languages: k counts those, its sentences and figures say so, and no pre-training stands beside it."""

import shutil

import pytest

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.answer import answer
from optical_ray.analysis.compare import MORE_LANGUAGES, PRETRAINED, name_cell
from optical_ray.analysis.design import Cell, title_trial, varying_fields
from optical_ray.analysis.figures import _line_of, draw_k
from optical_ray.analysis.load import BITEXT, PRETRAINING, load_run
from optical_ray.retrieval.intervals import QueryBootstrap
from optical_ray.runs.folder import RunFolder

QUALITY = {0: 0.5, 1: 0.6, 4: 0.8}
"""By the number of pre-training languages: planted."""


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, sweep_writer, trial_writer, make_recipe):
    path = sweep_writer(tmp_path_factory.mktemp("axis") / "run", sizes=(2,), arms=("OT",), searches=0, languages=("fr", "sw", "hi"))
    run = RunFolder(path)
    for trial in run.trials():
        trial.recipe.unlink()
    ids = []
    for size, quality in QUALITY.items():
        for arm in ("OT", "contrastive"):
            values = make_recipe(arm, 2, languages=("fr", "sw", "hi"))
            values["pretraining"] = {
                "languages": {"pool": ["fr", "sw", "hi", "ar"], "size": size or None},
                "training": {"max_steps": 100 if size else 0},
            }

            def of_size(arm, k, language, trained, system, quality=quality):
                return 0.1 if system == "lexical" else quality

            ids.append(trial_writer(run, values, of_size, languages=("fr", "sw", "hi")))
    record = run.read_sweep()
    part = {"kind": "grid", "name": "arms", "axes": {}, "changes": {}, "num_trials": len(ids), "trial_ids": ids}
    run.write_sweep(record.model_copy(update={"parts": [part]}))
    return analyse(load_run(path), QueryBootstrap(1000))


def test_k_counts_what_the_sweep_varies(pretrained, planted_run):
    assert pretrained.axis == PRETRAINING
    assert [(cell.arm, cell.k) for cell in pretrained.cells] == [(arm, k) for arm in ("OT", "contrastive") for k in QUALITY]
    assert {trial.bitext_size for trial in pretrained.run.trials} == {2}
    assert "pretraining.languages.size" not in varying_fields(pretrained.run.trials)
    assert {title_trial(trial) for trial in pretrained.run.trials if trial.arm == "OT"} == {"OT, no pre-training", "OT, k = 1", "OT, k = 4"}
    bitext = load_run(planted_run)
    assert {trial.axis for trial in bitext.trials} == {BITEXT} and {trial.k for trial in bitext.trials} == {None, 1, 4, 16}


def test_more_languages_and_no_pretraining_are_two_questions(pretrained):
    asked = {(row.kind, row.first, row.second) for row in pretrained.comparisons if row.kind in (MORE_LANGUAGES, PRETRAINED)}
    assert asked == {
        (kind, f"{arm}, k = 4", f"{arm}, {base}")
        for arm in ("OT", "contrastive")
        for kind, base in ((MORE_LANGUAGES, "k = 1"), (PRETRAINED, "no pre-training"))
    }
    sentences = answer(pretrained)
    assert any(sentence.startswith("With 4 pre-training languages, in mean Success@1") for sentence in sentences)
    assert any(
        sentence.startswith("From 1 to 4 pre-training languages at equal steps, Success@1 on fr and sw rose by") for sentence in sentences
    )
    (beside,) = [sentence for sentence in sentences if sentence.startswith("Pre-training on 4 languages raised mean Success@1 by")]
    assert beside.endswith("for contrastive, beside the same distillation without it.")


def test_the_figure_has_a_place_for_no_pretraining_and_no_panel_twice(pretrained):
    panels = draw_k(pretrained)
    assert [panel.name for panel in panels] == ["k-smallest", "k-unseen"]  # every k distils the same languages
    assert "OT: 0.520 (no pre-training)" in panels[0].alt


def test_an_unreadable_recipe_is_no_reason_to_count_something_else(planted_run, tmp_path):
    shutil.copytree(planted_run, tmp_path / "run")
    next(RunFolder(tmp_path / "run").trials()).recipe.write_text("{broken")
    assert {trial.axis for trial in load_run(tmp_path / "run").trials} == {BITEXT}


def test_while_only_trials_without_pretraining_have_finished_nothing_is_compared_with_itself(pretrained, tmp_path):
    shutil.copytree(pretrained.run.path, tmp_path / "run")
    for trial in pretrained.run.trials:
        if trial.k:
            folder = RunFolder(tmp_path / "run").trial(trial.trial_id)
            folder.write_status(folder.read_status().model_copy(update={"state": "running"}))
    begun = analyse(load_run(tmp_path / "run"), QueryBootstrap(200))
    assert not [row for row in begun.comparisons if row.kind == PRETRAINED]
    assert any(sentence.startswith("Without pre-training, in mean Success@1") for sentence in answer(begun))


def test_no_pretraining_is_found_by_the_settings_that_it_has():
    def cell(k, **extras):
        return Cell("OT", tuple(extras.items()), k, ())

    settings = {"training.learning_rate": 0.1, "pretraining.mixing.budget": "total"}
    assert name_cell(cell(0, **settings)) == "OT, learning_rate 0.1, no pre-training"
    assert cell(4, **{"training.learning_rate": 0.1, "pretraining.mixing.budget": "total"}).fixed == (("training.learning_rate", 0.1),)


def test_no_pretraining_and_every_k_have_lines_of_their_own():
    assert len({_line_of(k, [0, 1, 4, 16]) for k in (0, 1, 4, 16)}) == 4
