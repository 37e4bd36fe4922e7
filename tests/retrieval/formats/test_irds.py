"""Data sets registered with ir_datasets itself; nothing is downloaded."""

import pickle
from collections import namedtuple
from pathlib import Path

import pytest
from retrieval.formats.released import all_texts, check_contract

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections

Doc = namedtuple("Doc", "doc_id title text")
Query = namedtuple("Query", "query_id title description ht_title ht_description translation_lang")
Qrel = namedtuple("Qrel", "query_id doc_id relevance iteration")
DOCUMENTS = [Doc("a", "عنوان", "متن"), Doc("b", "", "متن دو"), Doc("c", "T", "three")]
QUERIES = [Query("1", "who", "who is it", "کی", "کی است", "fa"), Query("2", "what", "", "چه", "", "fa")]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IR_DATASETS_HOME", str(tmp_path_factory.mktemp("ir_datasets")))
        ir_datasets = pytest.importorskip("ir_datasets", reason="the extra `ir-datasets` is not installed")
        from ir_datasets.formats import BaseDocs, BaseQrels, BaseQueries

        class Docs(BaseDocs):
            def docs_iter(self):
                return iter(DOCUMENTS)

            def docs_lang(self):
                return "fa"

        class Queries(BaseQueries):
            def queries_iter(self):
                return iter(QUERIES)

        class Qrels(BaseQrels):
            def qrels_iter(self):
                return iter([Qrel("1", "b", 3, "0"), Qrel("2", "a", 1, "0")])

        class Broken(BaseDocs):
            def docs_iter(self):
                raise OSError("no network\nat all")

        ir_datasets.registry.register("ours/fa/test", ir_datasets.Dataset(Docs(), Queries(), Qrels()))
        ir_datasets.registry.register("ours/fa/unjudged", ir_datasets.Dataset(Docs(), Queries()))
        ir_datasets.registry.register("ours/fa/broken", ir_datasets.Dataset(Broken(), Queries(), Qrels()))
        yield ir_datasets


def test_a_data_set_is_read_by_its_id(registry):
    [found] = read_collections("ir_datasets", Path("ours/fa/test"), FormatOptions(topic_fields=("title", "description")))
    check_contract(found)
    assert found.name == "ours-fa-test" and found.queries.texts == ("who who is it", "what") and found.queries.languages == ("en", "en")
    assert all_texts(found.documents) == {"a": ("fa", "عنوان متن"), "b": ("fa", "متن دو"), "c": ("fa", "T three")}
    assert found.qrels == {"1": {"b": 3}, "2": {"a": 1}}
    assert all_texts(pickle.loads(pickle.dumps(found.documents))) == all_texts(found.documents)


def test_topics_are_asked_in_the_language_of_the_documents_where_it_is_named(registry):
    [found] = read_collections("ir_datasets", Path("ours/fa/test"), FormatOptions(query_language="fas"))
    assert found.queries.texts == ("کی", "چه") and found.queries.languages == ("fa", "fa")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ours/xx", "ours/xx: no such id; ir_datasets reads an id"),
        ("ours/fa/unjudged", "ours/fa/unjudged: has no qrels"),
        ("ours/fa/broken", r"docs of .* cannot be fetched \(no network\); see https://ir-datasets.com"),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line(registry, name, message):
    with pytest.raises(DataError, match=message) as told:
        read_collections("ir_datasets", Path(name))
    assert "\n" not in str(told.value)
