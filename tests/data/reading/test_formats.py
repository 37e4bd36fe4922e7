"""Every format gives the rows that were written."""

from __future__ import annotations

import json
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from data.reading.writers import PACK, PAIRS, csv_bytes, jsonl, moses, pairs_of, parquet, read, save_to_disk, tmx, tsv

from optical_ray.data.reading import plan_chunks

ROWS = [pair for pair in PAIRS if pair != ("", "")]
"""A blank line is a row of a Moses pair alone."""

TEXT_FORMATS: dict[str, Callable[[], bytes]] = {
    "a.en-sw.tsv": lambda: tsv(ROWS),
    "a.sw.csv": lambda: csv_bytes([("english", "text"), *ROWS]),
    "eng_Latn-swh_Latn.jsonl": lambda: jsonl([{"english": english, "text": text, "n": 1} for english, text in ROWS]),
    "a.tmx": lambda: tmx([(("en-US", english), ("sw", text)) for english, text in ROWS]),
}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", TEXT_FORMATS)
def test_text_formats_give_what_was_written_however_they_are_packed(name, suffix, tmp_path):
    path = tmp_path / f"{name}{suffix}"
    path.write_bytes(PACK[suffix](TEXT_FORMATS[name]()))
    batches, tally = read(path)
    assert pairs_of(batches) == ROWS
    assert {batch.tag for batch in batches} == {"sw"}
    assert (tally.read, tally.bad, tally.examples) == (len(ROWS), {}, [])


@pytest.mark.parametrize("suffix", PACK)
def test_moses_pairs_keep_their_empty_lines(suffix, tmp_path):
    moses(tmp_path, PAIRS, suffix=suffix)
    batches, _ = read(tmp_path)
    assert pairs_of(batches) == PAIRS
    assert (batches[0].tag, batches[0].code, batches[0].first_row) == ("sw", "sw", 0)


@pytest.mark.parametrize("ask", ["", "/news", "/news.sw", "/news.en", "/*.sw", "/n*", "/**/news.*"])
def test_a_moses_pair_is_found_by_folder_prefix_half_or_glob(ask, tmp_path):
    moses(tmp_path, PAIRS)
    assert pairs_of(read(f"{tmp_path}{ask}")[0]) == PAIRS


def test_halves_of_opus_and_of_many_languages_find_their_english(tmp_path):
    moses(tmp_path / "opus", [("a", "b")], prefix="QED.en-so", code="so")
    moses(tmp_path / "many", [("c", "d")], code="swh_Latn")
    (tmp_path / "many" / "news.ha.gz").write_bytes(PACK[".gz"](b"e\n"))
    (tmp_path / "many" / "README.md").write_text("no bitext")
    batches, _ = read(tmp_path)
    assert [(batch.tag, batch.code, *pairs_of([batch])) for batch in batches] == [
        ("ha", "ha", ("c", "e")),
        ("sw", "swh_Latn", ("c", "d")),
        ("so", "so", ("a", "b")),
    ]


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_text(tmp_path):
    (tmp_path / "sw.tsv").write_bytes(b"\xef\xbb\xbfa\tb\r\nc\td\r\n\r\ne\tf")
    assert pairs_of(read(tmp_path / "sw.tsv")[0]) == [("a", "b"), ("c", "d"), ("e", "f")]


@pytest.mark.parametrize(
    ("header", "options", "line"),
    [
        ("id\tenglish\tsw", "", "7\t{}\t{}"),
        ("score\tsource_text\ttarget_text", ",lang=sw", "7\t{}\t{}"),
        ("left\tmiddle\tright", ",english=left,text=right,lang=swa", "{}\tx\t{}"),
        ("sentence_eng_Latn\tsentence_swh_Latn", "", "{}\t{}"),
        ("text\tlang\tenglish", "", "{1}\tsw\t{0}"),
        ("", ",english=2,text=1,lang=sw", "{1}\t{0}"),
        ("", ",english=3,text=1,lang_column=2", "{1}\tswh\t{0}"),
        ("x\ty", ",header=yes,english=1,text=2,lang=sw", "{}\t{}"),
    ],
)
def test_columns_are_found_by_header_by_name_and_by_number(header, options, line, tmp_path):
    lines = [header] * bool(header) + [line.format(*pair) for pair in ROWS]
    (tmp_path / "data.tsv").write_text("\n".join(lines), encoding="utf-8", newline="\n")
    batches, _ = read(f"{tmp_path}/data.tsv{options}")
    assert pairs_of(batches, "sw") == ROWS


def test_a_tsv_reads_quotes_as_letters_and_a_csv_line_ends_inside_them_as_text(tmp_path):
    (tmp_path / "sw.tsv").write_bytes(b'"a\tb"\n')
    assert pairs_of(read(tmp_path / "sw.tsv")[0]) == [('"a', 'b"')]
    rows = [("one\ntwo", 'he said "no"'), ("three", "four\n\n")]
    (tmp_path / "sw.csv").write_bytes(csv_bytes(rows))
    assert pairs_of(read(tmp_path / "sw.csv")[0]) == rows


