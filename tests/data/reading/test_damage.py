"""Bad input: one line that names file and place; with `skip`, counted, and the rest is read."""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from data.reading.writers import PACK, csv_bytes, jsonl, moses, pairs_of, parquet, read, save_to_disk, tmx, tsv

from optical_ray.data.reading import lines as lines_module
from optical_ray.errors import DataError

MANY = [(f"sentence number {number}", f"sentensi namba {number * 7919 % 10007}") for number in range(4000)]


def refused(*arguments: object, **options: object) -> str:
    """The one line that refuses."""
    with pytest.raises(DataError) as caught:
        read(*arguments, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def incompressible() -> list[tuple[str, str]]:
    """Rows that hardly pack, so that half of the packed bytes is about half of the rows; three blocks of bzip2."""
    draw = random.Random(0)
    return [(draw.randbytes(40).hex(), str(number)) for number in range(30000)]


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz", ".bz2"])
def test_a_packed_file_that_was_cut_is_named_and_skip_gives_the_rows_before(suffix, incompressible, tmp_path):
    path = tmp_path / f"sw.tsv{suffix}"
    data = PACK[suffix](tsv(incompressible))
    path.write_bytes(data[: len(data) // 2])
    message = refused(path)
    assert str(path) in message and "damaged or cut short" in message and "copy or pack the file again" in message
    batches, tally = read(path, on_bad_row="skip")
    found = pairs_of(batches)
    assert found == incompressible[: len(found)]
    assert len(found) > (10000 if suffix == ".bz2" else 13000)
    assert tally.bad == {"damaged file": 1}
    assert f"line {len(found)} was the last whole one" in tally.examples[0]


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".xz", ".bz2"])
def test_bytes_changed_inside_a_packed_file_never_pass(suffix, incompressible, tmp_path):
    path = tmp_path / f"sw.tsv{suffix}"
    data = bytearray(PACK[suffix](tsv(incompressible)))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    assert str(path) in refused(path)
    assert read(path, on_bad_row="skip")[1].bad.total() > 0


def test_a_file_that_is_not_packed_at_all_is_damaged_and_not_empty(tmp_path):
    (tmp_path / "sw.tsv.gz").write_bytes(b"a\tb\n")
    assert "damaged or cut short" in refused(tmp_path / "sw.tsv.gz")
    assert read(tmp_path / "sw.tsv.gz", on_bad_row="skip")[1].bad == {"damaged file": 1}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_unequal_moses_halves_are_refused_with_both_counts(suffix, tmp_path):
    moses(tmp_path, MANY[:5], suffix=suffix)
    (tmp_path / f"news.sw{suffix}").write_bytes(PACK[suffix]("".join(f"{text}\n" for _, text in MANY[:3]).encode()))
    message = refused(tmp_path)
    assert f"news.sw{suffix}: 3 lines" in message and f"news.en{suffix} has 5" in message
    batches, tally = read(tmp_path, on_bad_row="skip")
    assert pairs_of(batches) == []
    assert tally.bad == {"unequal halves": 5}


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_line_missing_in_the_middle_of_a_half_never_gives_pairs_that_are_none(suffix, tmp_path):
    moses(tmp_path / "news", MANY, suffix=suffix)
    texts = [text for _, text in MANY]
    (tmp_path / "news" / f"news.sw{suffix}").write_bytes(PACK[suffix]("".join(f"{text}\n" for text in texts[:2] + texts[3:]).encode()))
    moses(tmp_path / "whole", MANY[:4], suffix=suffix)
    assert "pass --on-bad-row=skip to drop and count such pairs of files" in refused(tmp_path / "news")
    batches, tally = read(tmp_path / "news", tmp_path / "whole", on_bad_row="skip")
    assert pairs_of(batches) == MANY[:4]
    assert tally.bad == {"unequal halves": len(MANY)}


def test_of_a_packed_half_that_is_cut_short_the_pairs_before_the_cut_are_read(tmp_path):
    moses(tmp_path, MANY, suffix=".gz")
    path = tmp_path / "news.sw.gz"
    path.write_bytes(path.read_bytes()[:-12])
    assert "cut short" in refused(tmp_path)
    batches, tally = read(tmp_path, on_bad_row="skip")
    found = pairs_of(batches)
    assert found == MANY[: len(found)]
    assert tally.bad["damaged file"] == 1 and len(found) + tally.bad["unequal halves"] == len(MANY)


def test_a_parquet_file_without_its_end_is_skipped_where_that_is_asked_for(tmp_path):
    path = parquet(tmp_path / "ha.parquet", {"english": [e for e, _ in MANY], "text": [t for _, t in MANY]})
    path.write_bytes(path.read_bytes()[:-20])
    (tmp_path / "sw.tsv").write_text("".join(f"{english}\t{text}\n" for english, text in MANY[:2]))
    assert "not a readable Parquet file" in refused(path)
    batches, tally = read(tmp_path, on_bad_row="skip")
    assert pairs_of(batches) == MANY[:2]
    assert tally.bad == {"damaged file": 1} and "ha.parquet" in tally.examples[0]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("sw.tsv", b"a\tb\nc\t\xffd\ne\tf\n"),
        ("sw.csv", b"a,b\nc,\xffd\ne,f\n"),
        ("sw.jsonl", b'{"en":"a","text":"b"}\n{"en":"c","text":"\xffd"}\n{"en":"e","text":"f"}\n'),
    ],
)
def test_bytes_that_are_not_utf_8_are_named_by_line_and_byte(name, data, tmp_path):
    (tmp_path / name).write_bytes(data)
    byte = data.split(b"\n")[1].index(b"\xff") + 1
    assert f"{name}, line 2: byte {byte} is 0xff, not UTF-8" in refused(tmp_path / name)
    batches, tally = read(tmp_path / name, on_bad_row="skip")
    assert pairs_of(batches) == [("a", "b"), ("e", "f")]
    assert tally.bad == {"not UTF-8": 1}


