from itertools import pairwise

import numpy as np
import pytest

from optical_ray.retrieval.search import ranker as module
from optical_ray.retrieval.search.ranker import Ranker

QUERIES, DOCUMENTS = 7, 53


@pytest.fixture(params=["every score", "best alone"])
def kept(request, monkeypatch):
    """Both ways to keep scores: all of them, and a heap."""
    if request.param == "best alone":
        monkeypatch.setattr(module, "EXACT_SCORES", 0)
    return request.param


def problem(seed=0, levels=None):
    """Scores with ties (of few levels), NaN, infinities and negative zeros, and relevant documents: none, one, many, the last."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(QUERIES, DOCUMENTS)).astype(np.float32)
    if levels:
        scores = draw.integers(-levels, levels, scores.shape).astype(np.float32) / 4
        scores[draw.random(scores.shape) < 0.1] = -0.0
    scores[draw.random(scores.shape) < 0.05] = np.nan
    scores[draw.random(scores.shape) < 0.02] = np.inf
    scores[draw.random(scores.shape) < 0.05] = -np.inf
    relevant = [draw.permutation(DOCUMENTS)[: draw.integers(0, 6)] for _ in range(QUERIES - 1)] + [np.array([DOCUMENTS - 1])]
    return scores, relevant


def rounded(scores):
    scores = np.where(np.isnan(scores), -np.inf, scores).astype(np.float64)
    return np.where(np.abs(scores) < 8, np.round(scores * 2**20) / 2**20, scores) + 0.0


def naive(scores, relevant, candidates):
    """Sort every query's documents by three keys, one after the other; ranks by looking each relevant document up."""
    order, ranks = [], []
    for row, own, places in zip(rounded(scores), relevant, candidates, strict=True):
        ranking = sorted((-row[place], place in set(own.tolist()), place) for place in set(places))
        order.append([place for _, _, place in ranking])
        ranks += [order[-1].index(place) + 1 if place in order[-1] else 0 for place in sorted(own.tolist())]
    return order, ranks


def rank(scores, relevant, depth, cuts=(), candidates=None, sequence=None):
    found = Ranker(relevant, depth, DOCUMENTS, candidates)
    edges = [0, *cuts, DOCUMENTS]
    blocks = [(first, scores[:, first:stop]) for first, stop in pairwise(edges)]
    for index in sequence or range(len(blocks)):
        found.add(*blocks[index])
    return found.finish()


def same(first, second):
    names = ("top_QK", "scores_QK", "relevant_R", "offsets_Q", "rank_R", "num_candidates_Q")
    return first.exact == second.exact and all(getattr(first, name).tobytes() == getattr(second, name).tobytes() for name in names)


@pytest.mark.parametrize("levels", [None, 3, 1])
@pytest.mark.parametrize("depth", [0, 1, 10, 52, 53, 60])
def test_ranks_are_those_of_a_plain_sort(levels, depth, kept):
    scores, relevant = problem(levels=levels)
    order, ranks = naive(scores, relevant, [range(DOCUMENTS)] * QUERIES)
    found = rank(scores, relevant, depth, cuts=(11, 30))
    assert found.exact == (kept == "every score" or depth >= DOCUMENTS)
    assert found.top_QK.shape == found.scores_QK.shape == (QUERIES, depth)
    for q in range(QUERIES):
        expected = [*order[q][:depth], *[-1] * max(0, depth - DOCUMENTS)]
        assert found.top_QK[q].tolist() == expected
        assert found.scores_QK[q].tolist() == [rounded(scores)[q, place] if place >= 0 else -np.inf for place in expected]
    assert found.rank_R.tolist() == [r if found.exact or r <= depth else 0 for r in ranks]
    assert found.relevant_R.tolist() == [place for own in relevant for place in sorted(own)]
    assert found.offsets_Q.tolist() == [0, *np.cumsum([len(own) for own in relevant])]
    assert found.num_candidates_Q.tolist() == [DOCUMENTS] * QUERIES


@pytest.mark.parametrize("depth", [4, 40])
def test_of_a_given_run_only_its_documents_are_ranked(depth, kept):
    scores, relevant = problem(levels=2)
    draw = np.random.default_rng(5)
    candidates = [draw.permutation(DOCUMENTS)[: draw.integers(0, 20)] for _ in range(QUERIES)]
    candidates[0] = np.array([3, 1, 3, 1])  # a run that names a document twice
    order, ranks = naive(scores, relevant, [own.tolist() for own in candidates])
    found = rank(scores, relevant, depth, cuts=(8, 9, 40), candidates=candidates, sequence=[2, 0, 3, 1])
    assert found.exact
    assert [[place for place in row if place >= 0] for row in found.top_QK.tolist()] == [row[:depth] for row in order]
    assert found.rank_R.tolist() == ranks
    assert found.num_candidates_Q.tolist() == [len(set(own.tolist())) for own in candidates]


