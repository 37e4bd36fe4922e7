"""optical compare as a user meets it."""

import csv
import logging

import pytest
from analysis.evaluations import random_ranks, rows, write_evaluation

from optical_ray.cli import main


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: None)  # the handlers belong to pytest here


def call(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(["compare", *(str(argument) for argument in arguments)])
    return stop.value.code


@pytest.fixture
def two(tmp_path):
    return [
        write_evaluation(
            tmp_path / name, *[rows(random_ranks(seed + 10 * number, hit=hit), query_language=tag) for seed, tag in enumerate(("ha", "sw"))]
        )
        for number, (name, hit) in enumerate((("good", 0.9), ("poor", 0.3)))
    ]


def test_the_table_shows_languages_their_mean_and_the_tests(two, capsys):
    assert call(*two, "--resamples", 1000) == 0
    out = capsys.readouterr().out
    assert "tatoeba, Success@1: A = good (maxsim), B = poor (maxsim)" in out
    lines = {line.split("  ")[0].strip(): line for line in out.splitlines()}
    assert set(lines) >= {"language", "ha", "sw", "mean (2)"}
    assert lines["mean (2)"].rstrip().endswith(".002    <.001  *")  # the least that 1,000 resamples can say: 2 and 1 in 1,001
    assert max(map(len, out.splitlines()[:6])) <= 120
    assert "after Holm's correction over 1 mean and, apart, over 2 languages" in " ".join(out.split())


def test_other_measures_are_shown_when_they_are_asked_for(two, capsys):
    assert call(*two, "--resamples", 200, "--measure", "nDCG@10", "--measure", "MRR@10", "--task", "tatoeba") == 0
    out = capsys.readouterr().out
    assert "tatoeba, nDCG@10" in out and "tatoeba, RR@10" in out and "tatoeba, Success@1" not in out


def test_the_csv_holds_every_measure_and_raw_and_corrected_p(two, tmp_path, capsys):
    assert call(*two, "--resamples", 200, "--out", tmp_path / "new" / "table.csv") == 0
    with (tmp_path / "new" / "table.csv").open(encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    assert {row["measure"] for row in found} == {"Success@1", "RR@10", "RR@20", "AP", "AP@20", "nDCG@10", "R@100"}
    assert len(found) == 7 * 3
    assert {row["over"] for row in found} == {"queries"}
    for row in found:
        assert float(row["difference"]) == pytest.approx(float(row["first_mean"]) - float(row["second_mean"]), abs=1e-6)
        assert float(row["p_bootstrap_holm"]) >= float(row["p_bootstrap"])
        assert row["language"] in {"ha", "sw", "mean (2)"} and row["languages"] in {"ha", "sw", "ha sw"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good", "nowhere"], "nowhere: no such folder; expected PATH, PATH:SYSTEM or PATH:SYSTEM:SCORER"),
        (["good", "."], "holds neither evaluation.json"),
        (["good"], "one system (good) has nothing to be compared with"),
        (["good", "poor", "--measure", "accuracy"], "measure 'accuracy': not stored and not derived"),
        (["good", "poor", "--task", "lareqa"], "good: no row of task lareqa; it has tatoeba"),
        (["good", "poor:bm25"], "poor:bm25: no system 'bm25'; it has student"),
        (["good", "poor", "--split", "valid"], "split 'valid' is not in all of them"),
        (["good", "poor", "--resamples", "7"], "--resamples 7: expected at least 100"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_status_2(two, capsys, arguments, message):
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("optical: ") and error.count("\n") == 1


def test_different_queries_are_one_line_that_says_what_to_do(two, tmp_path, capsys):
    write_evaluation(tmp_path / "less", rows(random_ranks(3, count=40)), rows(random_ranks(4), query_language="ha"))
    assert call("good", "less") == 2
    assert "100 common, 20 only in good (sw q040, sw q041, sw q042, ...)" in capsys.readouterr().err
    assert call("good", "less", "--common", "--resamples", 200) == 0
    assert "compared on 100 common queries; 20 queries left out" in capsys.readouterr().out


def test_help_names_the_options(capsys):
    assert call("--help") == 0
    out = capsys.readouterr().out
    assert all(option in out for option in ("--task", "--measure", "--common", "--out", "--split", "--scorer"))
