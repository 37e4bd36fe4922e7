"""The mixed model: it covers what was planted, finds nothing where nothing is, and says why where it cannot be fitted."""

import numpy as np
import pandas as pd
import pytest

from optical_ray.analysis.design import view_parts
from optical_ray.analysis.load import load_run
from optical_ray.analysis.regression import COVARIATES, K_OTHERS, K_TRAINED, fit_regression, regression_table
from optical_ray.analysis.sources import open_sources

SLOPE = -0.02


def simulate(seed, slope=SLOPE, languages=6, seeds=10, sizes=(1, 2, 4), student=0.02):
    """Students of some sizes and seeds on some languages, with crossed effects of language, its slope, seed and student."""
    draw = np.random.default_rng(seed)
    of_language, of_slope, of_seed = draw.normal(0, 0.1, languages), draw.normal(0, 0.01, languages), draw.normal(0, 0.02, seeds)
    rows = []
    for replicate in range(seeds):
        for k in sizes:
            luck = draw.normal(0, student)
            for place in range(languages):
                value = 0.5 + (slope + of_slope[place]) * np.log2(k) + of_language[place] + of_seed[replicate] + luck + draw.normal(0, 0.03)
                row = {"student": f"{replicate}-{k}", "seed": str(replicate), "arm": "OT", "language": f"l{place}", "value": value}
                row |= {covariate.name: np.nan for covariate in COVARIATES}
                rows.append(row | {"in training": 1.0, K_TRAINED: np.log2(k), K_OTHERS: 0.0})
    return pd.DataFrame(rows)


def effects(table):
    return {effect.name: effect.interval for effect in fit_regression(table).effects}


@pytest.mark.timeout(600)
def test_intervals_cover_what_was_planted_and_no_more_is_claimed_where_nothing_is():
    """200 draws; half with a slope, half without. Held back 90 to 99 %."""
    covered = claimed = 0
    for seed in range(200):
        slope = SLOPE if seed % 2 else 0.0
        interval = effects(simulate(seed, slope))[K_TRAINED]
        covered += interval.low <= slope <= interval.high
        claimed += slope == 0.0 and interval.excludes_zero
    assert 180 <= covered <= 198
    assert claimed <= 10


def test_a_covariate_of_the_student_is_judged_by_the_number_of_students():
    """Were its languages independent, twelve of them would make every difference between two sets of students certain."""
    lucky = [effects(simulate(seed, 0.0, languages=12, seeds=3, student=0.1))[K_TRAINED].excludes_zero for seed in range(10)]
    assert sum(lucky) <= 2


def test_what_cannot_be_told_apart_is_left_out_by_name_and_what_does_not_vary_is_no_covariate():
    table = simulate(0)
    table["diversity entropy"] = np.log(2) * table[K_TRAINED]
    fitted = fit_regression(table)
    assert [effect.name for effect in fitted.effects] == [K_TRAINED]
    assert fitted.notes == (f"'diversity entropy' is left out: here it follows from '{K_TRAINED}'.",)
    assert (fitted.num_rows, fitted.num_students, fitted.num_languages, fitted.num_seeds) == (180, 30, 6, 10)
    assert set(fitted.deviations) == {"language", "slope over k", "seed", "student", "residual"}
    assert fitted.deviations["language"] == pytest.approx(0.1, abs=0.06)


def test_rows_of_unknown_covariates_are_left_out_and_counted():
    table = simulate(0, seeds=4)
    table["typological distance"] = np.random.default_rng(0).normal(size=len(table))
    table.loc[table["language"] == "l0", "typological distance"] = np.nan
    fitted = fit_regression(table)
    assert "'typological distance' is not known of 12 of 72 rows, which are left out." in fitted.notes
    assert fitted.num_languages == 5
    assert any("4 training seeds" in note for note in fitted.notes)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (simulate(0).iloc[:0], "0 finished students, 0 languages; expected at least 4 and 3"),
        (simulate(0, languages=2), "30 finished students, 2 languages"),
        (simulate(0, sizes=(1,)), "nothing that it could explain varies"),
        (simulate(0).assign(value=0.0), "could not be fitted"),
    ],
    ids=["empty", "two languages", "one size", "no variance"],
)
def test_without_a_fit_the_reason_is_told(table, expected):
    fitted = fit_regression(table)
    assert fitted.effects == ()
    assert expected in fitted.notes[-1]


def test_many_students_are_thinned_out_and_it_is_said():
    fitted = fit_regression(simulate(0, languages=12, seeds=100))
    assert fitted.notes[0] == "83 of 300 students, drawn at random, are in the regression."
    assert fitted.num_students == 83


def test_the_table_of_a_run_has_the_grids_trained_students(planted_run):
    run = load_run(planted_run)
    table = regression_table(open_sources(run), view_parts(run))
    assert len(table) == 9 * 16
    assert set(table["arm"]) == {"OT", "OT + contrastive", "contrastive"}
    row = table[(table["arm"] == "OT") & (table["language"] == "sw") & np.isclose(table[K_TRAINED], 2.0)].iloc[0]
    assert (row["in training"], row[K_OTHERS], row["log2 rows"]) == (1.0, 0.0, pytest.approx(np.log2(1201)))
    assert 0.3 < row["value"] < 0.9