def test_a_moses_line_that_is_bad_in_both_halves_is_one_bad_row(tmp_path):
    (tmp_path / "n.en").write_bytes(b"a\n\xff\nc\n")
    (tmp_path / "n.sw").write_bytes(b"x\n\xfe\nz\n")
    assert "n.en, line 2: byte 1 is 0xff" in refused(tmp_path / "n.en")
    batches, tally = read(tmp_path / "n.en", on_bad_row="skip")
    assert pairs_of(batches) == [("a", "x"), ("c", "z")]
    assert tally.bad == {"not UTF-8": 1}


GOOD = {"en": MANY[0][0], "text": MANY[0][1]}, {"en": MANY[1][0], "text": MANY[1][1]}

BROKEN_ROWS: list[tuple[str, bytes, str, str]] = [
    ("sw.tsv", b"one column\n", "line 2: 1 column, expected 2 (english<TAB>text)", "number of columns"),
    ("sw.csv", b"a,b,c\n", "line 2: 3 columns, expected 2", "number of columns"),
    ("sw.csv", b'a,"b"c\n', "line 2: not CSV", "broken quotes"),
    ("sw.jsonl", b'{"en": \n', "line 2: not JSON", "broken JSON"),
    ("sw.jsonl", b'{"en": "x"}\n', "line 2: no key 'text'; it has en", "missing key"),
    ("sw.jsonl", b"[1]\n", "line 2: no key 'en'; it is a list, expected an object", "missing key"),
    ("sw.jsonl", b'{"en": "x", "text": 3}\n', "line 2: 'text' is int", "not a string"),
    ("sw.jsonl", b'{"en": "a", "text": "\\ud800"}\n', "line 2: 'text' holds half of a surrogate pair", "broken JSON"),
    ("sw.jsonl", b'{"en": "a", "text": "b"} {"en": "c", "text": "d"}\n', "line 2: not JSON", "broken JSON"),
]


