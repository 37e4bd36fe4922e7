"""A pool of three languages: by hand, then against searches of one language at a time."""

from dataclasses import replace

import numpy as np
import pytest
from retrieval.rankings import ListedDocuments, make_collection, rank_by_hand

from optical_ray.retrieval.judge import Judge, judge
from optical_ray.retrieval.language_bias import language_bias, ranks_within_language

LANGUAGES = ("de", "en", "sw")


def pool(num_questions=3, distractors=4):
    """Every question in every language, one answer in each language, some sentences that answer nothing."""
    ids = [f"{tag}-a{number}" for tag in LANGUAGES for number in range(num_questions)]
    ids += [f"{tag}-x{number}" for tag in LANGUAGES for number in range(distractors)]
    ids = sorted(ids, key=lambda name: (name[3:], name))
    qrels = {f"{tag}-q{number}": {f"{own}-a{number}": 1 for own in LANGUAGES} for tag in LANGUAGES for number in range(num_questions)}
    documents = ListedDocuments(ids, [name[:2] for name in ids])
    return make_collection(qrels, documents, [name[:2] for name in qrels], [name[3:] for name in qrels], task="lareqa")


def random_scores(collection, seed, own=0.0):
    generator = np.random.default_rng(seed)
    same = np.array([[tag == other for other in collection.documents.tags] for tag in collection.queries.languages])
    return np.round(generator.normal(size=same.shape) * 3) / 3 + own * same


def test_one_question_worked_out_by_hand():
    documents = ListedDocuments(["sw1", "sw2", "en1", "en2", "de1"], ["sw", "sw", "en", "en", "de"])
    collection = make_collection({"q": {"sw2": 1, "en1": 1, "de1": 1}}, documents, ["sw"])
    ranked = rank_by_hand(collection, np.array([[5, 4, 2, 3, 1]]))  # sw1 sw2 en2 en1 de1
    (row,) = language_bias(Judge(collection), ranked)
    assert (row.query_language, row.num_queries) == ("sw", 1)
    assert row.ap == row.ap20 == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)
    assert dict(row.pool_ap) == {"sw": 1 / 2, "en": 1 / 2, "de": 1.0}
    assert (row.monolingual, row.cross_lingual) == (1 / 2, 3 / 4)
    assert (row.same_rank, row.cross_rank, row.rank_gap, row.rank_distance) == (2.0, 4.5, 2.5, 3.0)
    assert row.own_language_first == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_the_pool_of_one_language_is_a_search_among_its_documents_alone(seed):
    collection = pool()
    scores = random_scores(collection, seed)
    rows = language_bias(Judge(collection), rank_by_hand(collection, scores))
    assert [row.query_language for row in rows] == list(LANGUAGES)
    for tag in LANGUAGES:
        places = [place for place, own in enumerate(collection.documents.tags) if own == tag]
        own = ListedDocuments([collection.documents.ids[place] for place in places], [tag] * len(places))
        qrels = {name: {key: grade for key, grade in judged.items() if key[:2] == tag} for name, judged in collection.qrels.items()}
        alone = replace(collection, documents=own, qrels=qrels)
        found = judge(alone, rank_by_hand(alone, scores[:, places]), "s", "maxsim")
        for row in rows:
            expected = [
                ap for ap, asked in zip(found["AP"].to_pylist(), collection.queries.languages, strict=True) if asked == row.query_language
            ]
            assert row.pool_ap[tag] == pytest.approx(np.mean(expected))


def test_the_whole_pool_is_what_the_judge_says():
    collection = pool()
    ranked = rank_by_hand(collection, random_scores(collection, 5))
    stored = judge(collection, ranked, "s", "maxsim").to_pylist()
    for row in language_bias(Judge(collection), ranked):
        own = [other for other in stored if other["query_language"] == row.query_language]
        assert row.ap == pytest.approx(np.mean([other["AP"] for other in own]))
        assert row.ap20 == pytest.approx(np.mean([other["AP@20"] for other in own]))


def test_a_preference_for_the_own_language_is_seen():
    collection = pool(num_questions=8)
    fair = language_bias(Judge(collection), rank_by_hand(collection, random_scores(collection, 6)))
    biased = language_bias(Judge(collection), rank_by_hand(collection, random_scores(collection, 6, own=10.0)))
    for before, after in zip(fair, biased, strict=True):
        assert after.own_language_first == 1.0 and after.rank_gap > before.rank_gap
        assert after.pool_ap == pytest.approx(before.pool_ap)  # inside one language nothing has changed


def test_an_answer_in_one_language_alone_has_no_gap():
    documents = ListedDocuments(["sw1", "en1", "en2"], ["sw", "en", "en"])
    collection = make_collection({"q1": {"sw1": 1}, "q2": {"en1": 1, "en2": 1}}, documents, ["sw", "sw"])
    (row,) = language_bias(Judge(collection), rank_by_hand(collection, np.array([[3, 2, 1], [3, 2, 1]])))
    assert (row.same_rank, row.cross_rank, row.rank_gap, row.rank_distance) == (1.0, 2.5, None, 1.0)
    assert dict(row.pool_ap) == {"sw": 1.0, "en": 1.0}


def test_a_search_that_is_not_deep_enough_says_nothing_of_pools():
    collection = pool()
    deep = rank_by_hand(collection, random_scores(collection, 7))
    flat = rank_by_hand(collection, random_scores(collection, 7), depth=5)
    for known, unknown in zip(language_bias(Judge(collection), deep), language_bias(Judge(collection), flat), strict=True):
        assert unknown.ap == known.ap and unknown.rank_gap == known.rank_gap  # ranks are exact
        assert unknown.cross_lingual is None
    shallow = replace(flat, rank_R=np.where(flat.rank_R <= 5, flat.rank_R, 0), exact=False)
    for row in language_bias(Judge(collection), shallow):
        assert (row.same_rank, row.cross_rank, row.rank_gap, row.rank_distance) == (None, None, None, None)
    inside = ranks_within_language(shallow, np.array(collection.documents.tags, dtype=object))
    assert ((inside == 0) == (shallow.rank_R == 0)).all()
