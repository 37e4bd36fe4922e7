"""Every system ranks every collection as a plain sort does; documents that collections share are encoded once; nothing is dropped."""

import dataclasses

import numpy as np
import pytest
from retrieval.searches import ListedDocuments, cut_blocks, make_collection, whole_block
from retrieval.systems.sides import WordSide

from optical_ray.errors import DataError
from optical_ray.retrieval import ranking
from optical_ray.retrieval.ranking import cut_block, rank, select_documents
from optical_ray.retrieval.systems.memory import EncodingMemory
from optical_ray.retrieval.systems.shuffle import RandomSystem
from optical_ray.retrieval.systems.tokens import TokenSystem

WORDS = "abcdefghijklmnopqrst"
DOCUMENTS = ListedDocuments([(f"d{i}", "en", [f"{WORDS[i % 20]} {WORDS[i // 2]}", WORDS[i % 7]][: 1 + i % 2]) for i in range(23)])
SWAHILI = make_collection(
    [(f"s{i}", "sw", WORDS[i : i + 2].replace("", " ")) for i in range(9)],
    DOCUMENTS,
    {f"s{i}": [f"d{i}", f"d{2 * i}"] for i in range(9)},
    "sw",
)
HAUSA = make_collection([(f"h{i}", "ha", WORDS[i + 3]) for i in range(4)], DOCUMENTS, {f"h{i}": [f"d{i + 3}"] for i in range(4)}, "ha")


def at_5(collection):
    return 5


def systems():
    side, memory = WordSide(), EncodingMemory(limit=0)  # keeps one answer
    return side, [TokenSystem("student", WordSide("queries"), side, memory), RandomSystem()]


def plain_ranks(collection, system, scorer):
    """Ranks of the relevant documents, by sorting: of equal scores, relevant ones last."""
    scores_QC = system.prepare(collection.queries, collection.documents).scores(whole_block(collection.documents))[scorer]
    found = []
    for query, scores in zip(collection.queries.ids, np.rint(scores_QC.astype(np.float64) * 2**20), strict=True):
        relevant = {name for name in collection.qrels[query]}
        rows = [
            (-score, name in relevant, place, name) for place, ((name, *_), score) in enumerate(zip(DOCUMENTS.rows, scores, strict=True))
        ]
        if collection.candidates is not None:
            rows = [row for row in rows if row[-1] in collection.candidates[query]]
        order = [name for *_, name in sorted(rows)]
        place_of = collection.documents.places(frozenset(relevant))
        found += [order.index(name) + 1 if name in order else 0 for name in sorted(relevant, key=place_of.__getitem__)]
    return found


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("round_bytes", [1, 2**31])
def test_ranks_are_those_of_a_plain_sort_whatever_the_blocks_and_rounds(size, round_bytes, monkeypatch):
    cut_blocks(monkeypatch, size)
    monkeypatch.setattr(ranking, "ROUND_BYTES", round_bytes)
    _, found = systems()
    outcomes = list(rank([SWAHILI, HAUSA], found, at_5))
    named = [(outcome.collection.name, outcome.system.name, outcome.scorer) for outcome in outcomes]
    scorers = [("student", scorer) for scorer in ("maxsim", "maxsim-symmetric", "pooled")] + [("random", "random")]
    assert sorted(named) == sorted((name, *pair) for name in ("sw", "ha") for pair in scorers)
    for outcome in outcomes:
        assert outcome.ranked.exact
        assert outcome.ranked.rank_R.tolist() == plain_ranks(outcome.collection, outcome.system, outcome.scorer), (size, outcome.scorer)


def test_documents_that_collections_share_are_encoded_once_for_all_systems(monkeypatch):
    cut_blocks(monkeypatch, 4)
    side, found = systems()
    twice = [found[0], dataclasses.replace(found[0], name="again")]
    again = dataclasses.replace(HAUSA, documents=ListedDocuments(DOCUMENTS.rows))  # equal, not identical
    assert len(list(rank([SWAHILI, again], twice, at_5))) == 12
    passages = {text for *_, texts in DOCUMENTS.rows for text in texts}
    assert len(passages) <= side.encoded <= sum(len(texts) for *_, texts in DOCUMENTS.rows)