def test_blocks_may_come_in_any_order_and_from_any_number_of_rankers(kept):
    scores, relevant = problem(levels=2)
    draw = np.random.default_rng(1)
    candidates = [draw.permutation(DOCUMENTS)[:20] for _ in range(QUERIES)]
    for chosen in (None, candidates):
        alone = rank(scores, relevant, 12, candidates=chosen)
        for workers in (1, 2, 3, 5):
            edges = [0, *sorted(draw.permutation(np.arange(1, DOCUMENTS))[:9]), DOCUMENTS]
            blocks = list(pairwise(edges))
            team = [Ranker(relevant, 12, DOCUMENTS, chosen) for _ in range(workers)]
            for index, block in enumerate(draw.permutation(len(blocks))):
                first, stop = blocks[block]
                team[index % workers].add(int(first), scores[:, first:stop])
            draw.shuffle(team)
            for other in team[1:]:
                team[0].merge(other)
            assert same(team[0].finish(), alone)


def test_ties_count_against_us():
    scores = np.zeros((1, 5), np.float32)
    found = Ranker([np.array([0, 3])], 5, 5)
    found.add(0, scores)
    ranked = found.finish()
    assert ranked.rank_R.tolist() == [4, 5]
    assert ranked.top_QK.tolist() == [[1, 2, 4, 0, 3]]


def test_scores_that_differ_by_rounding_tie():
    near = np.float32(0.7)
    scores = np.array([[near, np.nextafter(near, np.float32(1)), 0.1]], np.float32)
    found = Ranker([np.array([1])], 3, 3)
    found.add(0, scores)
    assert found.finish().rank_R.tolist() == [2]


def test_large_scores_keep_all_their_digits():
    scores = np.array([[1000.0, np.nextafter(np.float32(1000), np.float32(2000)), 3e38, -3e38]], np.float32)
    found = Ranker([np.array([1])], 4, 4)
    found.add(0, scores)
    ranked = found.finish()
    assert ranked.rank_R.tolist() == [2]
    assert ranked.scores_QK.tolist() == [[scores[0, place] for place in (2, 1, 0, 3)]]


def test_added_scores_may_be_changed_afterwards(kept):
    scores, relevant = problem()
    found, buffer = Ranker(relevant, 10, DOCUMENTS), scores.copy()
    found.add(0, buffer)
    buffer[:] = 0
    assert same(found.finish(), rank(scores, relevant, 10))


def test_scores_in_any_layout_are_taken(kept):
    scores, relevant = problem()
    found = Ranker(relevant, 10, DOCUMENTS)
    found.add(0, np.asfortranarray(scores).astype(np.float64))
    assert same(found.finish(), rank(scores, relevant, 10))


def test_nothing_to_search_gives_nothing():
    found = Ranker([np.array([], np.int64)], 3, 0)
    assert found.finish().top_QK.tolist() == [[-1, -1, -1]]
    assert Ranker([], 3, 0).finish().top_QK.shape == (0, 3)


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ([(0, 20)], "documents 20 to 52 are missing"),
        ([(20, 53)], "documents 0 to 19 are missing"),
        ([(0, 20), (30, 53)], "documents 20 to 29 are missing"),
        ([(0, 20), (0, 20), (20, 53)], "document 0 came twice"),
        ([(0, 21), (20, 53)], "document 20 came twice"),
    ],
)
def test_a_block_that_is_missing_or_comes_twice_is_named(blocks, says, kept):
    scores, relevant = problem()
    found, other = Ranker(relevant, 3, DOCUMENTS), Ranker(relevant, 3, DOCUMENTS)
    for ranker, (first, stop) in zip([found, other, found], blocks, strict=False):
        ranker.add(first, scores[:, first:stop])
    found.merge(other)
    with pytest.raises(ValueError, match=says):
        found.finish()


def test_what_does_not_fit_is_refused():
    scores, relevant = problem()
    with pytest.raises(ValueError, match="documents 50 to 102; expected 7 queries, documents 0 to 52"):
        Ranker(relevant, 3, DOCUMENTS).add(50, scores)
    with pytest.raises(ValueError, match="scores of 6 queries"):
        Ranker(relevant, 3, DOCUMENTS).add(0, scores[1:])
    with pytest.raises(ValueError, match="place 53; expected 0 to 52"):
        Ranker([np.array([53])], 3, DOCUMENTS)
    with pytest.raises(ValueError, match="place -1"):
        Ranker([np.array([3])], 3, DOCUMENTS, [np.array([-1])])
    with pytest.raises(ValueError, match="cannot be merged"):
        Ranker(relevant, 3, DOCUMENTS).merge(Ranker(relevant, 4, DOCUMENTS))
    with pytest.raises(ValueError, match="cannot be merged"):
        Ranker(relevant, 3, DOCUMENTS).merge(Ranker(relevant[::-1], 3, DOCUMENTS))
