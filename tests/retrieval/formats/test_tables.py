import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from retrieval.formats.released import all_texts, write_table

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections


def test_tables_name_languages_splits_and_clusters(tmp_path):
    write_table(
        tmp_path / "queries.parquet",
        query_id=["1", "2", "3", "4"],
        lang=["swa", "hau", "swa", "swa"],
        split=["test", "test", "dev", "test"],
        text=["Nani?", "Wa?", "Lini?", ""],
        cluster=["who", "who", "when", "why"],
    )
    write_table(tmp_path / "corpus.parquet", _id=[7, 8], title=["T", None], text=["one", "two"])
    write_table(tmp_path / "qrels.parquet", **{"query-id": ["1", "2", "3"], "corpus-id": [7, 8, 8], "score": [1, 2, 1]})
    options = FormatOptions(on_bad="skip", document_language="en")
    [found] = read_collections("parquet", tmp_path, options)
    assert found.queries.ids == ("1", "2") and found.queries.languages == ("sw", "ha") and found.queries.clusters == ("who", "who")
    assert all_texts(found.documents) == {"7": ("en", "T one"), "8": ("en", "two")}
    assert found.skipped == {"empty query": 1}
    write_table(tmp_path / "qrels.parquet", query_id=["1", "2"], doc_id=["7", "8"])
    [hausa] = read_collections("parquet", tmp_path, options.override({"languages": ["ha"], "on_bad": "refuse"}))
    assert hausa.queries.ids == ("2",) and hausa.qrels == {"2": {"8": 1}}


def test_a_corpus_may_lie_in_parts(tmp_path):
    write_table(tmp_path / "queries.parquet", query_id=["1"], text=["x"])
    write_table(tmp_path / "corpus" / "part-1.parquet", doc_id=["8"], text=["z"])
    write_table(tmp_path / "corpus" / "part-0.parquet", doc_id=["7"], text=["y"])
    write_table(tmp_path / "qrels.parquet", query_id=["1"], doc_id=["8"], relevance=[1])
    [found] = read_collections("parquet", tmp_path)
    assert list(all_texts(found.documents)) == ["7", "8"]


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("corpus", {"doc_id": ["7"], "body": ["x"]}, "corpus.parquet: has columns doc_id, body; expected text"),
        ("qrels", {"query_id": ["1"], "relevance": [1]}, "qrels.parquet: has columns query_id, relevance; expected doc_id"),
        ("qrels", {"query_id": ["1"], "doc_id": ["7"], "relevance": [0.5]}, "row 1: its relevance is 0.5, expected a whole number"),
        (
            "queries",
            {"query_id": ["1"], "text": ["x"], "split": ["train"]},
            "no query of the test split; its column split has train; expected .*, as --split names them",
        ),
        ("queries", {"query_id": ["1"], "text": ["x"], "lang": ["qqq-nope"]}, "row 1: 'qqq-nope' is no language code"),
    ],
)
def test_tables_without_what_is_needed_are_told(tmp_path, table, columns, message):
    write_table(tmp_path / "queries.parquet", query_id=["1"], text=["x"])
    write_table(tmp_path / "corpus.parquet", doc_id=["7"], text=["y"])
    write_table(tmp_path / "qrels.parquet", query_id=["1"], doc_id=["7"], relevance=[1])
    write_table(tmp_path / f"{table}.parquet", **columns)
    with pytest.raises(DataError, match=message):
        read_collections("parquet", tmp_path)


@pytest.mark.parametrize("name", ["queries", "corpus"])
def test_a_column_that_stands_twice_and_text_that_is_no_unicode_are_told(name, tmp_path):
    columns = {"queries": {"query_id": ["1"], "text": ["x"]}, "corpus": {"doc_id": ["8"], "text": ["z"]}}
    for table, values in columns.items():
        write_table(tmp_path / f"{table}.parquet", **values)
    write_table(tmp_path / "qrels.parquet", query_id=["1"], doc_id=["8"], relevance=[1])
    good = pq.read_table(tmp_path / f"{name}.parquet")
    pq.write_table(pa.table([*good.columns, good["text"]], names=[*good.column_names, "text"]), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=f"{name}.parquet: has more than one column text"):
        list(all_texts(read_collections("parquet", tmp_path)[0].documents))
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.array([0, 1], pa.int32()).buffers()[1], pa.py_buffer(b"\xff")])
    pq.write_table(pa.table([good.columns[0], bad], names=good.column_names), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=f"{name}.parquet: cannot be read as Parquet .*utf-8"):
        list(all_texts(read_collections("parquet", tmp_path)[0].documents))


def test_a_grade_beyond_any_scale_is_refused(tmp_path):
    write_table(tmp_path / "queries.parquet", query_id=["1"], text=["x"])
    write_table(tmp_path / "corpus.parquet", doc_id=["8"], text=["z"])
    write_table(tmp_path / "qrels.parquet", query_id=["1"], doc_id=["8"], relevance=[2**40])
    with pytest.raises(DataError, match="row 1: the grade 1099511627776 is no relevance"):
        read_collections("parquet", tmp_path)