@pytest.mark.parametrize("size", [4, 100])
def test_only_candidates_are_scored_where_they_are_named(size, monkeypatch):
    cut_blocks(monkeypatch, size)
    candidates = {f"h{i}": (f"d{i + 3}", "d0", "d22") if i else ("d0", "d22") for i in range(4)}
    collection = dataclasses.replace(HAUSA, candidates=candidates)
    side, found = systems()
    outcomes = list(rank([collection], found, at_5))
    assert side.encoded < len(DOCUMENTS)
    for outcome in outcomes:
        assert outcome.ranked.rank_R.tolist() == plain_ranks(collection, outcome.system, outcome.scorer)
        assert outcome.ranked.rank_R[0] == 0
        assert outcome.rows()["rank"].to_pylist()[0] is None
        assert outcome.ranked.num_candidates_Q.tolist() == [2, 3, 3, 3]


def test_a_system_that_does_not_apply_is_not_asked():
    _, found = systems()
    outcomes = list(
        rank([SWAHILI, HAUSA], found, at_5, applies=lambda collection, system: (collection.name, system.name) != ("ha", "random"))
    )
    assert {(outcome.collection.name, outcome.system.name) for outcome in outcomes} == {
        ("sw", "student"),
        ("sw", "random"),
        ("ha", "student"),
    }


def test_every_query_has_a_row():
    _, found = systems()
    for outcome in rank([SWAHILI], found, at_5):
        rows = outcome.rows()
        assert rows["query_id"].to_pylist() == list(SWAHILI.queries.ids)
        assert set(rows["system"].to_pylist()) == {outcome.system.name}


def test_a_collection_without_queries_or_documents_is_refused():
    nothing = make_collection([("1", "sw", "a")], DOCUMENTS, {"1": ["d0"]})
    empty = dataclasses.replace(
        nothing, queries=dataclasses.replace(nothing.queries, ids=(), texts=(), languages=(), clusters=()), skipped={"empty query": 3}
    )
    with pytest.raises(DataError, match=r"toy, all: no queries left to evaluate \(left out: 3 empty query\)"):
        list(rank([empty], [RandomSystem()], at_5))
    with pytest.raises(DataError, match="toy, all: no documents left to evaluate"):
        list(rank([dataclasses.replace(nothing, documents=ListedDocuments([]))], [RandomSystem()], at_5))


def test_a_query_whose_relevant_document_is_not_there_is_refused():
    collection = make_collection([("1", "sw", "a")], DOCUMENTS, {"1": ["absent"]})
    with pytest.raises(DataError, match="'1' has no relevant document"):
        list(rank([collection], [RandomSystem()], at_5))


def test_a_block_is_cut_between_documents_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(ranking, "PASSAGES_AT_ONCE", 3)
    rows = [("a", "en", "1"), ("b", "sw", ["2", "3"]), ("c", "en", ["4", "5", "6", "7"]), ("d", "en", "8"), ("e", "en", "9")]
    block = whole_block(ListedDocuments(rows))
    parts = list(cut_block(block))
    assert [(first, part.ids) for first, part in parts] == [(0, ("a", "b")), (2, ("c",)), (3, ("d", "e"))]
    assert sum((part.passages for _, part in parts), ()) == block.passages
    assert [part.owner.tolist() for _, part in parts] == [[0, 1, 1], [0, 0, 0, 0], [0, 1]]


def test_what_is_encoded_of_a_large_block_is_shared_part_by_part(monkeypatch):
    """A memory of one part is enough, however many systems and parts."""
    monkeypatch.setattr(ranking, "PASSAGES_AT_ONCE", 4)
    side, found = systems()
    list(rank([SWAHILI], [found[0], dataclasses.replace(found[0], name="again")], at_5))
    assert side.encoded <= sum(len(texts) for *_, texts in DOCUMENTS.rows)


def test_some_documents_of_a_block_keep_their_passages():
    block = whole_block(ListedDocuments([("a", "en", ["1", "2"]), ("b", "sw", "3"), ("c", "en", ["4", "5", "6"])]))
    part = select_documents(block, np.array([0, 2]))
    assert (part.ids, part.languages, part.passages) == (("a", "c"), ("en", "en"), ("1", "2", "4", "5", "6"))
    assert part.owner.tolist() == [0, 0, 1, 1, 1]