@pytest.mark.parametrize("write", ["jsonl", "parquet", "save_to_disk"])
def test_the_translation_object_of_opus_data_sets_names_its_languages(write, tmp_path):
    objects = [{"id": str(number), "translation": {"en": english, "sw": text}} for number, (english, text) in enumerate(PAIRS)]
    if write == "jsonl":
        (tmp_path / "train.jsonl").write_bytes(jsonl(objects))
    else:
        columns = {"id": [row["id"] for row in objects], "translation": [row["translation"] for row in objects]}
        parquet(tmp_path / "train.parquet", columns) if write == "parquet" else save_to_disk(tmp_path, columns)
    batches, _ = read(tmp_path)
    assert pairs_of(batches, "sw") == PAIRS


def test_several_languages_stand_beside_each_other_in_one_file(tmp_path):
    parquet(tmp_path / "ntrex.parquet", {"id": ["1", "2"], "eng_Latn": ["a", "b"], "swh_Latn": ["c", None], "hau_Latn": ["e", "f"]})
    batches, tally = read(tmp_path)
    assert pairs_of(batches, "sw") == [("a", "c"), ("b", "")]
    assert pairs_of(batches, "ha") == [("a", "e"), ("b", "f")]
    assert [batch.first_row for batch in batches] == [0, 2]
    assert tally.read == 4
    assert pairs_of(read(f"{tmp_path},lang=ha")[0]) == [("a", "e"), ("b", "f")]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_any_arrow_type_of_strings_is_read(kind, tmp_path):
    columns = {"english": pa.array([english for english, _ in PAIRS], kind), "text": pa.array([text for _, text in PAIRS], kind)}
    folder = save_to_disk(tmp_path / "lang=sw", columns, files=1)
    assert pairs_of(read(folder)[0]) == PAIRS
    if not pa.types.is_string_view(kind):
        parquet(tmp_path / "sw.parquet", columns)
        assert pairs_of(read(tmp_path / "sw.parquet")[0]) == PAIRS


def test_a_folder_key_and_a_column_may_both_say_lang(tmp_path):
    for code in ("swa", "ha"):
        parquet(tmp_path / f"lang={code}" / "part-0.parquet", {"lang": [code], "english": ["a"], "text": [code]})
    batches, _ = read(tmp_path)
    assert [(batch.tag, batch.code, batch.text.to_pylist()) for batch in batches] == [("ha", "ha", ["ha"]), ("sw", "swa", ["swa"])]


def test_a_data_set_dict_is_read_split_by_split_without_caches_and_with_its_licence(tmp_path):
    for split, pairs in (("test", PAIRS[:2]), ("train", PAIRS[2:])):
        folder = save_to_disk(tmp_path / split, {"en": [pair[0] for pair in pairs], "sw": [pair[1] for pair in pairs]})
        (folder / "cache-1a2b.arrow").write_bytes(b"left by datasets.map")
    (tmp_path / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    plan = plan_chunks([f"{tmp_path},name=opus"])
    assert plan.licences == {"opus": "cc-by-4.0"}
    assert [chunk["labels"][0].removeprefix(f"{tmp_path}/") for chunk in plan.chunks] == [
        f"{split}/data-0000{index}-of-00002.arrow" for split in ("test", "train") for index in (0, 1)
    ]
    assert pairs_of(read(tmp_path)[0]) == PAIRS


def test_the_licence_of_a_data_set_card_is_kept_and_the_users_own_goes_before(tmp_path):
    (tmp_path / "README.md").write_text("---\nlanguage: sw\nlicense: cc0-1.0\n---\n# A card\nlicense: none\n")
    moses(tmp_path, PAIRS)
    assert list(plan_chunks([str(tmp_path)]).licences.values()) == ["cc0-1.0"]
    assert list(plan_chunks([f"{tmp_path},licence=MIT"]).licences.values()) == ["MIT"]


def test_a_tmx_of_several_languages_gives_each_with_the_first_english_and_the_text_of_inline_tags(tmp_path):
    units = [
        [("EN-us", "first"), ("en-GB", "second"), ("swh", "kwanza"), ("HA", "na farko")],
        [("so", "x"), ("en", "only")],
    ]
    data = tmx(units, attribute="lang").replace(b"kwanza", b'<bpt i="1">&lt;b&gt;</bpt>kwa<hi>nza</hi><ph x="1">{0}</ph>')
    (tmp_path / "a.tmx").write_bytes(data)
    batches, _ = read(tmp_path / "a.tmx")
    assert [(batch.tag, batch.code, pairs_of([batch])) for batch in batches] == [
        ("sw", "swh", [("first", "<b>kwanza{0}")]),
        ("ha", "HA", [("first", "na farko")]),
        ("so", "so", [("only", "x")]),
    ]
    batches, tally = read(f"{tmp_path}/a.tmx,lang=sw")
    assert [batch.tag for batch in batches] == ["sw"]
    assert sum(tally.skipped.values()) == 2


def test_a_document_type_without_entities_is_no_obstacle_and_utf_16_is_read(tmp_path):
    data = tmx([[("en", "a"), ("sw", "ü")]]).decode().replace("?>\n", '?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n').replace("UTF-8", "UTF-16")
    (tmp_path / "a.tmx").write_bytes(data.encode("utf-16"))
    assert pairs_of(read(tmp_path / "a.tmx")[0]) == [("a", "ü")]


def test_a_null_is_an_empty_string(tmp_path):
    pq.write_table(pa.table({"english": ["a", None], "text": [None, "b"]}), tmp_path / "sw.parquet")
    (tmp_path / "ha.jsonl").write_bytes(jsonl([{"english": "a", "text": None}, {"english": None, "text": "b"}]))
    assert pairs_of(read(tmp_path)[0]) == [("a", ""), ("", "b")] * 2
