"""Many synthetic sweeps, written and read as real ones: what the answer claims is there, and where nothing is it says so.

Sweeps differ in their queries, sentences and trainings. A claim about nothing may be made in one sweep of twenty (Holm's correction holds
that for all comparisons of one kind together); the interval of a planted difference holds it in nine of ten at least.
"""

import re

import pytest

from optical_ray.analysis.analyse import analyse
from optical_ray.analysis.answer import answer, caveats
from optical_ray.analysis.compare import ARMS
from optical_ray.analysis.load import load_run
from optical_ray.retrieval.intervals import QueryBootstrap

DRAWS = 200
BOOTSTRAP = QueryBootstrap(resamples=1000)
LANGUAGES = ("sw", "hi", "my", "ha")
SMALL = {"sizes": (1, 4), "arms": ("OT", "contrastive"), "searches": 0, "queries": 120, "languages": LANGUAGES}
PLANTED = 0.15


def nothing(arm, k, language, trained, system):
    return 0.5


def better_by_ot(arm, k, language, trained, system):
    return 0.5 + PLANTED * (arm == "OT" and system == "student")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory, sweep_writer):
    """A function of quality and draw: the analysis of a sweep of its own."""
    folder = tmp_path_factory.mktemp("golden")

    def make(quality, draw):
        path = sweep_writer(folder / f"{quality.__name__}-{draw}", quality, seeds=(draw,), pool=draw, **SMALL)
        return analyse(load_run(path), BOOTSTRAP)

    return make


def claims_growth(sentences):
    """Whether they say that more languages help or harm."""
    return any(re.search(r"\b(rose|fell) by\b", sentence) for sentence in sentences)


@pytest.mark.slow
def test_where_nothing_is_the_answer_says_so_in_nineteen_sweeps_of_twenty(sweeps):
    analyses = [sweeps(nothing, draw) for draw in range(DRAWS)]
    claimed = sum(claims_growth(answer(analysis)) for analysis in analyses)
    assert claimed <= 0.09 * DRAWS  # 5 % and three standard errors
    unclear = sum("could be shown" in " ".join(answer(analysis)) for analysis in analyses)
    assert unclear == DRAWS


@pytest.mark.slow
def test_the_interval_of_a_planted_difference_holds_it(sweeps):
    covered, found = 0, 0
    for draw in range(DRAWS):
        analysis = sweeps(better_by_ot, draw)
        (row,) = [row for row in analysis.comparisons if row.kind == ARMS and row.measure == "Success@1"]
        covered += row.difference.low <= PLANTED <= row.difference.high
        found += row.direction == "above"
    assert 0.9 * DRAWS <= covered <= 0.99 * DRAWS
    assert found >= 0.9 * DRAWS, "with 480 queries a difference of 0.15 is found more often than not"


@pytest.mark.slow
def test_ten_seeds_are_judged_by_their_spread(sweeps, tmp_path, sweep_writer):
    """Of students that differ by chance alone, the interval over seeds holds 0 in about nineteen of twenty."""
    held = 0
    draws = 40
    for draw in range(draws):
        settings = {**SMALL, "sizes": (4,), "seeds": tuple(range(10 * draw, 10 * draw + 10)), "queries": 20}
        analysis = analyse(load_run(sweep_writer(tmp_path / str(draw), nothing, pool=draw, **settings)), BOOTSTRAP)
        (arm,) = analysis.arms
        assert len(arm.seeds) == 10
        held += arm.over_seeds.low <= 0.0 <= arm.over_seeds.high
    assert held >= 0.85 * draws


def test_intervals_that_rest_on_few_sentences_are_called_too_short(tmp_path, sweep_writer):
    analyses = [analyse(load_run(sweep_writer(tmp_path / str(n), nothing, **{**SMALL, "queries": n})), BOOTSTRAP) for n in (30, 90)]
    assert ["too few: they are shorter" in " ".join(caveats(analysis)) for analysis in analyses] == [True, False]
