"""From score blocks to numbers that trec_eval's code confirms: ranker, judge and TREC files together."""

import numpy as np
import pytest
from retrieval.rankings import ListedDocuments, make_collection, random_search, rank_by_hand

from optical_ray.retrieval.judge import Judge
from optical_ray.retrieval.language_bias import language_bias
from optical_ray.retrieval.search.ranker import Ranker
from optical_ray.retrieval.trec import check_files, write_qrels, write_run


def search(judge, scores_QC, depth, candidates=None, width=17):
    """Blocks of another width, last block first."""
    documents = len(judge.collection.documents)
    ranker = Ranker(judge.relevant, depth, documents, candidates)
    for first in range(0, documents, width)[::-1]:
        ranker.add(first, np.ascontiguousarray(scores_QC[:, first : first + width], dtype=np.float32))
    return ranker.finish()


@pytest.mark.parametrize("depth", [120, 100, 20])
@pytest.mark.parametrize("seed", range(3))
def test_what_a_search_finds_is_what_trec_eval_says_of_its_run(tmp_path, seed, depth):
    collection, scores = random_search(seed, documents=120)
    scores[1] = 0.0
    scores[2, ::3] = np.nan
    judge = Judge(collection)
    ranked = search(judge, scores, depth)
    rows = judge.rows(ranked, "student", "maxsim")
    assert rows.equals(judge.rows(rank_by_hand(collection, scores, depth), "student", "maxsim"))
    write_run(tmp_path / "run", collection, ranked, "student.maxsim", judge.names)
    write_qrels(tmp_path / "qrels", collection)
    assert check_files(tmp_path / "run", tmp_path / "qrels", rows) >= {120: 6, 100: 4, 20: 3}[depth] * len(rows)


def test_re_ranked_candidates_are_judged_as_by_hand(tmp_path):
    collection, scores = random_search(5)
    generator = np.random.default_rng(5)
    candidates = [np.sort(generator.choice(70, size=15, replace=False)) for _ in collection.queries.ids]
    judge = Judge(collection)
    ranked = search(judge, scores, 15, candidates)
    rows = judge.rows(ranked, "student", "maxsim")
    assert rows.equals(judge.rows(rank_by_hand(collection, scores, 15, [own.tolist() for own in candidates]), "student", "maxsim"))
    write_run(tmp_path / "run", collection, ranked, "x")
    write_qrels(tmp_path / "qrels", collection)
    assert check_files(tmp_path / "run", tmp_path / "qrels", rows) == 6 * len(rows)


def test_a_pool_of_several_languages_is_broken_down_as_by_hand():
    tags = ["de", "en", "sw"] * 30
    collection, scores = random_search(6, documents=90)
    documents = ListedDocuments(collection.documents.ids, tags)
    collection = make_collection(collection.qrels, documents, [("de", "sw")[number % 2] for number in range(40)], task="lareqa")
    judge = Judge(collection)
    assert language_bias(judge, search(judge, scores, 90)) == language_bias(judge, rank_by_hand(collection, scores))
