"""What a break-it session found: damage that was taken for data, and inputs that ended in a traceback."""

import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optical_ray.artifacts import Store
from optical_ray.data.building import pipeline
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus import CorpusConfig
from optical_ray.data.reading import Tally, find_sources, plan_chunks, read_chunk
from optical_ray.data.reading.rows import as_strings
from optical_ray.errors import ConfigError, DataError

ENGLISH = [f"the {word} river is long today" for word in ["one", "two", "three", "four", "five", "six", "seven", "eight"]]
FOREIGN = [f"mto wa {number} ni mrefu leo sana" for number in range(8)]


def read(source, on_bad_row="refuse"):
    plan = plan_chunks([str(source)], on_bad_row=on_bad_row)
    tally = Tally()
    return sum(len(batch.text) for chunk in plan.chunks for batch in read_chunk(chunk, on_bad_row, tally)), tally


@pytest.mark.parametrize(("kind", "width"), [(pa.string(), np.int32), (pa.large_string(), np.int64)])
@pytest.mark.parametrize("offset", [0x7FFFFFFF, -5])
def test_strings_that_lie_outside_of_their_column_are_damage(kind, width, offset):
    whole = pa.array(["one", "two", "three"], kind)
    offsets = np.frombuffer(whole.buffers()[1], width).copy()
    offsets[2] = offset
    broken = pa.Array.from_buffers(kind, 3, [None, pa.py_buffer(offsets), whole.buffers()[2]])
    with pytest.raises(pa.ArrowInvalid, match="Offset invariant"):
        as_strings(broken)
    assert as_strings(whole)[0].to_pylist() == ["one", "two", "three"]


def test_an_arrow_stream_that_stops_between_two_batches_is_cut_short(tmp_path):
    path = tmp_path / "en-sw.arrow"
    table = pa.table({"english": ENGLISH, "text": FOREIGN})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    assert read(path)[0] == 8
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DataError, match=r"en-sw.arrow, after row 8: damaged or cut short \(the mark at the end"):
        read(path)
    rows, tally = read(path, "skip")
    assert (rows, tally.bad.total()) == (8, 1)


def test_a_page_whose_checksum_is_wrong_is_a_corrupt_row_group(tmp_path):
    path = tmp_path / "en-sw.parquet"
    pq.write_table(
        pa.table({"english": ENGLISH, "text": FOREIGN}), path, write_page_checksum=True, compression="none", use_dictionary=False
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b"mto wa 5", b"mto wa 6"))
    with pytest.raises(DataError, match="row group 0: cannot be read"):
        read(path)


@pytest.mark.parametrize("name", ["a.en-sw.tsv", "a.en-sw.csv"])
def test_two_columns_of_one_name_are_refused(tmp_path, name):
    separator = "," if name.endswith("csv") else "\t"
    (tmp_path / name).write_text(f"{separator.join(['english', 'text', 'text'])}\n{separator.join('abc')}\n")
    with pytest.raises(DataError, match="two columns are called 'text'; rename one"):
        read(tmp_path / name)
    table = pa.Table.from_arrays([pa.array(ENGLISH), pa.array(FOREIGN), pa.array(FOREIGN)], names=["english", "text", "text"])
    pq.write_table(table, tmp_path / "en-sw.parquet")
    with pytest.raises(DataError, match="two columns are called 'text'; rename one"):
        read(tmp_path / "en-sw.parquet")


@pytest.mark.parametrize("encoding", ["GB2312", "KLINGON", "hex", "utf-7"])
def test_a_tmx_in_an_encoding_that_cannot_be_read_is_one_line(tmp_path, encoding):
    (tmp_path / "a.tmx").write_text(f'<?xml version="1.0" encoding="{encoding}"?><tmx version="1.4"><body/></tmx>')
    with pytest.raises(DataError, match="a.tmx: its XML encoding cannot be read .*convert it to UTF-8"):
        read(tmp_path / "a.tmx")


def test_what_is_no_regular_file_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "a.en-sw.tsv")
    with pytest.raises(DataError, match="is a pipe, expected a file"):
        find_sources([str(tmp_path / "a.en-sw.tsv")])
    with pytest.raises(DataError, match="is a device, expected a file"):
        find_sources(["/dev/zero,format=tsv,lang=sw"])


def test_lang_english_is_refused_where_it_names_the_foreign_side(tmp_path):
    (tmp_path / "a.tsv").write_text("one\ttwo\n")
    with pytest.raises(ConfigError, match="lang=eng_Latn is English; lang= names the foreign side"):
        find_sources([f"{tmp_path / 'a.tsv'},lang=eng_Latn"])


def test_a_long_field_of_csv_is_read(tmp_path):
    (tmp_path / "a.en-sw.csv").write_text(f"{'x' * 200_000},mto\n")
    assert read(tmp_path / "a.en-sw.csv")[0] == 1


@pytest.fixture
def config(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.en-sw.tsv").write_text("".join(f"{e}\t{t}\n" for e, t in zip(ENGLISH, FOREIGN, strict=True)))
    return CorpusConfig(sources=(str(tmp_path / "src"),)).override({"min_pairs": 1, "cleaning.near_duplicates": "off"})


def test_a_source_that_changes_while_it_is_read_is_refused_and_nothing_of_it_is_kept(tmp_path, config, monkeypatch):
    file, whole = tmp_path / "src" / "a.en-sw.tsv", pipeline.plan_chunks

    def plan_then_write(*arguments, **options):
        plan = whole(*arguments, **options)
        file.write_text("".join(f"{e} and wide\t{t}\n" for e, t in zip(ENGLISH, FOREIGN, strict=True)))
        return plan

    before = file.read_text()
    monkeypatch.setattr(pipeline, "plan_chunks", plan_then_write)
    with pytest.raises(DataError, match=r"a.en-sw.tsv: was changed while it was read"):
        build_corpus(Store(tmp_path / "store"), config, folder=tmp_path / "out")
    monkeypatch.setattr(pipeline, "plan_chunks", whole)
    file.write_text(before)
    corpus = build_corpus(Store(tmp_path / "store"), config, folder=tmp_path / "out")
    assert not any("wide" in row["english"] for row in corpus.english().to_pylist())


def test_a_corpus_built_among_its_sources_is_no_source(tmp_path, config):
    store, inside = Store(tmp_path / "store"), tmp_path / "src" / "corpus"
    first = build_corpus(store, config, folder=inside)
    assert build_corpus(store, config, folder=inside).fingerprint == first.fingerprint
    with pytest.raises(DataError, match="is a corpus, not a source of one"):
        find_sources([str(inside)])
