"""What a break-it session found: damage that was taken for data, and inputs that ended in a traceback."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optical_ray.artifacts import Store
from optical_ray.data.building import pipeline
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus_config import CorpusConfig
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


def test_an_arrow_stream_behind_another_is_not_passed_over_in_silence(tmp_path):
    path, table = tmp_path / "en-sw.arrow", pa.table({"english": ENGLISH, "text": FOREIGN})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match=r"en-sw.arrow, after row 8: .*bytes stand behind the end of the stream"):
        read(path)


def test_an_arrow_stream_of_the_time_before_its_end_mark_was_longer_is_whole(tmp_path):
    path, table = tmp_path / "en-sw.arrow", pa.table({"english": ENGLISH, "text": FOREIGN})
    old = pa.ipc.IpcWriteOptions(use_legacy_format=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema, options=old) as writer:
        writer.write_table(table)
    assert read(path)[0] == 8


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
    table = pa.Table.from_arrays([pa.array(ENGLISH), pa.array(FOREIGN), pa.array(range(8))], names=["english", "text", "text"])
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


@pytest.mark.parametrize("name", ["a.en-sw.tsv", "a.en-sw.jsonl", "a.en-sw.tmx"])
@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz", ".bz2"])
def test_a_packed_file_of_no_bytes_is_damaged(tmp_path, name, suffix):
    (tmp_path / f"{name}{suffix}").touch()
    with pytest.raises(DataError, match=r"damaged or cut short \(nothing is packed in it\)"):
        read(tmp_path / f"{name}{suffix}")


def test_two_objects_in_a_line_are_an_error_though_the_lines_are_as_many_as_the_objects(tmp_path):
    path, row = tmp_path / "a.en-sw.jsonl", '{"english": "one } { two", "text": "mto"}'
    path.write_text(f"{row}\n{row} {row}\n \t\n")
    with pytest.raises(DataError, match="line 2: not JSON"):
        read(path)
    rows, tally = read(path, "skip")
    assert (rows, tally.bad) == (1, {"broken JSON": 2})


def test_a_key_that_is_half_of_a_surrogate_pair_is_shown_as_it_is_written(tmp_path):
    path = tmp_path / "a.en-sw.jsonl"
    path.write_text('{"english": "one", "text": "two", "in": {"\\ud800": 1}}\n{"\\ud800": "x"}\n')
    with pytest.raises(DataError, match=r"line 2: no key 'english'; it has \\ud800"):
        read(path)
    [chunk] = plan_chunks([str(path)]).chunks
    assert chunk["layout"]["names"] == ["english", "text", "in.\\ud800"]


def test_names_that_are_not_utf_8_are_refused_before_anything_is_read(tmp_path):
    (tmp_path / os.fsdecode(b"fo\xff")).mkdir()
    path = tmp_path / os.fsdecode(b"fo\xff") / "a.en-sw.tsv"
    path.write_text("one\ttwo\n")
    with pytest.raises(DataError, match=r"fo\\xff/a.en-sw.tsv: its name is not UTF-8"):
        find_sources([str(tmp_path)])
    for source in (str(path), f"{tmp_path},name=\udcff"):
        with pytest.raises(ConfigError, match=r"\\xff.*: is not UTF-8"):
            find_sources([source])


@pytest.mark.parametrize("uri", ["file://host/a.tsv", "file:///tmp/%zz", "file://"])
def test_a_file_uri_that_names_no_local_file_is_one_line(uri):
    with pytest.raises(DataError, match=f"^{uri}: no URI of a local file .*write file:///PATH"):
        find_sources([uri])


def test_a_file_that_the_system_makes_up_is_refused():
    with pytest.raises(DataError, match="is made up by the system as it is read"):
        find_sources(["/proc/self/status,format=tsv,lang=sw"])


@pytest.mark.parametrize("names", [["a.en-sw.tsv", "a.en-sw.tsv.gz"], ["a.en", "a.en.gz", "a.sw"], ["a.en", "a.sw", "a.sw.gz"]])
def test_a_file_that_lies_packed_beside_itself_is_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="the same file packed otherwise lies beside it .*keep one of the two"):
        find_sources([str(tmp_path)])


def test_a_half_without_its_english_among_pairs_is_skipped_aloud(tmp_path):
    for name in ("a.en", "a.sw", "b.ha", "run.sh"):
        (tmp_path / name).write_text("one two three\n")
    assert plan_chunks([str(tmp_path)]).skipped == {"ha": "no English half beside b.ha"}


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


def test_a_killed_build_does_not_go_on_with_rows_of_a_file_that_changed_and_changed_back(tmp_path, config):
    file, store = tmp_path / "src" / "a.en-sw.tsv", Store(tmp_path / "store")
    before = file.read_text()

    def write_then_die(function, tasks):
        file.write_text(before.replace("today", "wide"))
        list(map(function, tasks))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(store, config, write_then_die, folder=tmp_path / "out")
    file.write_text(before)
    corpus = build_corpus(store, config, folder=tmp_path / "out")
    assert not any("wide" in row["english"] for row in corpus.english().to_pylist())


def test_a_data_set_of_the_hub_is_built_from_files_that_did_not_change(tmp_path, config, monkeypatch):
    table = pa.table({"en": ENGLISH, "sw": FOREIGN})
    with pa.OSFile(str(tmp_path / "cache.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    rows = SimpleNamespace(cache_files=[{"filename": str(tmp_path / "cache.arrow")}], info=SimpleNamespace(license=None))
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *_, **__: {"train": rows}))
    corpus = build_corpus(Store(tmp_path / "store"), config.override({"sources": ["hf:a/b"]}))
    assert corpus.num_english == 8


def test_a_corpus_built_among_its_sources_is_no_source(tmp_path, config):
    store, inside = Store(tmp_path / "store"), tmp_path / "src" / "corpus"
    first = build_corpus(store, config, folder=inside)
    assert build_corpus(store, config, folder=inside).fingerprint == first.fingerprint
    with pytest.raises(DataError, match="is a corpus, not a source of one"):
        find_sources([str(inside)])