@pytest.mark.parametrize(("name", "line", "message", "kind"), BROKEN_ROWS)
def test_a_broken_row_is_named_by_its_line_and_the_rest_can_be_read(name, line, message, kind, tmp_path):
    write = {"sw.tsv": lambda row: tsv(MANY[row : row + 1]), "sw.csv": lambda row: csv_bytes(MANY[row : row + 1])}
    before, after = (write.get(name, lambda row: jsonl([GOOD[row]]))(row) for row in (0, 1))
    (tmp_path / name).write_bytes(before + line + after)
    error = refused(tmp_path / name)
    assert f"{name}, {message}" in error and "--on-bad-row=skip" in error
    batches, tally = read(tmp_path / name, on_bad_row="skip")
    assert pairs_of(batches) == MANY[:2]
    assert tally.bad == {kind: 1} and tally.read == 2 and message in tally.examples[0]


@pytest.mark.parametrize(
    ("unit", "message", "kind"),
    [
        (b'<tu><tuv xml:lang="fr"><seg>x</seg></tuv></tu>', "no English segment (languages: fr)", "no English segment"),
        (b'<tu><tuv xml:lang="en"><seg>x</seg></tuv><tuv><seg>y</seg></tuv></tu>', "a segment without xml:lang", "no language"),
    ],
)
def test_a_unit_without_english_or_without_a_language_is_named_by_its_line(unit, message, kind, tmp_path):
    units = [[("en", english), ("sw", text)] for english, text in MANY[:2]]
    (tmp_path / "a.tmx").write_bytes(tmx(units).replace(b"</body>", unit + b"</body>"))
    place = tmx(units).splitlines().index(b"</body></tmx>") + 1
    assert f"a.tmx, unit at line {place}: {message}" in refused(tmp_path / "a.tmx")
    batches, tally = read(tmp_path / "a.tmx", on_bad_row="skip")
    assert pairs_of(batches) == MANY[:2] and tally.bad == {kind: 1}


@pytest.mark.parametrize("line", [b"\xff\tx\n", b"\xff\n"])
def test_damage_in_the_first_line_can_be_skipped_too(line, tmp_path):
    (tmp_path / "sw.tsv").write_bytes(line + tsv(MANY[:2]))
    assert "sw.tsv, line 1: byte 1 is 0xff, not UTF-8" in refused(tmp_path / "sw.tsv")
    assert pairs_of(read(tmp_path / "sw.tsv", on_bad_row="skip")[0]) == MANY[:2]


def test_a_quote_that_never_closes_costs_its_rows_and_not_the_memory(tmp_path):
    (tmp_path / "sw.csv").write_bytes(csv_bytes(MANY[:2]) + b'"open,x\n' + b"y,z\n")
    assert "line 4: not CSV" in refused(tmp_path / "sw.csv")
    assert pairs_of(read(tmp_path / "sw.csv", on_bad_row="skip")[0]) == MANY[:2]


