"""The corpus: built from wheels or a folder, opened, read."""

import hashlib
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
from optical_ray.data import wheels
from optical_ray.data.corpus import Corpus, CorpusConfig, build_corpus, corpus_inputs, describe_corpus
from optical_ray.data.splits import SPLITS, SplitConfig, assign_split, split_key
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


def config(folder, **changes):
    return CorpusConfig(source=str(folder), min_pairs=5, **changes)


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
    assert texts == sorted(set(texts))
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


def test_rows_come_in_stored_order(store, folder):
    corpus = build_corpus(store, config(folder))
    stored = pq.ParquetFile(corpus.folder / "lang=sw" / "part-0.parquet").read().to_pylist()
    assert corpus.rows("sw", "train")["id"].to_pylist() == [row["id"] for row in stored if row["split"] == "train"]


def test_the_manifest_counts_what_was_kept_dropped_left_out_and_skipped(store, folder, bitext):
    bitext(folder, {"spa-ref2": SWAHILI, "eng": SWAHILI})
    corpus = build_corpus(store, config(folder, unknown_languages="skip"))
    facts = corpus.manifest["facts"]
    assert facts["skipped"] == {"spa-ref2": "no language code", "eng": "English is the other side"}
    assert facts["left_out"]["fr"] | {"codes": ["fra"], "read": 1, "kept": 1} == facts["left_out"]["fr"]
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
        "from optical_ray.data.corpus import CorpusConfig, build_corpus\n"
        "print(build_corpus(Store(Path(sys.argv[1])), CorpusConfig(source=sys.argv[2], min_pairs=5)).folder.name)"
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
    assert not store.has("corpus", corpus_inputs(config(folder)))
    assert build_corpus(store, config(folder)).languages == ("hi", "sw")


def test_a_lost_language_is_never_silent(store, folder):
    with pytest.raises(AssertionError, match="lost or invented"):
        build_corpus(store, config(folder), map_tasks=lambda function, tasks: map(function, tasks[1:]))


def test_the_name_of_a_corpus_follows_the_bytes_of_its_source_and_the_rules_not_the_place(folder, tmp_path):
    def name(config):
        return Store(tmp_path).path("corpus", corpus_inputs(config)).name

    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "mine")
    original = name(config(folder))
    assert name(config(moved)) == original
    assert name(CorpusConfig(source=str(folder), min_pairs=6)) != original
    assert name(config(folder, split=SplitConfig(salt="b"))) != original
    pq.write_table(pa.table({"english": ["a"], "text": ["b"]}), moved / "lang=swa" / "part-0.parquet")
    assert name(config(moved)) != original


def test_progress_names_every_language_and_what_was_left_out(store, folder):
    lines: list[str] = []
    build_corpus(store, config(folder), progress=lines.append)
    assert lines == [
        "language 1/3: fr, 1 pairs of 1 rows; left out, fewer than 5 (no rule dropped any)",
        "language 2/3: hi, 40 pairs of 40 rows",
        "language 3/3: sw, 60 pairs of 60 rows",
    ]


def test_regional_folders_of_one_language_become_one(store, bitext, tmp_path):
    folder = bitext(tmp_path / "mine", {"fra": SWAHILI[:30], "fra-CA": SWAHILI[20:]})
    corpus = build_corpus(store, config(folder))
    assert corpus.languages == ("fr",)
    facts = corpus.manifest["facts"]["languages"]["fr"]
    assert (facts["codes"], facts["kept"], facts["dropped"]) == (["fra", "fra-CA"], 60, {"duplicate": 10})


def test_a_folder_named_after_no_language_is_refused_by_name(store, bitext, tmp_path):
    folder = bitext(tmp_path / "mine", {"swa": SWAHILI, "spa-ref2": SWAHILI})
    with pytest.raises(DataError, match=r"lang=spa-ref2: 'spa-ref2' is no language code.*unknown_languages=skip"):
        build_corpus(store, config(folder))


def test_nothing_left_after_cleaning_says_what_dropped_it(store, bitext, tmp_path):
    folder = bitext(tmp_path / "mine", {"hin": SWAHILI, "swa": [("Hi", "Ha")]})
    with pytest.raises(
        DataError, match=r"mine: nothing left after cleaning: 61 rows of 2 languages.*script dropped 60, short dropped 1"
    ) as refused:
        build_corpus(store, config(folder))
    assert "\n" not in str(refused.value)


def test_a_missing_folder_is_refused_before_anything_is_built(store, tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder.*lang=<code>"):
        build_corpus(store, CorpusConfig(source=str(tmp_path / "nowhere")))
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
    with pytest.raises(DataError, match="format version 0, this optical_ray reads 1"):
        Corpus.open(corpus.folder)


def test_rows_of_a_language_the_corpus_lacks_are_refused_with_those_it_has(store, folder):
    with pytest.raises(LanguageError, match="no language 'yo' in this corpus, which has hi, sw"):
        build_corpus(store, config(folder)).rows("yo", "train")


def test_a_corpus_that_was_changed_by_hand_is_noticed(store, folder):
    corpus = build_corpus(store, config(folder))
    path = corpus.folder / "lang=sw" / "part-0.parquet"
    table = pq.ParquetFile(path).read()
    changed = pa.array([english + " changed" for english in table["english"].to_pylist()])
    pq.write_table(table.set_column(1, "english", changed), path)
    with pytest.raises(DataError, match=r"are not in english\.parquet; the folder was changed"):
        corpus.rows("sw", "train")
    path.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"part-0\.parquet: cannot be read"):
        corpus.rows("sw", "train")


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
    for module in ("wheels", "sources"):
        monkeypatch.setattr(f"optical_ray.data.{module}.pinned_wheels", lambda: pins)
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(given))
    corpus = build_corpus(store, CorpusConfig(min_pairs=5))
    facts = corpus.manifest["facts"]
    assert corpus.languages == ("hi", "sw")
    assert facts["licences"] == {"kolibri": "MIT", "django": "MIT"}
    assert facts["languages"]["sw"]["codes"] == ["sw_TZ"]
    assert (facts["languages"]["sw"]["kept"], facts["languages"]["sw"]["dropped"]) == (60, {"duplicate": 40})
    assert facts["languages"]["hi"]["pairs"]["train"].keys() == {"django"}
    assert [entry["file"] for entry in corpus.manifest["inputs"]["files"]] == [pin.file for pin in pins[:2]]
    for pin in pins:
        (given / pin.file).unlink()
    shutil.rmtree(store.root / store.path("wheel", {"file": pins[0].file, "sha256": pins[0].sha256}).name)
    assert build_corpus(store, CorpusConfig(min_pairs=5)) == corpus  # a finished corpus needs no wheels
