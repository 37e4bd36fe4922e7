"""What is claimed: planted effects are covered and named, absent ones are not claimed, and what is missing is said."""

import json
import re
import shutil

import pytest

from optical_ray.analysis.answer import answer, caveats
from optical_ray.analysis.compare import AGAINST_FLOOR, AGAINST_UNTRAINED, MORE_LANGUAGES, OWN_SHARE, SEARCH
from optical_ray.runs.folder import RunFolder


def differences(analysis, kind):
    return {row.first: row for row in analysis.comparisons if row.kind == kind and row.measure == "Success@1"}


def test_planted_differences_from_the_floor_are_covered(planted_analysis, qualities):
    rows = differences(planted_analysis, AGAINST_FLOOR)
    assert set(rows) == {"OT, k = 16", "OT + contrastive, k = 16", "contrastive, k = 16"}
    for row in rows.values():
        truths = [
            qualities["planted"](row.arm, 16, name, True, "student") - qualities["planted"](row.arm, 16, name, True, "lexical")
            for name in row.languages
        ]
        slack = 0.01  # the 2,400 queries' own difficulty is one draw: two more standard errors at most
        assert row.difference.low - slack <= sum(truths) / len(truths) <= row.difference.high + slack
        assert len(row.languages) == 16 and row.num_queries == 2400 and row.unmatched == 0


def test_planted_effects_are_named_with_their_direction(planted_analysis):
    text = " ".join(answer(planted_analysis))
    assert re.search(r"With 16 bitext languages, .* OT is above the TF-IDF floor \(0\.1\d\d\) by 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", text)
    assert "every arm is above the untrained student" in text
    assert re.search(r"From 1 to 16 bitext languages at equal text per language and equal steps, Success@1 on fr fell by", text)
    assert "No share of OT beside the contrastive loss could be shown: " in text
    assert " below " not in text and "rose" not in text


def test_ots_share_is_the_mixed_arm_minus_the_contrastive_arm(planted_analysis):
    rows = differences(planted_analysis, OWN_SHARE)
    assert [(row.first, row.second) for row in rows.values()] == [
        (f"OT + contrastive, k = {k}", f"contrastive, k = {k}") for k in (1, 4, 16)
    ]
    assert all(row.difference.low <= 0.0 <= row.difference.high for row in rows.values())


def test_more_languages_are_compared_on_the_smallest_set_only(planted_analysis):
    assert all(row.languages == ("fr",) for row in differences(planted_analysis, MORE_LANGUAGES).values())


def test_without_an_effect_the_answer_says_that_none_could_be_shown(tmp_path, sweep_writer, qualities, quick_analysis):
    analysis = quick_analysis(sweep_writer(tmp_path / "run", qualities["none"], sizes=(4, 16), searches=2, queries=150))
    text = " ".join(answer(analysis))
    assert re.search(
        r"no difference from the TF-IDF floor \(0\.\d+\) could be shown for OT \(.*\), OT \+ contrastive .* and contrastive", text
    )
    assert "no difference from the untrained student" in text
    assert "no change of Success@1 on ar, fr, hi and sw could be shown for" in text
    assert "No share of OT" in text
    assert " above " not in text and " below " not in text and " fell " not in text and " rose " not in text


def test_a_system_below_the_floor_is_said_to_be_below_it(tmp_path, sweep_writer, quick_analysis):
    def worse(arm, k, language, trained, system):
        return 0.6 if system == "lexical" else 0.2

    text = " ".join(answer(quick_analysis(sweep_writer(tmp_path / "run", worse, sizes=(4,), arms=("OT",), searches=0, queries=60))))
    assert re.search(r"OT is below the TF-IDF floor \(0\.\d+\) by 0\.\d+ \[0\.", text)
    assert "-0." not in text.split("; ")[0]  # the direction is in the words, so the size carries no sign


def test_the_searchs_choice_is_the_best_on_valid_and_is_compared_once_with_the_grid(planted_analysis):
    search = next(part for part in planted_analysis.parts if part.kind == "search")
    best = max(search.trials, key=lambda trial: trial.status.objective)
    rows = [row for row in planted_analysis.comparisons if row.kind == SEARCH and row.measure == "Success@1"]
    assert [row.second for row in rows] == ["TF-IDF", "OT + contrastive, k = 16, the grid's setting"]
    assert all(best.trial_id in row.first for row in rows)