def test_broken_xml_is_named_by_its_line_and_the_units_before_it_are_read(tmp_path):
    data = tmx([[("en", english), ("sw", text)] for english, text in MANY[:10]])
    (tmp_path / "a.tmx").write_bytes(data[: len(data) // 2])
    line = data[: len(data) // 2].count(b"\n") + 1
    assert f"a.tmx, line {line}: not XML here" in refused(tmp_path / "a.tmx")
    batches, tally = read(tmp_path / "a.tmx", on_bad_row="skip")
    assert pairs_of(batches) == MANY[: len(pairs_of(batches))] and len(pairs_of(batches)) >= 4
    assert tally.bad == {"broken XML": 1}


@pytest.mark.parametrize("on_bad_row", ["refuse", "skip"])
def test_entities_are_never_expanded(on_bad_row, tmp_path):
    bomb = '<!DOCTYPE tmx [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    (tmp_path / "a.tmx").write_text(f"<?xml version='1.0'?>\n{bomb}<tmx><body><tu><tuv lang='en'><seg>&b;</seg></tuv></tu></body></tmx>")
    assert "a.tmx, line 2: declares an XML entity" in refused(tmp_path / "a.tmx", on_bad_row=on_bad_row)


def test_an_empty_parquet_file_is_named(tmp_path):
    parquet(tmp_path / "lang=sw" / "part-1.parquet", {"english": ["a"], "text": ["b"]})
    (tmp_path / "lang=sw" / "part-0.parquet").touch()
    assert "part-0.parquet: 0 bytes, not a Parquet file" in refused(tmp_path)
    batches, tally = read(tmp_path, on_bad_row="skip")
    assert pairs_of(batches) == [("a", "b")] and tally.bad == {"empty file": 1}


def test_a_corrupt_row_group_is_named_and_the_others_are_read(tmp_path):
    columns = {"english": [english for english, _ in MANY], "text": [text for _, text in MANY]}
    path = parquet(tmp_path / "sw.parquet", columns, row_group_size=1000)
    data = bytearray(path.read_bytes())
    at = len(data) * 3 // 8  # in the second of four row groups
    data[at : at + 200] = bytes(200)
    path.write_bytes(data)
    assert "sw.parquet, row group 1: cannot be read" in refused(path)
    batches, tally = read(path, on_bad_row="skip")
    assert pairs_of(batches) == MANY[:1000] + MANY[2000:]
    assert tally.bad == {"corrupt row group": 1000}


def test_a_cut_arrow_file_gives_its_whole_batches(tmp_path):
    folder = save_to_disk(tmp_path, {"en": ["a", "b", "c", "d"], "sw": ["e", "f", "g", "h"]}, files=1)
    path = folder / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:-150])
    assert "data-00000-of-00001.arrow, after row 2: damaged or cut short" in refused(folder)
    assert pairs_of(read(folder, on_bad_row="skip")[0]) == [("a", "e"), ("b", "f")]
    path.unlink()
    assert "state.json: lists data-00000-of-00001.arrow, which is missing" in refused(folder)


def test_a_parquet_string_that_is_not_utf_8_is_named_by_its_row(tmp_path):
    text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff"]).buffers())
    path = parquet(tmp_path / "sw.parquet", {"english": ["a", "b"], "text": text})
    assert "sw.parquet, row group 0, row 2, column text: byte 1 is 0xff" in refused(path)
    assert pairs_of(read(path, on_bad_row="skip")[0]) == [("a", "ok")]


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"english": ["a"], "text": ["b"]}, ",text=swahili", "no column 'swahili' (text=); it has english, text"),
        ({"source": ["a"], "text": ["b"]}, "", "no column of English among source, text; looked for english, source_text"),
        ({"english": ["a"], "other": ["b"]}, "", "no column of foreign text among english, other; looked for text, target_text"),
        ({"english": ["a"], "text": [1]}, ",text=text", "column 'text' is int64, expected strings"),
        ({"english": ["a"], "text": ["b"]}, ",lang_column=l", "no column 'l' (lang_column=); it has english, text"),
        ({"english": ["a"], "text": ["b"]}, "", "data.parquet: of what language?"),
    ],
)
@pytest.mark.parametrize("on_bad_row", ["refuse", "skip"])
def test_a_wrong_column_is_a_mistake_of_the_call_that_nothing_skips(columns, options, message, on_bad_row, tmp_path):
    path = parquet(tmp_path / "data.parquet", columns)
    assert message in refused(f"{path}{options}", on_bad_row=on_bad_row)


