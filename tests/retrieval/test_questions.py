"""Two rows are a pair where the same was asked among the same, whatever ids and folders are called."""

from dataclasses import replace

import numpy as np
from retrieval.rankings import ListedDocuments, make_collection, rank_by_hand

from optical_ray.retrieval.judge import judge
from optical_ray.retrieval.questions import name_candidates, name_question


def test_a_question_is_its_text_language_and_judgements():
    one = name_question("what?", "sw", {"a": 1, "b": 2})
    assert one == name_question("what?", "sw", {"b": 2, "a": 1, "c": 0}), "order, and what is not relevant, say nothing"
    others = [
        ("what", "sw", {"a": 1, "b": 2}),
        ("what?", "ha", {"a": 1, "b": 2}),
        ("what?", "sw", {"a": 1}),
        ("what?", "sw", {"a": 1, "b": 1}),
    ]
    assert len({one, *(name_question(*other) for other in others)}) == 5
    assert 0 < one < 2**63


def test_parts_do_not_run_together():
    assert len({name_candidates(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"])}) == 4


def test_rows_say_what_was_asked_among_what():
    documents = ListedDocuments("abcd")
    collection = make_collection({"q": {"a": 1}, "r": {"b": 1}}, documents)

    def rows(of):
        return judge(of, rank_by_hand(of, np.zeros((2, 4))), "s", "maxsim").to_pylist()

    q, r = rows(collection)
    assert q["asked"] != r["asked"] and q["among"] == r["among"]
    other = rows(replace(collection, queries=replace(collection.queries, texts=("another", *collection.queries.texts[1:]))))
    assert [row["asked"] == own["asked"] for row, own in zip(other, (q, r), strict=True)] == [False, True]
    some = rows(replace(collection, candidates={"q": ("a", "b"), "r": ("b", "a")}))
    assert some[0]["asked"] == q["asked"] and some[0]["among"] == some[1]["among"] != q["among"]
