"""Text alone (kind=text): every format gives the lines that were written, in the language that name, folder, option or column says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import fsspec
import pytest
from data.reading.writers import PACK, csv_bytes, jsonl, moses, parquet, save_to_disk, tmx

from optical_ray.data.reading import OnBadRow, RawBatch, Tally, find_sources, plan_chunks, read_chunk
from optical_ray.errors import ConfigError, DataError

LINES = [
    "Nyumba ni kubwa, <b>sana</b>.",
    'Tabs\tand "quotes" are text',
    "\u0939\u093f\u0928\u094d\u0926\u0940 \U0001f600 \u2028 here",
    "mwisho",
]


def read(*sources: object, on_bad_row: OnBadRow = "refuse") -> tuple[list[RawBatch], Tally]:
    """All batches of all chunks, in order; the chunks go through JSON as they do between processes."""
    plan = plan_chunks(find_sources([str(source) for source in sources], "text"), on_bad_row=on_bad_row)
    tally, batches = plan.tally, []
    for chunk in plan.chunks:
        one = Tally()
        batches += list(read_chunk(json.loads(json.dumps(chunk)), on_bad_row, one))
        tally.merge(one)
    assert all(batch.english is None for batch in batches)
    return batches, tally


def texts_of(batches: list[RawBatch]) -> list[tuple[str, str]]:
    return [(batch.tag, text) for batch in batches for text in batch.text.to_pylist()]


def refused(*sources: object, **options: OnBadRow) -> str:
    with pytest.raises((ConfigError, DataError)) as caught:
        read(*sources, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lines(*texts: str) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", ["news.sw.txt", "sw.txt", "news.swh", "lang=swa/part-0.txt", "news.en-sw.sw"])
def test_the_lines_of_a_text_file_are_its_rows_however_it_is_named_and_packed(name, suffix, tmp_path):
    path = tmp_path / f"{name}{suffix}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(PACK[suffix](lines(LINES[0], "", *LINES[1:])))
    for source in (path, tmp_path, f"{tmp_path}/**/*{suffix}"):
        batches, tally = read(source)
        assert texts_of(batches) == [("sw", text) for text in LINES]  # a blank line is no row
        assert (tally.read, tally.bad) == (len(LINES), {})


ROWS = ["Nyumba ni kubwa.", "", "Kitabu, na kalamu"]
TABLES = {
    "sw.tsv": lines("text", *ROWS),
    "sw.csv": csv_bytes([("id", "sentence"), *((str(place), text) for place, text in enumerate(ROWS))]),
    "sw.jsonl": jsonl([{"url": "x", "content": text} for text in ROWS]),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_has_a_column_of_text_and_needs_none_of_english(name, tmp_path):
    (tmp_path / name).write_bytes(TABLES[name])
    blank = [] if name == "sw.tsv" else [""]  # a TSV has no row there
    assert sorted(texts_of(read(tmp_path)[0])) == sorted(("sw", text) for text in [ROWS[0], *blank, ROWS[2]])


@pytest.mark.parametrize("write", ["parquet", "save_to_disk"])
def test_arrow_and_parquet_columns_of_text_are_read(write, tmp_path):
    columns = {"id": ["0", "1", "2"], "text": ["a", None, "c"]}
    parquet(tmp_path / "lang=yo" / "a.parquet", columns) if write == "parquet" else save_to_disk(tmp_path / "lang=yo", columns)
    assert texts_of(read(tmp_path)[0]) == [("yo", "a"), ("yo", ""), ("yo", "c")]


@pytest.mark.parametrize(
    ("name", "data", "options", "expected"),
    [
        ("x.sw.tsv", lines("one column", "of text"), "", [("sw", "one column"), ("sw", "of text")]),
        ("x.tsv", lines("7\thabari"), ",text=2,lang=sw", [("sw", "habari")]),
        ("x.tsv", lines("sw\thabari", "en\tnews"), ",text=2,lang_column=1", [("sw", "habari"), ("en", "news")]),
        ("x.tsv", lines("lang\ttext", "swh\thabari", "eng\tnews"), "", [("sw", "habari"), ("en", "news")]),
        ("x.tsv", lines("lang\ttext", "swh\thabari", "eng\tnews"), ",lang=en", [("en", "habari"), ("en", "news")]),
        ("x.csv", lines("title,body", "t,habari"), ",text=body,lang=sw", [("sw", "habari")]),
        ("x.jsonl", jsonl([{"translation": {"en": "a", "sw": "b"}}]), ",text=translation.sw", [("sw", "b")]),
        ("x.json", jsonl([{"text": "b"}]), ",lang=ha", [("ha", "b")]),
        ("sentences", lines("1\ta\tb"), ",format=text,lang=sw", [("sw", "1\ta\tb")]),
        ("dump.sw", lines("a"), ",format=text", [("sw", "a")]),
        ("x.en.txt", lines("a"), ",lang=ha", [("ha", "a")]),
    ],
)
def test_the_language_and_the_column_are_said_by_option_column_or_name(name, data, options, expected, tmp_path):
    (tmp_path / name).write_bytes(data)
    assert texts_of(read(f"{tmp_path}/{name}{options}")[0]) == expected


def test_a_folder_of_a_language_decides_whatever_the_name_of_the_file(tmp_path):
    (tmp_path / "lang=ha").mkdir()
    (tmp_path / "lang=ha" / "news.sw").write_bytes(lines("a"))
    assert texts_of(read(tmp_path)[0]) == [("ha", "a")]


@pytest.mark.parametrize("ask", ["", "/news", "/*"])
def test_a_moses_pair_is_two_files_of_text_and_english_a_language(ask, tmp_path):
    moses(tmp_path, [("a", "b"), ("c", "d")])
    assert texts_of(read(f"{tmp_path}{ask}")[0]) == [("en", "a"), ("en", "c"), ("sw", "b"), ("sw", "d")]
    assert texts_of(read(f"{tmp_path}/news.sw")[0]) == [("sw", "b"), ("sw", "d")]


def test_what_is_about_text_or_a_program_is_passed_over_in_a_folder(tmp_path):
    for name in ("README.txt", "LICENSE.txt", "get.sh", "news.tar", "sw.txt.bak", "notes.md", "state.json"):
        (tmp_path / name).write_bytes(b"\xff not text")
    (tmp_path / "sw.txt").write_bytes(lines("a"))
    assert texts_of(read(tmp_path)[0]) == [("sw", "a")]


def test_a_big_file_is_cut_at_line_ends_and_packed_ones_are_not(tmp_path, monkeypatch):
    from optical_ray.data.reading import cuts, inspect, streams

    for module in (cuts, inspect):
        monkeypatch.setattr(module, "CHUNK_BYTES", 64)
    for module in (cuts, streams):
        monkeypatch.setattr(module, "BLOCK_BYTES", 16)
    texts = [f'say "{number}' for number in range(60)]
    (tmp_path / "sw.txt").write_bytes(lines(*texts))
    assert len(plan_chunks(find_sources([f"{tmp_path}/sw.txt"], "text")).chunks) > 5
    assert texts_of(read(tmp_path / "sw.txt")[0]) == [("sw", text) for text in texts]


def test_bytes_that_are_not_utf_8_are_named_by_line_and_byte(tmp_path):
    (tmp_path / "sw.txt").write_bytes(b"a\n\nb\xffc\nd\n")
    assert "sw.txt, line 3: byte 2 is 0xff, not UTF-8" in refused(tmp_path)
    batches, tally = read(tmp_path, on_bad_row="skip")
    assert texts_of(batches) == [("sw", "a"), ("sw", "d")] and tally.bad == {"not UTF-8": 1}


def test_a_packed_text_file_that_was_cut_gives_the_lines_before_or_is_refused(tmp_path):
    texts = [f"{number * 7919 % 100003:x}" for number in range(20000)]
    data = PACK[".gz"](lines(*texts))
    (tmp_path / "sw.txt.gz").write_bytes(data[: len(data) // 2])
    assert "sw.txt.gz, line" in (said := refused(tmp_path)) and "damaged or cut short" in said
    batches, tally = read(tmp_path, on_bad_row="skip")
    found = [text for _, text in texts_of(batches)]
    assert found == texts[: len(found)] and len(found) > 5000 and tally.bad == {"damaged file": 1}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("catalogs", "source 'catalogs': holds pairs, and this corpus is of text alone (kind=text); give text files"),
        ("{}/sw.txt,format=tmx", "holds pairs"),
        ("{}/sw.txt,format=moses", "holds pairs"),
        ("{}/memory.tmx", "memory.tmx: holds pairs"),
        ("{}", "memory.tmx: holds pairs"),
        ("{}/sw.txt,english=a", "english=a, but this corpus is of text alone (kind=text); say text=COLUMN"),
        ("{}/sw.txt,format=xls", "format=xls; expected text, tsv, csv, jsonl, parquet, arrow"),
        ("{}/sw.txt,text=2", "sw.txt: text=2, but a text file has no columns; say format=tsv if it has"),
        ("{}/plain.txt", "plain.txt: of what language? its path names none, and no column says it; say lang=CODE"),
        ("{}/en-sw.txt", "en-sw.txt: of what language?"),
        ("{}/two.tsv", "2 columns and no header, expected 1 (text); say text=N (and lang_column=N; or their names, where"),
        ("{}/wide.tsv,header=yes", "no column of text among en, sw; looked for text, sentence, content; say text=COLUMN"),
        ("{}/notes", "its name says no format; expected .txt, NAME.sw, .tsv"),
        ("{}/empty", "no text among its 1 files; looked for .txt, .tsv"),
    ],
)
def test_what_is_not_text_of_one_language_is_refused_with_what_to_do(source, message, tmp_path):
    for name, data in {
        "sw.txt": lines("a"),
        "plain.txt": lines("a"),
        "en-sw.txt": lines("a"),
        "two.tsv": lines("a\tb"),
        "wide.tsv": lines("en\tsw", "a\tb"),
        "notes": lines("a"),
        "memory.tmx": tmx([[("en", "a"), ("sw", "b")]]),
        "empty/x.doc": b"",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    assert message in refused(source.format(tmp_path))


def test_bitext_does_not_look_for_text_files_and_says_what_would(tmp_path):
    (tmp_path / "news.sw.txt").write_bytes(lines("a\tb"))
    for source in (str(tmp_path), f"{tmp_path}/news.sw.txt"):
        with pytest.raises(DataError, match="say kind=text for a corpus of text alone"):
            plan_chunks([source])
    with pytest.raises(ConfigError, match="format=text: a text file is no bitext; say kind=text"):
        plan_chunks([f"{tmp_path}/news.sw.txt,format=text"])
    [source] = find_sources([f"{tmp_path}/news.sw.txt,format=tsv,lang=sw"])
    assert (source.name, source.groups[0].code) == ("news.sw.txt", None)  # as before there was text: fingerprints hold these


def test_a_hub_data_set_says_its_language_in_its_configuration(tmp_path, monkeypatch):
    folder = save_to_disk(tmp_path, {"title": ["x"], "text": ["habari"]}, files=1)
    loaded = SimpleNamespace(
        cache_files=[{"filename": str(path)} for path in Path(folder).glob("*.arrow")], info=SimpleNamespace(license="cc-by-sa-4.0")
    )
    module = ModuleType("datasets")
    module.load_dataset = lambda *_, **__: loaded  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    assert texts_of(read("hf:wikimedia/wikipedia,config=20231101.sw,split=train")[0]) == [("sw", "habari")]


def test_text_is_read_from_a_uri_as_from_a_folder():
    store = fsspec.filesystem("memory")
    store.store.clear()
    store.pipe("/text/news.sw.txt", lines("a", "b"))
    store.pipe("/text/news.ha", lines("c"))
    assert texts_of(read("memory://text")[0]) == [("ha", "c"), ("sw", "a"), ("sw", "b")]
    for name, tag in (("news.sw.txt", "sw"), ("news.ha", "ha")):
        assert {found for found, _ in texts_of(read(f"memory://text/{name}")[0])} == {tag}
    store.store.clear()
