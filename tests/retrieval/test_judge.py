"""Per-query rows against a loop over the ranking, against numbers worked out by hand, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
from retrieval.rankings import ListedDocuments, make_collection, random_search, rank_by_hand

from optical_ray.errors import DataError
from optical_ray.retrieval.document_names import DocumentNames
from optical_ray.retrieval.judge import Judge, judge, measure_ranks
from optical_ray.runs.schemas import QUERIES


def loop(order, judged, num_documents):
    """Measures of one query, rank by rank."""
    grades = sorted((grade for grade in judged.values() if grade > 0), reverse=True)
    first = found = 0
    ap = ap20 = gain = recall = 0.0
    for rank, name in enumerate(order, 1):
        grade = max(judged.get(name, 0), 0)
        if grade:
            first, found = first or rank, found + 1
            ap += found / rank
            ap20 += found / rank if rank <= 20 else 0
            gain += grade / math.log2(1 + rank) if rank <= 10 else 0
            recall += rank <= 100
    ideal = sum(grade / math.log2(1 + rank) for rank, grade in enumerate(grades[:10], 1))
    return first, ap / len(grades), ap20 / min(len(grades), 20), gain / ideal, recall / len(grades)


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_those_of_a_loop_over_the_ranking(seed):
    collection, scores = random_search(seed, documents=150)
    ranked = rank_by_hand(collection, scores)
    for row, places in zip(judge(collection, ranked, "student", "maxsim").to_pylist(), ranked.top_QK, strict=True):
        order = [collection.documents.ids[place] for place in places]
        first, *others = loop(order, collection.qrels[row["query_id"]], 150)
        assert row["rank"] == first
        assert [row[name] for name in ("AP", "AP@20", "nDCG@10", "R@100")] == pytest.approx(others, abs=1e-6)
        assert row["top_candidate_id"] == order[0]
        assert row["num_relevant"] == sum(grade > 0 for grade in collection.qrels[row["query_id"]].values())


def test_a_ranking_worked_out_by_hand():
    """b is relevant at rank 2 with grade 1, d at rank 4 with grade 3, f is never found."""
    collection = make_collection({"q": {"b": 1, "d": 3, "f": 1, "a": 0}}, ListedDocuments("abcdef"), clusters=["question 7"])
    ranked = rank_by_hand(collection, np.array([[9, 8, 7, 6, 5, 4]]), candidates=[[0, 1, 2, 3, 4]])
    (row,) = judge(collection, ranked, "bm25", "bm25").to_pylist()
    assert (row["rank"], row["num_relevant"], row["num_candidates"]) == (2, 3, 5)
    assert row["AP"] == row["AP@20"] == pytest.approx((1 / 2 + 2 / 4) / 3)
    ideal = 3 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert row["nDCG@10"] == pytest.approx((1 / math.log2(3) + 3 / math.log2(5)) / ideal)
    assert row["R@100"] == pytest.approx(2 / 3)
    assert (row["relevant_id"], row["query_language"], row["document_language"]) == ("question 7", "sw", "en")
    assert (row["task"], row["collection"], row["split"], row["system"], row["scorer"]) == ("clir", "all", "test", "bm25", "bm25")


def test_more_than_20_relevant_documents_divide_ap_at_20_by_20_and_ap_by_all():
    names = [f"d{number:02d}" for number in range(40)]
    collection = make_collection({"q": dict.fromkeys(names[:25], 1)}, ListedDocuments(names))
    (row,) = judge(collection, rank_by_hand(collection, -np.arange(40.0)[None]), "s", "maxsim").to_pylist()
    assert (row["AP"], row["AP@20"], row["nDCG@10"]) == (1.0, 1.0, 1.0)
    late = rank_by_hand(collection, np.arange(40.0)[None])  # the first relevant document at rank 16
    (row,) = judge(collection, late, "s", "maxsim").to_pylist()
    precisions = [found / (15 + found) for found in range(1, 26)]
    assert row["AP"] == pytest.approx(sum(precisions) / 25)
    assert row["AP@20"] == pytest.approx(sum(precisions[:5]) / 20)


def test_ties_count_against_us_also_between_relevant_and_relevant():
    collection = make_collection({"q": {"a": 1, "c": 1}}, ListedDocuments("abcd"))
    (row,) = judge(collection, rank_by_hand(collection, np.zeros((1, 4))), "s", "maxsim").to_pylist()
    assert row["rank"] == 3
    assert row["AP"] == pytest.approx((1 / 3 + 2 / 4) / 2)


def test_what_is_not_found_has_no_rank_and_scores_nothing():
    collection = make_collection({"q": {"c": 2}}, ListedDocuments("abc"))
    table = judge(collection, rank_by_hand(collection, np.ones((1, 3)), candidates=[[0, 1]]), "s", "maxsim")
    (row,) = table.to_pylist()
    assert row["rank"] is None
    assert [row[name] for name in ("AP", "AP@20", "nDCG@10", "R@100")] == [0, 0, 0, 0]
    assert table.schema.equals(QUERIES)


def test_a_query_without_candidates_has_no_best_one():
    collection = make_collection({"q": {"c": 2}}, ListedDocuments("abc"))
    (row,) = judge(collection, rank_by_hand(collection, np.ones((1, 3)), depth=2, candidates=[[]]), "s", "maxsim").to_pylist()
    assert (row["top_candidate_id"], row["num_candidates"], row["rank"]) == ("", 0, None)


def test_documents_of_several_languages_are_mul():
    collection = make_collection({"q": {"c": 2}}, ListedDocuments("abc", ["en", "sw", "ha"]))
    assert judge(collection, rank_by_hand(collection, np.ones((1, 3))), "s", "maxsim")["document_language"].to_pylist() == ["mul"]


def test_judgements_of_documents_that_are_not_there_do_not_count():
    collection = make_collection({"q": {"c": 2, "nowhere": 1}}, ListedDocuments("abc"))
    (row,) = judge(collection, rank_by_hand(collection, np.array([[1.0, 2.0, 3.0]])), "s", "maxsim").to_pylist()
    assert (row["num_relevant"], row["AP"], row["nDCG@10"]) == (1, 1.0, 1.0)


def test_the_judge_gives_a_search_the_places_of_the_relevant_documents():
    collection = make_collection({"q1": {"d": 1, "b": 2, "a": 0}, "q2": {"c": 1}}, ListedDocuments("abcd"))
    assert [places.tolist() for places in Judge(collection).relevant] == [[1, 3], [2]]


def test_a_query_that_nothing_can_answer_is_refused():
    with pytest.raises(DataError, match="clir all: query 'q2' has no relevant document among the 3 candidates"):
        Judge(make_collection({"q1": {"a": 1}, "q2": {"a": 0, "nowhere": 1}}, ListedDocuments("abc")))


def test_a_ranking_of_other_judgements_is_refused():
    collection = make_collection({"q1": {"a": 1}, "q2": {"b": 1}}, ListedDocuments("abc"))
    ranked = rank_by_hand(collection, np.ones((2, 3)))
    other = replace(collection, qrels={"q1": {"a": 1}, "q2": {"c": 1}})
    with pytest.raises(ValueError, match="made for 2 relevant documents of 2 queries"):
        judge(other, ranked, "s", "maxsim")


def test_names_are_read_once_and_only_where_they_are_asked_for():
    documents = ListedDocuments([f"d{number}" for number in range(13_000)], ["en", "sw"] * 6_500)  # four blocks
    names = DocumentNames(documents)
    assert names.ids(np.array([[0, 4096], [-1, 12_999]])).tolist() == [["d0", "d4096"], ["", "d12999"]]
    assert documents.blocks_read == 3
    assert names.languages(np.array([4097, 1])).tolist() == ["sw", "sw"]
    assert documents.blocks_read == 3
    assert names.all_languages().tolist() == list(documents.tags)
    assert documents.blocks_read == 4


def test_measures_do_not_depend_on_the_order_of_the_relevant_documents():
    first = measure_ranks(np.array([30, 2, 0, 5]), np.array([1, 3, 2, 1]), np.array([0, 3, 4]))
    turned = measure_ranks(np.array([0, 30, 2, 5]), np.array([2, 1, 3, 1]), np.array([0, 3, 4]))
    for name in ("rank_Q", "ap_Q", "ap20_Q", "ndcg10_Q", "r100_Q"):
        assert getattr(first, name).tolist() == getattr(turned, name).tolist()
    assert first.rank_Q.tolist() == [2, 5]
