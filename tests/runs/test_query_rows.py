"""queries.parquet of today and of earlier days."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optical_ray.errors import RunFolderError
from optical_ray.runs.query_rows import ROWS, YOUNGER, read_query_rows
from optical_ray.runs.schemas import QUERIES

ROW = {
    "system": "student", "task": "bitext", "collection": "sw-en", "split": "test", "scorer": "maxsim", "query_language": "sw",
    "document_language": "en", "query_id": "q", "relevant_id": "e", "rank": 1, "num_relevant": 1, "num_candidates": 300, "AP": 1.0,
    "AP@20": 1.0, "nDCG@10": 1.0, "R@100": 1.0, "asked": 7, "among": 9,
    "top_candidate_id": "e",
}  # fmt: skip


def write(path, *changes, without=()):
    table = pa.Table.from_pylist([ROW | change for change in changes], schema=QUERIES)
    pq.write_table(table.drop_columns(list(without)), path)
    return path


def test_rows_are_read_as_they_were_written(tmp_path):
    found = read_query_rows(write(tmp_path / "queries.parquet", {}, {"rank": None, "R@100": None}))
    assert found.schema.equals(ROWS)
    expected = {name: value for name, value in ROW.items() if name != "top_candidate_id"}
    assert found.to_pylist() == [expected, expected | {"rank": None, "R@100": None}]


def test_a_file_of_earlier_days_gets_what_follows_from_the_rest(tmp_path):
    changes = [{"rank": 100}, {"rank": 101}, {"rank": None}, {"rank": 3, "num_relevant": 2, "query_language": "ha"}]
    found = read_query_rows(write(tmp_path / "queries.parquet", *changes, without=YOUNGER))
    assert found.schema.equals(ROWS)
    assert found["collection"].to_pylist() == ["sw-en", "sw-en", "sw-en", "ha-en"]
    assert found["R@100"].to_pylist() == [1.0, 0.0, 0.0, None]
    assert found["asked"].to_pylist() == found["among"].to_pylist() == [None] * 4


def test_what_cannot_be_read_is_one_clear_line(tmp_path):
    with pytest.raises(RunFolderError, match=r"queries\.parquet: no column rank, AP"):
        read_query_rows(write(tmp_path / "queries.parquet", {}, without=("rank", "AP")))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(RunFolderError, match=r"broken\.parquet: cannot be read"):
        read_query_rows(tmp_path / "broken.parquet")
    table = pa.Table.from_pylist([ROW], schema=QUERIES)
    wrong = table.set_column(table.column_names.index("rank"), "rank", pa.array(["first"]))
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    with pytest.raises(RunFolderError, match=r"wrong\.parquet: cannot be read"):
        read_query_rows(tmp_path / "wrong.parquet")
