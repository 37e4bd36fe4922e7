"""Workers that take whole blocks find what one process finds, query by query."""

import numpy as np
import pytest

from optical_ray.artifacts import Store
from optical_ray.errors import DataError
from optical_ray.orchestration.evaluate import RaySweep, encode_on_ray
from optical_ray.recipe import Resources
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS, Collection, Queries
from optical_ray.retrieval.evaluation import evaluate
from optical_ray.retrieval.formats.documents import InMemoryDocuments
from optical_ray.retrieval.ranking import Round, sweep_in_process
from optical_ray.retrieval.search.index import build_index
from optical_ray.retrieval.systems.lineup import Lineup
from optical_ray.retrieval.systems.models import Model, TokenSide

COUNT = BLOCK_DOCUMENTS + 70
WORDS = ("gate", "book", "house", "bread", "hat", "teacher", "student")
TEXTS = [f"{WORDS[i % 7]} {WORDS[i % 5]} {WORDS[i % 3]} {i}" for i in range(COUNT)]


@pytest.fixture(scope="module")
def collection():
    documents = InMemoryDocuments([f"d{i}" for i in range(COUNT)], ["en"] * COUNT, TEXTS)
    ids = tuple(f"q{i}" for i in range(9))
    places = [1, 50, BLOCK_DOCUMENTS - 1, BLOCK_DOCUMENTS, COUNT - 1, 7, 8, 9, 10]
    texts = tuple(TEXTS[place][::-1][5:][::-1] or "gate" for place in places)
    qrels = {name: {f"d{place}": 1, "d3": 1} for name, place in zip(ids, places, strict=True)}
    return Collection("toy", "all", "test", Queries(ids, texts, ("en",) * 9, ids), documents, qrels)


def test_two_workers_find_what_one_finds(cluster, world, collection):
    systems = Lineup(Model(str(world.teacher))).build(("zero-shot", "mean-removed", "lexical", "bm25", "random"))
    told = []
    found, expected = (
        list(evaluate([collection], systems, 20, sweep, told.append)) for sweep in (RaySweep(Resources(workers=2)), sweep_in_process)
    )
    assert len(found) == len(expected) == 2 * 3 + 3
    for one, other in zip(found, expected, strict=True):
        assert one.rows().equals(other.rows()), (one.system.name, one.scorer)
        np.testing.assert_array_equal(one.ranked.top_QK, other.ranked.top_QK)
        np.testing.assert_array_equal(one.ranked.scores_QK, other.ranked.scores_QK)
        assert one.rows()["query_id"].to_pylist() == list(collection.queries.ids)
    assert any("blocks 2 of 2" in line for line in told)


def test_workers_keep_the_same_encodings(cluster, world, collection, tmp_path):
    side = TokenSide(Model(str(world.teacher)), Model(str(world.teacher)).form("document"))
    resources = Resources(workers=2)
    here = build_index(Store(tmp_path / "here"), side, collection.documents)
    there = build_index(
        Store(tmp_path / "there"), side, collection.documents, each=lambda work, numbers: encode_on_ray(resources, work, numbers)
    )
    for path in here.folder.glob("*.vectors"):
        assert path.read_bytes() == (there.folder / path.name).read_bytes()


class Broken:
    def scores(self, block):
        raise DataError("corpus.jsonl, line 7: not JSON")


def test_an_error_of_a_worker_comes_back_as_it_was(cluster, collection):
    from optical_ray.retrieval.judge import Judge
    from optical_ray.retrieval.ranking import Search

    search = Search(Broken(), ("bm25",), tuple(Judge(collection).relevant), None, 5, COUNT)
    with pytest.raises(DataError, match="^corpus.jsonl, line 7: not JSON$"):
        RaySweep(Resources(workers=2))(Round(collection.documents, (search,)), print)
