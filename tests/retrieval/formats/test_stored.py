import gzip
import pickle
import tracemalloc

import pytest
from retrieval.formats.released import write_jsonl, write_table, write_text

from optical_ray.errors import DataError
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS
from optical_ray.retrieval.formats.documents import InMemoryDocuments
from optical_ray.retrieval.formats.records import LineFiles, ParquetFiles
from optical_ray.retrieval.formats.skips import DUPLICATE_DOCUMENT, EMPTY_DOCUMENT, Skips
from optical_ray.retrieval.formats.stored import StoredOpener, open_documents
from optical_ray.retrieval.formats.tab_lines import JsonDocument, TabDocument
from optical_ray.retrieval.formats.tables import RowParser
from optical_ray.retrieval.formats.trec import TaggedDocument, cut_tagged

COUNT = BLOCK_DOCUMENTS + 5
IDS = [f"d{i}" for i in range(COUNT)]
TEXTS = [f"téxt {i} 文" for i in range(COUNT)]
MEMORY = InMemoryDocuments(IDS, ["sw"] * COUNT, TEXTS)
ROWS = [{"_id": i, "title": "", "text": t} for i, t in zip(IDS, TEXTS, strict=True)]


def lines(folder):
    return LineFiles((write_text(folder / "c.tsv", *(f"{i}\t{t}" for i, t in zip(IDS, TEXTS, strict=True))),), TabDocument("sw"))


def packed(folder):
    path = write_jsonl(folder / "c.jsonl", *ROWS)
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(path.read_bytes()))
    return LineFiles((folder / "c.jsonl.gz",), JsonDocument("sw"))


def several(folder):
    first, second = write_jsonl(folder / "1.jsonl", *ROWS[:3000]), write_jsonl(folder / "2.jsonl", *ROWS[3000:])
    return LineFiles((first, second), JsonDocument("sw"))


def tagged(folder):
    text = "".join(f"<DOC>\n<DOCNO> {i} </DOCNO>\n<TEXT>\n{t}\n</TEXT>\n</DOC>\n" for i, t in zip(IDS, TEXTS, strict=True))
    return LineFiles((write_text(folder / "c.trec", text),), TaggedDocument("sw"), cut_tagged, "document")


def parquet(folder):
    parser = RowParser("doc_id", ("text", None), lambda text, _: text, None, "sw")
    first = write_table(folder / "1.parquet", doc_id=IDS[:3000], text=TEXTS[:3000])
    return ParquetFiles((first, write_table(folder / "2.parquet", doc_id=IDS[3000:], text=TEXTS[3000:])), ("doc_id", "text"), parser)


@pytest.mark.parametrize("make", [lines, packed, several, tagged, parquet])
def test_what_is_stored_reads_like_what_is_in_memory(tmp_path, make):
    stored = open_documents(make(tmp_path), Skips())
    assert len(stored) == COUNT and stored.languages == ("sw",) and stored.fingerprint == MEMORY.fingerprint
    for start, stop in [(0, None), (1, 2), (2, None), (1, 9), (0, 0), (5, None)]:
        read, expected = ([(b.ids, b.languages, b.passages, b.owner.tolist()) for b in d.blocks(start, stop)] for d in (stored, MEMORY))
        assert read == expected
    wanted = frozenset({"d4100", "d4096", "nothing"})
    assert stored.places(wanted) == MEMORY.places(wanted) == {"d4100": 4100, "d4096": 4096}


def test_it_travels_without_its_texts(tmp_path):
    stored = open_documents(lines(tmp_path), Skips())
    sent = pickle.dumps(stored)
    assert len(sent) < 25 * COUNT and "téxt".encode() not in sent
    assert [block.ids for block in pickle.loads(sent).blocks()] == [block.ids for block in stored.blocks()]


def test_reading_it_holds_one_block_at_a_time(tmp_path):
    text = "x" * 1000
    path = write_text(tmp_path / "c.tsv", *(f"d{i}\t{text}" for i in range(3 * BLOCK_DOCUMENTS)))
    tracemalloc.start()
    stored = open_documents(LineFiles((path,), TabDocument("en")), Skips())
    for _ in stored.blocks():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2.5 * BLOCK_DOCUMENTS * len(text) < path.stat().st_size


