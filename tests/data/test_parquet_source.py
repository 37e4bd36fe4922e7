"""Reading a folder of Parquet bitext."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optical_ray.data.catalogs import RawRow
from optical_ray.data.parquet_source import list_language_files, read_bitext
from optical_ray.errors import DataError


def test_a_folder_is_read_although_lang_is_both_a_column_and_a_key_of_the_path(bitext, tmp_path):
    folder = bitext(tmp_path / "mine", {"swa": [("One", "Moja"), ("Two", None)], "hin": [("One", "एक")]})
    files = list_language_files(folder)
    assert list(files) == ["hin", "swa"]
    with pytest.raises(pa.ArrowException):
        pq.read_table(folder)  # the trap: column string, key dictionary
    assert list(read_bitext(files["swa"][0], "mine")) == [RawRow("One", "Moja", "mine"), RawRow("Two", "", "mine")]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_string_column_is_read(tmp_path, kind):
    columns = {name: pa.array([name, "é", name]).cast(kind) for name in ("english", "text")}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=2)
    assert [row.english for row in read_bitext(tmp_path / "a.parquet", "a")] == ["english", "é", "english"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), "no lang=<code> folders in it"),
        (lambda path: path.write_text("a file"), "no such folder"),
        (lambda path: (path / "lang=sw").mkdir(parents=True), "lang=sw: no .parquet file in it"),
    ],
)
def test_a_folder_without_bitext_is_refused_with_what_was_expected(tmp_path, make, message):
    make(tmp_path / "mine")
    with pytest.raises(DataError, match=message) as refused:
        list_language_files(tmp_path / "mine")
    assert str(tmp_path / "mine") in str(refused.value)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"english": ["a"], "foreign": ["b"]}, "no column 'text'; it has english, foreign"),
        ({"source_text": ["a"]}, "no column 'english'; it has source_text"),
        ({"english": ["a"], "text": [1]}, "column 'text' is int64, expected strings"),
    ],
)
def test_a_wrong_column_is_named_with_its_file(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=message) as refused:
        list(read_bitext(tmp_path / "a.parquet", "a"))
    assert str(refused.value).startswith(f"{tmp_path / 'a.parquet'}: ")


def test_an_empty_or_broken_file_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.parquet: 0 bytes"):
        list(read_bitext(path, "a"))
    path.write_bytes(b"PAR1 and then nothing of use")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable Parquet file") as refused:
        list(read_bitext(path, "a"))
    assert "\n" not in str(refused.value)


def test_a_corrupt_row_group_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [f"word {i * 7919 % 1000}" for i in range(400)]
    pq.write_table(pa.table({"english": texts, "text": texts}), path, row_group_size=200, compression="zstd", use_dictionary=False)
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[start + 40 : start + 120] = b"\xff" * 80
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet, row group 1: cannot be read") as refused:
        list(read_bitext(path, "a"))
    assert "\n" not in str(refused.value)


def test_a_string_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    bad = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"], pa.binary()).buffers())
    pq.write_table(pa.table({"english": pa.array(["a"]), "text": bad}), path)
    with pytest.raises(DataError, match="row group 0: cannot be read"):
        list(read_bitext(path, "a"))
