"""Predictions: what may be predicted, how the rows judge it, what the report says of it."""

import shutil
from dataclasses import replace

import pytest

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.answer import answer
from optical_ray.analysis.load import load_run
from optical_ray.analysis.page import build_page
from optical_ray.analysis.predicted import judge
from optical_ray.errors import ConfigError
from optical_ray.recipe import Recipe
from optical_ray.retrieval.intervals import Interval, QueryBootstrap
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.predictions import Prediction
from optical_ray.sweep import Choice, GridPart, Sweep

PREDICTIONS = (
    Prediction("OT", "above", "lexical floor"),
    Prediction("OT", "above", "contrastive"),  # planted: below
    Prediction("OT + contrastive", "above", "contrastive"),  # planted: alike
    Prediction("OT + contrastive", "alike", "contrastive", within=0.1),
    Prediction("contrastive", "below", "fewer languages"),
    Prediction("greedy", "above", "OT"),  # not in the sweep
)


@pytest.fixture(scope="module")
def predicted(tmp_path_factory, sweep_writer):
    path = sweep_writer(tmp_path_factory.mktemp("predicted") / "run", searches=0)
    run = RunFolder(path)
    told = [one.to_dict() for one in PREDICTIONS] + [{"arm": "OT", "direction": "sideways", "than": "contrastive"}]
    run.write_sweep(run.read_sweep().model_copy(update={"predictions": told}))
    return analyse(load_run(path), QueryBootstrap(2000))


def test_planted_effects_meet_or_contradict_what_was_predicted(predicted):
    verdicts = [one.verdict for one in predicted.predictions]
    assert verdicts == ["met", "contradicted", "undecided", "met", "met", "not measured", "not measured"]
    assert "Of 7 predictions made beforehand: 3 met, 1 contradicted, 1 undecided and 2 not measured." in answer(predicted)


def test_the_page_shows_each_with_the_difference_that_judged_it(predicted):
    table = build_page(predicted, {}).tables["predictions"]
    assert [row[1].text for row in table.rows] == [one.verdict for one in predicted.predictions]
    assert table.rows[0][0].text == "OT is above the lexical floor on the languages in training"
    assert table.rows[0][2].plain.startswith("OT, k = 16 minus TF-IDF: +0.")
    assert table.rows[6][0].text == "OT sideways contrastive"


def test_while_the_grid_is_not_whole_nothing_is_judged(predicted, tmp_path):
    shutil.copytree(predicted.run.path, tmp_path / "run")
    trial = next(trial for trial in predicted.run.trials if (trial.arm, trial.k) == ("OT", 16))
    folder = RunFolder(tmp_path / "run").trial(trial.trial_id)
    status = folder.read_status()
    folder.write_status(status.model_copy(update={"state": "running"}))
    begun = analyse(load_run(tmp_path / "run"), QueryBootstrap(200))
    assert {one.verdict for one in begun.predictions[:6]} == {"open"}
    folder.write_status(status.model_copy(update={"state": "failed"}))
    failed = analyse(load_run(tmp_path / "run"), QueryBootstrap(200))
    # k = 4 does not stand in for the largest k that was planned.
    assert [one.verdict for one in failed.predictions] == ["not measured"] * 2 + ["undecided", "met", "met", *["not measured"] * 2]


def test_a_run_without_predictions_says_nothing_of_any(planted_analysis):
    assert planted_analysis.predictions == () and "predictions" not in build_page(planted_analysis, {}).tables
    assert not [sentence for sentence in answer(planted_analysis) if "prediction" in sentence]


@pytest.mark.parametrize(
    ("low", "high", "direction", "verdict"),
    [
        (-0.01, 0.015, "not shown", "met"),
        (0.001, 0.015, "above", "met"),  # a difference, too small to matter
        (-0.05, 0.05, "not shown", "undecided"),
        (0.03, 0.05, "above", "contradicted"),
        (0.03, 0.05, "not shown", "undecided"),  # Holm's correction does not agree
    ],
)
def test_alike_needs_an_interval_within_the_margin(predicted, low, high, direction, verdict):
    row = replace(predicted.predictions[0].rows[0], difference=Interval((low + high) / 2, low, high), direction=direction)
    assert judge(Prediction("OT", "alike", "greedy"), [row]) == verdict


def test_one_setting_that_contradicts_is_enough_and_all_must_meet(predicted):
    above = predicted.predictions[0].rows[0]
    below, open_ = replace(above, direction="below"), replace(above, direction="not shown")
    wanted = Prediction("OT", "above", "lexical floor")
    assert [judge(wanted, rows) for rows in ([above, above], [above, open_], [above, below], [])] == [
        "met", "undecided", "contradicted", "not measured",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"direction": "better"}, "expected above or below or alike"),
        ({"languages": "all"}, "expected in training or unseen"),
        ({"than": "OT"}, "against itself"),
        ({"than": "fewer languages", "languages": "unseen"}, "leave languages out"),
        ({"direction": "alike", "within": 0}, "between 0 and 1"),
        ({"direction": "alike", "within": "2 points"}, "within='2 points'; expected a difference"),
        ({"direction": "alike", "within": None}, "within=None; expected a difference"),
        ({"than": None}, "expected the names of two arms"),
    ],
)
def test_what_cannot_be_judged_is_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        Prediction(**({"arm": "OT", "direction": "above", "than": "lexical floor"} | fields))


def test_a_sweep_takes_predictions_about_its_own_arms_and_writes_them_down():
    arms = (Choice("OT", {}), Choice("contrastive", {"objective.transport": 0.0, "objective.contrastive": 1.0}))
    given = {"name": "s", "question": "?", "expectation": "!", "base": Recipe(), "parts": (GridPart("arms", {"arm": arms}),)}
    sweep = Sweep(**given, predictions=(Prediction("OT", "below", "contrastive"),))
    assert sweep.fingerprint == Sweep(**given).fingerprint
    with pytest.raises(ConfigError, match="names 'greedy'; the grid's trials have arms OT, contrastive"):
        Sweep(**given, predictions=(Prediction("OT", "below", "greedy"),))
    with pytest.raises(ConfigError, match=r"expected predictions=\(Prediction"):
        Sweep(**given, predictions=("OT is best",))