def test_bad_documents_end_the_reading_or_are_left_out_and_counted(tmp_path):
    path = write_text(tmp_path / "c.tsv", "a\tone", "b\t  ", "", "c\ttwo", "a\tthree", "a\tfour", "d\tfive")
    files = LineFiles((path,), TabDocument("en"))
    with pytest.raises(DataError, match=r"c\.tsv, line 2: document 'b' has no text; take it out, or leave such out and count them"):
        open_documents(files, Skips())
    skips = Skips("skip")
    stored = open_documents(files, skips)
    assert skips.counts == {EMPTY_DOCUMENT: 1, DUPLICATE_DOCUMENT: 2}
    [block] = stored.blocks()
    assert block.ids == ("a", "c", "d") and block.passages == ("one", "two", "five") and stored.languages == ("en",)
    alone = LineFiles((write_text(tmp_path / "d.tsv", "a\tone", "", "a\tthree"),), TabDocument("en"))
    with pytest.raises(DataError, match=r"d\.tsv, line 3: document id 'a' again"):
        open_documents(alone, Skips())
    assert stored.fingerprint != open_documents(alone, Skips("skip")).fingerprint


def test_a_limit_keeps_the_first_and_those_that_are_wanted(tmp_path):
    opener = StoredOpener(lines(tmp_path), 3)
    [block] = opener.open(frozenset({"d4000", "d1"}), Skips()).blocks()
    assert block.ids == ("d0", "d1", "d2", "d4000") and block.passages[3] == TEXTS[4000]


def test_without_a_limit_files_are_opened_once(tmp_path):
    opener = StoredOpener(LineFiles((write_text(tmp_path / "c.tsv", "a\tone", "b\t"),), TabDocument("en")), None)
    first, second = Skips("skip"), Skips("skip")
    assert opener.open(frozenset(), first) is opener.open(frozenset("z"), second)
    assert first.counts == second.counts == {EMPTY_DOCUMENT: 1}


def test_a_file_that_changed_is_told(tmp_path):
    files = lines(tmp_path)
    stored = open_documents(files, Skips())
    write_text(tmp_path / "c.tsv", *(f"other{i}\t{t}" for i, t in enumerate(TEXTS)))
    with pytest.raises(DataError, match=r"c\.tsv: changed since it was opened"):
        list(stored.blocks())
    write_text(tmp_path / "c.tsv", "d0\tone")
    with pytest.raises(DataError, match="changed since"):
        list(stored.blocks(1))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "no document in it"),
        (lambda path: path.write_bytes(b"d0\tx\xff\n"), r"line 1: byte 5 is 0xff, not utf-8"),
        (lambda path: path.write_bytes(b"d0\tx\nd1\tx\0y\n"), r"line 2: holds a NUL byte"),
        (lambda path: path.write_bytes(b"d0\tx\ty\n"), r"line 1: 3 columns, expected 2"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
)
def test_damage_is_named_in_one_line(tmp_path, damage, message):
    files = lines(tmp_path)
    damage(tmp_path / "c.tsv")
    with pytest.raises(DataError, match=message) as told:
        open_documents(files, Skips())
    assert "\n" not in str(told.value)


def test_a_packed_file_that_breaks_off_is_told(tmp_path):
    files = packed(tmp_path)
    whole = (tmp_path / "c.jsonl.gz").read_bytes()
    (tmp_path / "c.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="compression breaks off"):
        open_documents(files, Skips("skip"))


def test_a_table_that_is_none_is_told(tmp_path):
    files = parquet(tmp_path)
    (tmp_path / "2.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"2\.parquet: cannot be read as Parquet"):
        open_documents(files, Skips())


def test_a_document_without_its_end_is_told(tmp_path):
    path = write_text(
        tmp_path / "c.trec", "<DOC>", "<DOCNO>a</DOCNO>", "<TEXT>one</TEXT>", "</DOC>", "<DOC>", "<DOCNO>b</DOCNO>", "<TEXT>two"
    )
    with pytest.raises(DataError, match=r"c\.trec, document 2: document 'b' has no </DOC>"):
        open_documents(LineFiles((path,), TaggedDocument("en"), cut_tagged, "document"), Skips())