@pytest.mark.parametrize("lang", ["source_lang", "src_lang"])
def test_rows_whose_source_side_is_another_language_are_no_bitext_with_english(lang, tmp_path):
    columns = {lang: ["eng_Latn", "fr", "en"], "source_text": ["a", "b", "c"], "target_text": ["x", "y", "z"]}
    path = parquet(tmp_path / "sw.parquet", columns)
    assert "sw.parquet, row group 0, row 2: the source side is 'fr', expected English" in refused(path)
    batches, tally = read(path, on_bad_row="skip")
    assert pairs_of(batches) == [("a", "x"), ("c", "z")] and tally.bad == {"source side not English": 1}


@pytest.mark.parametrize("folder", ["lang=klingonese", "lang=xx1"])
def test_a_folder_of_an_unknown_language_is_refused_or_skipped(folder, tmp_path):
    for name in (folder, "lang=sw", "lang=en"):
        parquet(tmp_path / name / "part-0.parquet", {"english": ["a"], "text": ["b"]})
    assert f"{folder}/part-0.parquet: '{folder[5:]}' is no language code" in refused(tmp_path)
    assert pairs_of(read(tmp_path, unknown_languages="skip")[0]) == [("a", "b")]


def test_a_row_of_an_unknown_language_is_refused_or_counted_and_english_always_is(tmp_path):
    (tmp_path / "all.tsv").write_text("english\ttext\tlang\na\tb\tsw\nc\td\txx1\ne\tf\ten\ng\th\tswh\ni\tj\t\n")
    assert "all.tsv, line 3: 'xx1' is no language code" in refused(tmp_path, on_bad_row="skip")
    batches, tally = read(tmp_path, on_bad_row="skip", unknown_languages="skip")
    assert [(batch.tag, batch.code, batch.first_row) for batch in batches] == [("sw", "sw", 0), ("sw", "swh", 1)]
    assert tally.skipped == {("xx1", "no language code"): 1, ("en", "English is the other side"): 1}
    assert tally.bad == {"no language": 1} and "line 6" in tally.examples[0]


def test_what_is_not_there_is_named_with_what_is(tmp_path):
    (tmp_path / "there").mkdir()
    assert f"no such file or folder; {tmp_path}/there is the nearest that exists" in refused(tmp_path / "there" / "not" / "here.tsv")
    assert "no file matches this pattern" in refused(f"{tmp_path}/*.tsv")
    (tmp_path / "there" / "notes.txt").write_text("x")
    assert "no bitext among its 1 files; looked for .tsv" in refused(tmp_path / "there")
    assert "its name says no format" in refused(tmp_path / "there" / "notes.txt")
    (tmp_path / "there" / "news.sw").write_text("x\n")
    assert "half of a Moses pair without the other; expected" in refused(tmp_path / "there" / "news.sw")


def test_a_file_that_may_not_be_read_is_named():
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, whose parents are closed to others
        path = Path(folder) / "sw.tsv"
        path.write_text("a\tb\n")
        path.chmod(0)
        os.chmod(folder, 0o755)
        user = os.geteuid()
        if user == 0:  # root may read everything
            os.seteuid(65534)
        try:
            message = refused(path)
        finally:
            os.seteuid(user)
        assert message == f"{path}: cannot be opened (Permission denied); check the path and who may read it"


def test_a_file_without_line_ends_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_module, "MAX_LINE_BYTES", 1 << 20)
    (tmp_path / "sw.tsv").write_bytes(b"a\tb\n" + bytes(3 << 20))
    assert "line 2: over 1 MiB without a line end" in refused(tmp_path / "sw.tsv")


def test_an_empty_text_file_has_no_rows(tmp_path):
    (tmp_path / "ha.tsv").touch()
    (tmp_path / "sw.tsv").write_bytes(b"a\tb\n")
    assert pairs_of(read(tmp_path)[0]) == [("a", "b")]


def test_only_the_first_twenty_bad_rows_are_told_and_all_are_counted(tmp_path):
    (tmp_path / "sw.tsv").write_bytes(b"a\tb\n" + b"x\n" * 30)
    _, tally = read(tmp_path, on_bad_row="skip")
    assert tally.bad == {"number of columns": 30} and len(tally.examples) == 20