def test_a_search_alone_says_what_it_chose_and_what_was_stopped_early(tmp_path, sweep_writer, quick_analysis):
    run = RunFolder(sweep_writer(tmp_path / "run", sizes=(16,), arms=(), searches=6, queries=60))
    sweep = run.path / "sweep.json"
    record = json.loads(sweep.read_text())
    searched = [trial for trial in run.trials() if trial.read_status().max_steps]
    for trial in run.trials():
        if trial.trial_id not in {one.trial_id for one in searched}:
            shutil.rmtree(trial.path)
    sweep.write_text(json.dumps(record | {"parts": [part for part in record["parts"] if part["kind"] == "search"]}))
    best = max(searched, key=lambda trial: trial.read_status().objective)
    for trial in [trial for trial in searched if trial is not best][:2]:
        trial.write_status(trial.read_status().override({"state": "pruned", "step": 100}))
        trial.queries.unlink()
    analysis = quick_analysis(run.path)
    (text,) = answer(analysis)
    epsilon = json.loads(best.recipe.read_text())["transport"]["epsilon"]
    assert text.startswith(f"Of 6 searched settings validation chose epsilon {epsilon:.3g}, tau ")
    assert re.search(
        rf"\({best.trial_id}\); on test its mean Success@1 over all 16 evaluation languages is 0\.\d+ \[0\.\d+, 0\.\d+\]: ", text
    )
    assert re.search(r": above the TF-IDF floor \(0\.1\d\d\) by 0\.\d+ \[0\.\d+, 0\.\d+\]", text)
    notes = caveats(analysis)
    assert notes[0] == "2 of 6 trials were stopped early by the scheduler, on validation alone: they have curves and no test scores."
    assert not any("no result" in note for note in notes)
    assert any(note.startswith("Every searched setting was trained once") for note in notes)


def test_a_running_sweep_answers_so_far_and_says_what_is_missing(tmp_path, sweep_writer, quick_analysis):
    analysis = quick_analysis(sweep_writer(tmp_path / "run", begun=5, queries=40))
    assert answer(analysis)[0] == "So far (4 of 14 trials finished):"
    notes = " ".join(caveats(analysis))
    assert "10 of 14 trials have no result: 9 pending and 1 running." in notes
    assert "its last sign of life is 2026-01-01T11:00:00+00:00" in notes
    assert "No untrained control has finished." in notes
    assert differences(analysis, AGAINST_UNTRAINED) == {}


@pytest.mark.parametrize("begun", [0, 1])
def test_without_a_finished_trial_nothing_is_claimed(tmp_path, sweep_writer, quick_analysis, begun):
    analysis = quick_analysis(sweep_writer(tmp_path / "run", begun=begun, queries=5))
    assert answer(analysis) == ["Nothing can be said so far: no trial has finished yet (0 of 14 finished)."]
    assert "14 of 14 trials have no result" in caveats(analysis)[0]


def test_failures_verdicts_and_the_single_seed_are_said(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(
        tmp_path / "run",
        queries=40,
        searches=0,
        failed=("contrastive", 16),
        verdicts={("OT", 4): ["collapsed"], ("OT", 1): ["plan_uniform"]},
    )
    analysis = quick_analysis(path)
    notes = " ".join(caveats(analysis))
    assert re.search(r"Trial \w{12} \(contrastive, k = 16\) failed: NumericsError: transport: NaN", notes)
    assert re.search(r"\(OT, k = 4\) is collapsed: the tokens of one sentence point the same way", notes)
    assert re.search(r"\(OT, k = 1\) is plan uniform: epsilon is too large", notes)
    assert "One training seed per setting" in notes
    assert "contrastive has no finished trial at the largest k" in notes
    assert "Of this sweep (9 of 10 trials finished):" in answer(analysis)


def test_several_seeds_are_averaged_and_their_number_is_said(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(tmp_path / "run", sizes=(1, 4), arms=("OT",), seeds=(0, 1), searches=0, queries=30)
    analysis = quick_analysis(path)
    assert "2 training seeds per setting are averaged" in " ".join(caveats(analysis))
    assert {point.num_trials for point in analysis.curves if point.series == "OT"} == {2}


def test_language_sets_that_share_no_language_give_no_curve_over_k(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(tmp_path / "run", sizes=(1, 2), arms=("OT",), searches=0, queries=20, languages=("fr", "sw", "hi"))
    for trial in RunFolder(path).trials():
        plan = json.loads(trial.plan.read_text(encoding="utf-8"))
        if plan["languages"] == ["fr"]:
            trial.plan.write_text(json.dumps(plan | {"languages": ["hi"]}), encoding="utf-8")
    analysis = quick_analysis(path)
    assert "The language sets share no evaluated language" in " ".join(caveats(analysis))
    assert differences(analysis, MORE_LANGUAGES) == {}


def test_a_checkout_with_changes_is_said(tmp_path, sweep_writer, quick_analysis):
    path = sweep_writer(tmp_path / "run", sizes=(1,), arms=("OT",), searches=0, queries=5)
    values = json.loads((path / "sweep.json").read_text(encoding="utf-8"))
    values["provenance"]["git"]["dirty"] = True
    (path / "sweep.json").write_text(json.dumps(values), encoding="utf-8")
    assert "changes that were not committed" in " ".join(caveats(quick_analysis(path)))
