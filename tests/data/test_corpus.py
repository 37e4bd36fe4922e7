"""The corpus: built from wheels or a folder, opened, read."""

import hashlib
import itertools
import json
import pickle
import random
import shutil
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optical_ray.artifacts import Store, write_json
from optical_ray.data import corpus as corpus_module
from optical_ray.data import wheels
from optical_ray.data.building import assemble, pipeline
from optical_ray.data.building import harvest as harvest_module
from optical_ray.data.building.pipeline import build_corpus, find_corpus
from optical_ray.data.corpus import Corpus, describe_corpus
from optical_ray.data.corpus_config import SPLITS, CleaningConfig, CorpusConfig, SplitConfig
from optical_ray.data.layout import SHARD
from optical_ray.data.splits import assign_split, split_key
from optical_ray.errors import ArtifactError, DataError, LanguageError

ENGLISH = [f"Open the {thing} number {i}" for thing in ("page", "file", "lesson") for i in range(20)]
SWAHILI = [(english, f"Fungua kitu cha {i} hapa") for i, english in enumerate(ENGLISH)]
HINDI = [(english, f"संख्या {i} को अभी खोलें") for i, english in enumerate(ENGLISH[:40])]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def folder(bitext, tmp_path):
    """Two languages under ISO 639-3 codes; Hindi has 40 of the 60 English sentences, one spelled otherwise."""
    hindi = [(HINDI[0][0].upper() + "!", HINDI[0][1]), *HINDI[1:]]
    return bitext(tmp_path / "mine", {"swa": SWAHILI, "hin": hindi, "fra": [("Open the page now", "Ouvrir la page")]})


OFF = CleaningConfig(near_duplicates="off")  # sentences that differ in a number only


def config(folder, **changes):
    return CorpusConfig(sources=[str(folder)], **{"min_pairs": 5, "cleaning": OFF} | changes)


def digest(folder):
    """Of everything but the manifest, whose build time varies."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_row_is_read_back_once_in_its_split_with_the_id_of_its_english(store, folder):
    corpus = build_corpus(store, config(folder))
    assert corpus.languages == ("hi", "sw")
    english = corpus.english()
    assert english.column_names == ["english_id", "english", "split", "key"]
    texts = english["english"].to_pylist()
    assert english["english_id"].to_pylist() == list(range(len(texts)))
    assert len(texts) == len(set(texts)) == corpus.num_english
    for row in english.to_pylist():
        assert row["key"] == split_key(row["english"])
        assert row["split"] == assign_split(row["english"], SplitConfig())
    found = []
    for split in SPLITS:
        table = corpus.rows("sw", split)
        assert table.schema.field("english_id").type == pa.int32()
        assert table.num_rows == corpus.pairs(split)["sw"]
        for row in table.to_pylist():
            assert texts[row["english_id"]] == row["english"]
            assert english["split"][row["english_id"]].as_py() == split
            found.append((row["english"], row["text"]))
    assert sorted(found) == sorted(SWAHILI)


def test_no_english_sentence_is_in_two_splits_in_any_language(store, folder):
    corpus = build_corpus(store, config(folder))
    splits: dict[str, set[str]] = {}
    for tag in corpus.languages:
        for split in SPLITS:
            for english in corpus.rows(tag, split)["english"].to_pylist():
                splits.setdefault(split_key(english), set()).add(split)
    assert len(splits) == 60
    assert all(len(found) == 1 for found in splits.values())


def test_a_file_holds_one_split_in_an_order_that_is_as_good_as_shuffled(store, folder):
    corpus = build_corpus(store, config(folder))
    table = pq.ParquetFile(corpus.folder / "lang=sw" / "part-train-00000.parquet").read()
    assert table.schema.equals(SHARD)
    assert set(table["split"].to_pylist()) == {"train"}
    assert corpus.rows("sw", "train")["id"].to_pylist() == table["id"].to_pylist()
    for row in table.to_pylist():
        assert (row["source"], row["english_chars"], row["text_chars"]) == ("mine", len(row["english"]), len(row["text"]))
    order = [SWAHILI.index(pair) for pair in zip(table["english"].to_pylist(), table["text"].to_pylist(), strict=True)]
    ascents = sum(before < after for before, after in itertools.pairwise(order)) / (len(order) - 1)
    assert 0.25 < ascents < 0.75  # a shuffle of 43 rises half the time, standard deviation 0.045
    ids = corpus.rows("sw", "train")["english_id"].to_pylist()
    assert ids == sorted(ids)  # the same order in every language: teacher tokens are read forward


def test_buckets_and_parts_leave_no_trace(tmp_path, folder, monkeypatch):
    whole = build_corpus(Store(tmp_path / "a"), config(folder))
    monkeypatch.setattr(pipeline, "BUCKET_BYTES", 600)
    dealt = build_corpus(Store(tmp_path / "b"), config(folder))
    assert pipeline._count_buckets(pipeline.plan_chunks([str(folder)])) >= 8
    assert digest(whole.folder) == digest(dealt.folder)
    assert whole.manifest["facts"] == dealt.manifest["facts"]
    english, rows_of = whole.english(), {(tag, split): whole.rows(tag, split) for tag in whole.languages for split in SPLITS}
    for module, names in ((assemble, ("BLOCK_ROWS", "PART_ROWS")), (corpus_module, ("BLOCK_ROWS", "PART_ROWS"))):
        for name, rows in zip(names, (4, 8), strict=True):
            monkeypatch.setattr(module, name, rows)
    parts = build_corpus(Store(tmp_path / "c"), config(folder))
    for (tag, split), rows in rows_of.items():
        blocks = [parts.block(tag, split, index, rows.column_names) for index in range(-(-len(rows) // 4))]
        assert [len(block) for block in blocks[:-1]] == [4] * (len(blocks) - 1)
        assert pa.concat_tables(blocks).equals(rows) and parts.rows(tag, split).equals(rows)
    assert pa.concat_tables([parts.english_block(index) for index in range(-(-parts.num_english // 4))]).equals(english)
    assert len(list(parts.folder.glob("lang=sw/part-train-*.parquet"))) == -(-parts.pairs("train")["sw"] // 8)
    assert parts.head("sw", "train", 7).equals(rows_of["sw", "train"].slice(0, 7))
    with pytest.raises(DataError, match="no block 99"):
        parts.block("sw", "train", 99)


@pytest.mark.parametrize("stop_after", [0, 1, 3, 5, 8, 11])
def test_a_build_that_was_killed_goes_on_where_it_stopped(tmp_path, folder, monkeypatch, stop_after):
    monkeypatch.setattr(pipeline, "BUCKET_BYTES", 4000)
    whole = build_corpus(Store(tmp_path / "whole"), config(folder))
    left, read, read_chunk = [stop_after], [], harvest_module._harvest
    monkeypatch.setattr(harvest_module, "_harvest", lambda task, path: read.append(path.name) or read_chunk(task, path))

    def killed(function, tasks):
        for task in tasks:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            yield function(task)

    with pytest.raises(KeyboardInterrupt):
        build_corpus(Store(tmp_path / "store"), config(folder), killed, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    corpus = build_corpus(Store(tmp_path / "store"), config(folder), folder=tmp_path / "out")
    assert digest(corpus.folder) == digest(whole.folder)
    assert corpus.manifest["facts"] == whole.manifest["facts"]
    assert sorted(read) == sorted(set(read)) and len(read) == 3  # no chunk is read twice
    assert not (tmp_path / ".out.scratch").exists()


def test_a_process_killed_in_the_middle_of_a_file_leaves_no_trace_of_it(tmp_path, folder):
    code = (
        "import os, sys; from pathlib import Path; import pyarrow.parquet as pq; from optical_ray.artifacts import Store\n"
        "from optical_ray.data.building.pipeline import build_corpus; from optical_ray.data.corpus_config import CorpusConfig\n"
        "pq.ParquetWriter.write_table = lambda *arguments, **options: os._exit(9)\n"
        "config = CorpusConfig(sources=[sys.argv[2]], min_pairs=5).override({'cleaning.near_duplicates': 'off'})\n"
        "build_corpus(Store(Path(sys.argv[1]) / 'store'), config, folder=Path(sys.argv[1]) / 'out')"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path), str(folder)]).returncode == 9
    assert list((tmp_path / ".out.scratch").rglob(".part-*"))
    corpus = build_corpus(Store(tmp_path / "store"), config(folder), folder=tmp_path / "out")
    there = {str(path.relative_to(corpus.folder)) for path in corpus.folder.rglob("*") if path.is_file()}
    assert there == {"manifest.json", *corpus.manifest["facts"]["files"]}


def test_a_build_that_another_release_began_is_begun_anew(tmp_path, folder, monkeypatch):
    whole = build_corpus(Store(tmp_path / "whole"), config(folder))

    def killed(function, tasks):
        yield from map(function, tasks)
        if function.__name__ == "harvest":
            raise KeyboardInterrupt

    with monkeypatch.context() as before:
        before.setattr(pipeline, "BUCKET_BYTES", 600)
        with pytest.raises(KeyboardInterrupt):
            build_corpus(Store(tmp_path / "store"), config(folder), killed, folder=tmp_path / "out")
    corpus = build_corpus(Store(tmp_path / "store"), config(folder), folder=tmp_path / "out")
    assert digest(corpus.folder) == digest(whole.folder)


def test_a_target_that_is_a_file_is_refused_at_once(tmp_path, store, folder):
    (tmp_path / "out").write_text("")
    with pytest.raises(ArtifactError, match="out: is a file, expected a folder"):
        build_corpus(store, config(folder), lambda function, tasks: pytest.fail("it was built"), folder=tmp_path / "out")


def test_a_folder_of_other_rules_or_sources_is_refused_with_what_differs(tmp_path, store, folder, bitext):
    build_corpus(store, config(folder), folder=tmp_path / "out")
    assert build_corpus(store, config(folder), folder=tmp_path / "out").folder == tmp_path / "out"
    with pytest.raises(ArtifactError, match=r"out: was built otherwise \(min_pairs is 5, not 6\)"):
        build_corpus(store, config(folder, min_pairs=6), folder=tmp_path / "out")
    bitext(folder, {"yor": SWAHILI})
    with pytest.raises(ArtifactError, match="out: was built otherwise"):
        build_corpus(store, config(folder), folder=tmp_path / "out")


def test_a_recipe_names_a_built_corpus_by_its_path_and_must_not_contradict_it(tmp_path, store, folder):
    built = build_corpus(store, config(folder), folder=tmp_path / "out")
    named = CorpusConfig(path=str(tmp_path / "out"))
    assert build_corpus(store, named) == find_corpus(store, named) == built
    assert build_corpus(store, named.override({"min_pairs": 5})) == built
    with pytest.raises(DataError, match=r"built by other rules \(min_pairs is 5, not 9\); leave those fields"):
        build_corpus(store, named.override({"min_pairs": 9}))
    with pytest.raises(DataError, match=r"built by other rules \(split.salt differs\)"):
        build_corpus(store, named.override({"split.salt": "s" * 80}))


def test_of_two_translations_of_one_sentence_the_earlier_sources_stays(tmp_path, store, bitext):
    first = bitext(tmp_path / "first", {"swa": SWAHILI[:30]})
    second = bitext(tmp_path / "second", {"sw": [(english, text.replace("Fungua", "Soma")) for english, text in SWAHILI]})
    for sources, kept in (((first, second), (30, 30)), ((second, first), (0, 60))):
        corpus = build_corpus(store, CorpusConfig(sources=[str(source) for source in sources], min_pairs=5, cleaning=OFF))
        table = pa.concat_tables([corpus.rows("sw", split, ("source", "text")) for split in SPLITS])
        assert tuple(table["source"].to_pylist().count(name) for name in ("first", "second")) == kept
        assert corpus.manifest["facts"]["languages"]["sw"]["dropped"] == {"duplicate": 30}
        assert corpus.manifest["facts"]["languages"]["sw"]["codes"] == (["swa", "sw"] if sources[0] == first else ["sw", "swa"])


@pytest.mark.parametrize(("duplicates", "kept"), [("english", 60), ("pair", 90), ("keep", 120)])
def test_what_counts_as_a_duplicate_is_a_choice(tmp_path, store, bitext, duplicates, kept):
    rows = [*SWAHILI, *SWAHILI[:30], *((english, text.replace("Fungua", "Soma")) for english, text in SWAHILI[:30])]
    corpus = build_corpus(store, config(bitext(tmp_path / "mine", {"swa": rows}), cleaning=OFF.override({"duplicates": duplicates})))
    ids = [row_id for split in SPLITS for row_id in corpus.rows("sw", split)["id"].to_pylist()]
    assert len(ids) == len(set(ids)) == kept


def test_a_training_sentence_that_nearly_equals_a_held_out_one_is_dropped_in_every_language(tmp_path, store, bitext, monkeypatch):
    monkeypatch.setattr(pipeline, "BUCKET_BYTES", 2000)
    colours, things = ("red", "green", "blue", "pink", "grey", "brown"), ("maths", "music", "history", "biology", "chemistry")
    begun = [f"Choose the {colour} folder in which all of your {thing} lessons are kept" for colour in colours for thing in things]
    twins = [f"{sentence}{end}" for sentence in begun for end in ("", " now")]
    words = {"swa": "Chagua folda yenye masomo haya yote", "hau": "Zaɓi babban fayil na darussan nan duka"}
    folder = bitext(tmp_path / "mine", {code: [(e, f"{text} {i} leo hapa") for i, e in enumerate(twins)] for code, text in words.items()})
    loose = build_corpus(store, config(folder))
    strict = build_corpus(store, config(folder, cleaning=OFF.override({"near_duplicates": "held-out"})))
    assert strict.pairs("test") == loose.pairs("test") and strict.pairs("test")["sw"] > 0
    held_out = {row["english"] for row in loose.english().to_pylist() if row["split"] != "train"}
    for tag in ("ha", "sw"):
        assert strict.manifest["facts"]["languages"][tag]["dropped"]["near-duplicate"] > 0
        trained = set(strict.rows(tag, "train")["english"].to_pylist())
        for english in trained:
            assert english.removesuffix(" now") not in held_out and f"{english} now" not in held_out


def test_the_manifest_counts_what_was_kept_dropped_left_out_and_skipped(store, folder, bitext):
    bitext(folder, {"spa-ref2": SWAHILI, "eng": SWAHILI})
    corpus = build_corpus(store, config(folder, unknown_languages="skip"))
    facts = corpus.manifest["facts"]
    assert facts["skipped"] == {"spa-ref2": "no language code", "eng": "English is the other side"}
    assert facts["left_out"]["fr"] | {"codes": ["fra"], "read": {"mine": 1}, "kept": 1} == facts["left_out"]["fr"]
    assert facts["languages"]["sw"]["codes"] == ["swa"]
    assert sum(sum(by_source.values()) for by_source in facts["languages"]["sw"]["pairs"].values()) == 60
    assert facts["licences"] == {"mine": None}
    assert sum(facts["english"].values()) == corpus.english().num_rows == 61  # 60 and one spelled otherwise


def test_the_corpus_does_not_depend_on_where_and_in_which_order_languages_are_built(tmp_path, folder):
    def elsewhere(function, tasks):
        for task in random.Random(3).sample(tasks, len(tasks)):
            sent, received = pickle.loads(pickle.dumps((function, json.loads(json.dumps(task)))))
            yield json.loads(json.dumps(sent(received)))

    here = build_corpus(Store(tmp_path / "a"), config(folder))
    there = build_corpus(Store(tmp_path / "b"), config(folder), map_tasks=elsewhere)
    assert digest(here.folder) == digest(there.folder)
    assert here.manifest["facts"] == there.manifest["facts"]
    assert list(here.manifest["facts"]["languages"]) == list(there.manifest["facts"]["languages"])
    assert here.fingerprint == there.fingerprint


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_corpus_does_not_depend_on_the_process(store, folder, tmp_path, hash_seed):
    here = build_corpus(store, config(folder))
    code = (
        "import sys; from pathlib import Path; from optical_ray.artifacts import Store\n"
        "from optical_ray.data.building.pipeline import build_corpus; from optical_ray.data.corpus_config import CorpusConfig\n"
        "config = CorpusConfig(sources=[sys.argv[2]], min_pairs=5).override({'cleaning.near_duplicates': 'off'})\n"
        "print(build_corpus(Store(Path(sys.argv[1])), config).folder.name)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "other"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed})
    assert done.stdout.strip() == here.folder.name
    assert digest(tmp_path / "other" / here.folder.name) == digest(here.folder)


def test_a_corpus_is_built_once(store, folder):
    first = build_corpus(store, config(folder))

    def never(function, tasks):
        raise AssertionError("built again")

    assert build_corpus(store, config(folder), map_tasks=never) == first


def test_a_build_that_fails_leaves_no_corpus(store, folder):
    def break_off(function, tasks):
        yield function(tasks[0])
        raise DataError("broken on the way")

    with pytest.raises(DataError, match="broken on the way"):
        build_corpus(store, config(folder), map_tasks=break_off)
    assert find_corpus(store, config(folder)) is None
    assert build_corpus(store, config(folder)).languages == ("hi", "sw")


def test_a_lost_language_is_never_silent(store, folder):
    with pytest.raises(AssertionError, match="lost or invented"):
        build_corpus(store, config(folder), map_tasks=lambda function, tasks: map(function, tasks[1:]))


def test_the_name_of_a_corpus_follows_the_bytes_of_its_source_and_the_rules_not_the_place(folder, tmp_path):
    def name(config):
        return build_corpus(Store(tmp_path / "store"), config).folder.name

    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "mine")
    original = name(config(folder))
    assert name(config(moved)) == original
    assert name(config(folder, min_pairs=6)) != original
    assert name(config(folder, split=SplitConfig(salt="b"))) != original
    pq.write_table(pa.table({"english": [ENGLISH[0]], "text": ["Fungua ukurasa sasa hivi"]}), moved / "lang=swa" / "part-0.parquet")
    assert name(config(moved)) != original


def test_progress_counts_the_tasks_of_every_stage(store, folder):
    lines: list[str] = []
    build_corpus(store, config(folder), progress=lines.append)
    assert lines[:3] == [f"read and cleaned, chunk {n}/3" for n in (1, 2, 3)]
    assert lines[3:5] == ["duplicates removed, bucket 1/1", "English sentences collected, bucket 1/1"]
    assert lines[-1] == "written, file 7/7"  # three splits of two languages, and the English table


def test_regional_folders_of_one_language_become_one(store, bitext, tmp_path):
    folder = bitext(tmp_path / "mine", {"fra": SWAHILI[:30], "fra-CA": SWAHILI[20:]})
    corpus = build_corpus(store, config(folder))
    assert corpus.languages == ("fr",)
    facts = corpus.manifest["facts"]["languages"]["fr"]
    assert (facts["codes"], facts["kept"], facts["dropped"]) == (["fra-CA", "fra"], 60, {"duplicate": 10})


def test_a_folder_named_after_no_language_is_refused_by_name(store, bitext, tmp_path):
    folder = bitext(tmp_path / "mine", {"swa": SWAHILI, "spa-ref2": SWAHILI})
    with pytest.raises(DataError, match=r"lang=spa-ref2/part-0.parquet: 'spa-ref2' is no language code.*unknown_languages=skip"):
        build_corpus(store, config(folder))


def test_nothing_left_after_cleaning_says_what_dropped_it(store, bitext, tmp_path):
    folder = bitext(tmp_path / "mine", {"hin": SWAHILI, "swa": [("Hi", "Ha")]})
    with pytest.raises(
        DataError, match=r"mine: nothing left after cleaning: 61 rows of 2 languages.*script dropped 60, short dropped 1"
    ) as refused:
        build_corpus(store, config(folder))
    assert "\n" not in str(refused.value)


def test_a_missing_folder_is_refused_before_anything_is_built(store, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such file or folder; .* is the nearest that exists"):
        build_corpus(store, CorpusConfig(sources=[str(tmp_path / "nowhere")]))
    assert not store.root.exists()


def test_what_is_no_corpus_is_refused(store, folder, tmp_path):
    with pytest.raises(ArtifactError, match="not a finished artifact"):
        Corpus.open(tmp_path)
    other = store.build("teacher", {}, lambda folder: None)
    with pytest.raises(DataError, match="holds a teacher, expected a corpus"):
        Corpus.open(other)
    corpus = build_corpus(store, config(folder))
    manifest = json.loads((corpus.folder / "manifest.json").read_text())
    manifest["facts"]["format_version"] = 0
    write_json(corpus.folder / "manifest.json", manifest)
    with pytest.raises(DataError, match="format version 0, this optical_ray reads 2"):
        Corpus.open(corpus.folder)


def test_rows_of_a_language_the_corpus_lacks_are_refused_with_those_it_has(store, folder):
    with pytest.raises(LanguageError, match="no language 'yo' in this corpus, which has hi, sw"):
        build_corpus(store, config(folder)).rows("yo", "train")


def test_a_corpus_that_was_changed_by_hand_is_noticed(store, folder):
    corpus = build_corpus(store, config(folder))
    assert corpus.damaged_files() == []
    name = "lang=sw/part-train-00000.parquet"
    (corpus.folder / name).write_bytes(b"PAR1")
    (corpus.folder / "english/part-00000.parquet").unlink()
    assert corpus.damaged_files() == ["english/part-00000.parquet", name]
    for read in (lambda: corpus.rows("sw", "train"), lambda: corpus.block("sw", "train", 0)):
        with pytest.raises(DataError, match=r"part-train-00000\.parquet: cannot be read"):
            read()


def test_a_corpus_is_described_language_by_language(store, folder):
    corpus = build_corpus(store, config(folder))
    rows = describe_corpus(corpus)
    assert [row["language"] for row in rows] == ["hi", "sw"]
    assert rows[1] | {"name": "Swahili", "script": "Latn", "read": 60, "sources": "mine 60", "licences": "not stated"} == rows[1]
    assert all(sum(row[split] for split in SPLITS) == corpus.manifest["facts"]["languages"][row["language"]]["kept"] for row in rows)


def test_the_catalogs_of_wheels_become_a_corpus_with_licences(store, pip_wheel, mo, tmp_path, monkeypatch):
    swahili = {"django.mo": mo(dict(SWAHILI[:40])), "app.json": json.dumps({english: text for english, text in SWAHILI}).encode()}
    english = json.dumps({english: english for english in ENGLISH}).encode()
    given = tmp_path / "given"
    pins = (
        pip_wheel(
            given,
            "kolibri",
            {f"kolibri/locale/sw_TZ/LC_MESSAGES/{name}": data for name, data in swahili.items()}
            | {"kolibri/locale/en/LC_MESSAGES/app.json": english, "kolibri/locale/ach_UG/LC_MESSAGES/django.mo": mo(dict(SWAHILI))},
        ),
        pip_wheel(
            given,
            "django",
            {"django/conf/locale/hi/LC_MESSAGES/django.mo": mo(dict(HINDI)), "django/conf/locale/en_GB/LC_MESSAGES/django.mo": b"x"},
        ),
        pip_wheel(given, "teacher", {}, role="teacher"),
    )
    for module in ("wheels", "reading.plan"):
        monkeypatch.setattr(f"optical_ray.data.{module}.pinned_wheels", lambda: pins)
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(given))
    corpus = build_corpus(store, CorpusConfig(min_pairs=5, cleaning=OFF))
    facts = corpus.manifest["facts"]
    assert corpus.languages == ("hi", "sw")
    assert facts["licences"] == {"kolibri": "MIT", "django": "MIT"}
    assert facts["languages"]["sw"]["codes"] == ["sw_TZ"]
    assert (facts["languages"]["sw"]["kept"], facts["languages"]["sw"]["dropped"]) == (60, {"duplicate": 40})
    assert facts["languages"]["hi"]["pairs"]["train"].keys() == {"django"}
    assert [entry["file"] for entry in corpus.manifest["inputs"]["sources"][0]["files"]] == [pin.file for pin in pins[:2]]
    for pin in pins:
        (given / pin.file).unlink()
    shutil.rmtree(store.root / store.path("wheel", {"file": pins[0].file, "sha256": pins[0].sha256}).name)
    assert build_corpus(store, CorpusConfig(min_pairs=5, cleaning=OFF)) == corpus  # a finished corpus needs no wheels
