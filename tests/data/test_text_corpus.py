"""A corpus of text alone: built like bitext, keyed by the text itself, and fed to a masked-LM step by the same sets, mixtures and plans."""

import gzip
import hashlib
import json
import pickle
import random
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch

from optical_ray.artifacts import Store
from optical_ray.data.batches import PairSource
from optical_ray.data.building import pipeline
from optical_ray.data.building.pipeline import build_corpus, corpus_inputs, find_corpus
from optical_ray.data.corpus import Corpus, check_rules, describe_corpus
from optical_ray.data.corpus_config import SPLITS, CleaningConfig, CorpusConfig, SplitConfig
from optical_ray.data.layout import SHARD
from optical_ray.data.plan import START, build_plan
from optical_ray.data.plan_config import BatchConfig
from optical_ray.data.splits import assign_split, split_key
from optical_ray.data.token_shards import TokenRules, TokenSource, build_token_shards
from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.tokenizer import train_tokenizer
from optical_ray.errors import ArtifactError, ConfigError, DataError
from optical_ray.languages.mixing import MixingConfig, mix
from optical_ray.languages.sets import LanguageSetConfig, choose_languages
from optical_ray.recipe import Recipe
from optical_ray.stages import prepare

SWAHILI = [f"Fungua ukurasa wa {i} wa kitabu" for i in range(60)]
ENGLISH = [f"Open page number {i} of the book" for i in range(50)]
HINDI = [f"किताब का पन्ना {i} खोलो" for i in range(40)]
OFF = CleaningConfig(near_duplicates="off")  # lines that differ in a number only


@pytest.fixture
def folder(tmp_path):
    """Three languages: plain text with a repeated line, gzip, and a TSV that says the language of each row; Hausa has too little."""
    root = tmp_path / "texts"
    (root / "lang=hin").mkdir(parents=True)
    (root / "news.sw.txt").write_text("\n".join([*SWAHILI, "", SWAHILI[0].upper() + "!", "Habari", "Kitu {name} cha leo hapa"]))
    (root / "lang=hin" / "a.txt.gz").write_bytes(gzip.compress("\n".join(HINDI).encode()))
    (root / "rows.tsv").write_text("text\tlang\n" + "".join(f"{text}\teng\n" for text in ENGLISH) + "Ina kwana da safe\tha\n")
    return root


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def config(folder, **changes):
    return CorpusConfig(sources=[str(folder)], kind="text", **{"min_pairs": 5, "cleaning": OFF} | changes)


def rows_of(corpus, tag):
    return [row for split in SPLITS for row in corpus.rows(tag, split, SHARD.names).to_pylist()]


def digest(folder):
    """Of everything but the manifest, whose build time varies."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_text_is_read_back_once_in_the_split_of_its_own_key_without_an_english_side(store, folder):
    corpus = build_corpus(store, config(folder))
    assert (corpus.kind, corpus.unit, corpus.languages) == ("text", "rows", ("en", "hi", "sw"))
    for tag, texts in (("sw", SWAHILI), ("en", ENGLISH), ("hi", HINDI)):
        rows = rows_of(corpus, tag)
        assert sorted(row["text"] for row in rows) == sorted(texts)
        for row in rows:
            assert row["split"] == assign_split(row["text"], SplitConfig())
            assert (row["english"], row["english_id"], row["english_chars"]) == ("", -1, 0)
            assert (row["text_chars"], row["source"]) == (len(row["text"]), "texts")
        assert len({row["id"] for row in rows}) == len(texts)


def test_no_text_is_in_two_splits_and_what_differs_in_case_is_one(store, folder):
    corpus = build_corpus(store, config(folder))
    splits: dict[str, set[str]] = {}
    for tag in corpus.languages:
        for row in rows_of(corpus, tag):
            splits.setdefault(split_key(row["text"]), set()).add(row["split"])
    assert len(splits) == 150 and all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == set(SPLITS)


def test_the_manifest_counts_rows_and_nothing_of_english(store, folder):
    corpus = build_corpus(store, config(folder))
    facts = corpus.manifest["facts"]
    assert corpus.manifest["inputs"]["kind"] == "text"
    swahili = facts["languages"]["sw"]
    assert swahili["dropped"] == {"duplicate": 1, "placeholder": 1, "short": 1}
    assert swahili["medians"] == {"english_words": 0, "english_chars": 0, "text_words": 6, "text_chars": 30}
    assert (swahili["totals"]["english_words"], swahili["totals"]["english_chars"]) == (0, 0)
    assert swahili["totals"]["text_words"] == sum(len(text.split()) for text in SWAHILI)
    assert facts["english"] == dict.fromkeys(SPLITS, 0) and corpus.num_english == 0
    assert not [name for name in facts["files"] if name.startswith("english")] and not (corpus.folder / "english").exists()
    assert facts["left_out"]["ha"]["kept"] == 1
    assert [row["median words"] for row in describe_corpus(corpus)] == [7, 5, 6]


def test_no_stage_writes_the_text_twice(store, folder):
    seen = {}

    def look(function, tasks):
        yield from map(function, tasks)
        name = {"harvest": "harvest", "settle": "settled"}.get(function.__name__, "none")
        for path in (folder.parent / ".out.scratch" / "work" / name).glob("*.arrow"):
            seen.setdefault(name, []).extend(pa.ipc.open_file(path).read_all().to_pylist())

    build_corpus(store, config(folder), look, folder=folder.parent / "out")
    for rows in (seen["harvest"], seen["settled"]):
        assert {row["english"] for row in rows} == {""} and {row["text"] for row in rows} >= {*SWAHILI, *HINDI}


@pytest.mark.parametrize("bucket_bytes", [2000, 300])
def test_buckets_and_processes_leave_no_trace(tmp_path, folder, monkeypatch, bucket_bytes):
    whole = build_corpus(Store(tmp_path / "a"), config(folder))
    monkeypatch.setattr(pipeline, "BUCKET_BYTES", bucket_bytes)

    def elsewhere(function, tasks):
        for task in random.Random(3).sample(tasks, len(tasks)):
            sent, received = pickle.loads(pickle.dumps((function, json.loads(json.dumps(task)))))
            yield json.loads(json.dumps(sent(received)))

    plan = pipeline.plan_chunks(pipeline.find_sources([str(folder)], "text"))
    assert pipeline._count_buckets(plan) == {2000: 4, 300: 16}[bucket_bytes]
    dealt = build_corpus(Store(tmp_path / "b"), config(folder), elsewhere)
    assert digest(whole.folder) == digest(dealt.folder) and whole.manifest["facts"] == dealt.manifest["facts"]
    assert whole.fingerprint == dealt.fingerprint


@pytest.mark.parametrize("stop_after", [0, 2, 4, 8, 12])
def test_a_build_that_was_killed_goes_on_where_it_stopped(tmp_path, folder, monkeypatch, stop_after):
    monkeypatch.setattr(pipeline, "BUCKET_BYTES", 2000)
    near = config(folder, cleaning=CleaningConfig(near_duplicate_similarity=0.95))
    whole = build_corpus(Store(tmp_path / "whole"), near)
    left = [stop_after]

    def killed(function, tasks):
        for task in tasks:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            yield function(task)

    with pytest.raises(KeyboardInterrupt):
        build_corpus(Store(tmp_path / "store"), near, killed, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    corpus = build_corpus(Store(tmp_path / "store"), near, folder=tmp_path / "out")
    assert digest(corpus.folder) == digest(whole.folder) and corpus.manifest["facts"] == whole.manifest["facts"]


def test_a_training_text_that_nearly_equals_a_held_out_one_goes(store, tmp_path):
    begun = [f"Chagua folda ya {colour} yenye {thing} yote ya leo" for colour in ("nyekundu", "kijani", "bluu", "njano", "kijivu")
             for thing in ("masomo", "muziki", "historia", "kemia", "hesabu")]  # fmt: skip
    (tmp_path / "sw.txt").write_text("\n".join(f"{text}{end}" for text in begun for end in ("", " sana")))
    corpus = build_corpus(store, config(tmp_path / "sw.txt", cleaning=CleaningConfig()))
    assert corpus.manifest["facts"]["languages"]["sw"]["dropped"]["near-duplicate"] > 0
    by_split = {split: set(corpus.rows("sw", split)["text"].to_pylist()) for split in SPLITS}
    for text in by_split["train"]:
        assert not {text.removesuffix(" sana"), f"{text} sana"} & (by_split["test"] | by_split["valid"])


def test_the_same_files_as_bitext_and_as_text_are_two_corpora_and_bitext_keeps_its_fingerprint(tmp_path, store):
    (tmp_path / "sw.tsv").write_text("english\ttext\n" + "".join(f"{e}\t{t}\n" for e, t in zip(ENGLISH, SWAHILI, strict=False)))
    source = str(tmp_path / "sw.tsv")
    text = CorpusConfig(sources=[source], kind="text", min_pairs=5, cleaning=OFF)
    bitext = text.override({"kind": "bitext"})
    inputs = {one.kind: corpus_inputs(one, pipeline.find_sources(one.sources, one.kind)) for one in (text, bitext)}
    assert inputs["text"] == inputs["bitext"] | {"kind": "text"} and "kind" not in inputs["bitext"]
    pairs, texts = build_corpus(store, bitext), build_corpus(store, text)
    assert pairs.fingerprint != texts.fingerprint and (pairs.kind, pairs.unit) == ("bitext", "pairs")
    assert sorted(row["text"] for row in rows_of(texts, "sw")) == sorted(row["text"] for row in rows_of(pairs, "sw"))
    with pytest.raises(ArtifactError, match="was built otherwise"):
        build_corpus(store, text, folder=pairs.folder)


def test_the_model_that_identified_languages_names_the_corpus_and_stands_in_its_manifest(folder, store, monkeypatch):
    versions = iter(["py3langid 0.3.0"] * 2 + ["py3langid 9"])
    monkeypatch.setattr(pipeline, "identifier_version", lambda: next(versions))
    monkeypatch.setattr("optical_ray.data.cleaning.in_another_language", lambda texts, *_: np.zeros(len(texts), bool))
    asked = config(folder, cleaning=OFF.override({"identify_language": True}))
    corpus = build_corpus(store, asked)
    assert corpus.manifest["inputs"]["language_id"] == corpus.manifest["facts"]["versions"]["language_id"] == "py3langid 0.3.0"
    assert find_corpus(store, asked) is None  # another version
    check_rules(corpus, asked.override({"path": str(corpus.folder)}))
    plain = build_corpus(store, config(folder))
    assert "language_id" not in plain.manifest["inputs"] and "language_id" not in plain.manifest["facts"]["versions"]


def test_a_path_to_the_other_kind_is_refused_and_the_default_asks_for_nothing(folder, store, tmp_path):
    built = build_corpus(store, config(folder), folder=tmp_path / "out")
    named = CorpusConfig(path=str(tmp_path / "out"))
    assert find_corpus(store, named) == find_corpus(store, named.override({"kind": "text"})) == built
    other = Corpus(built.folder, {**built.manifest, "inputs": {k: v for k, v in built.manifest["inputs"].items() if k != "kind"}})
    with pytest.raises(DataError, match=r'built by other rules \(kind is "bitext", not "text"\)'):
        check_rules(other, named.override({"kind": "text"}))


def test_a_folder_that_is_built_again_is_read_again(folder, store, tmp_path):
    built = build_corpus(store, config(folder), folder=tmp_path / "out")
    assert set(built.block("sw", "train", 0, ["text"])["text"].to_pylist()) <= set(SWAHILI)
    shutil.rmtree(tmp_path / "out")
    (folder / "news.sw.txt").write_text("\n".join(text.replace("Fungua", "Soma") for text in SWAHILI))
    again = build_corpus(store, config(folder), folder=tmp_path / "out")
    assert all(text.startswith("Soma") for text in again.block("sw", "train", 0, ["text"])["text"].to_pylist())


def test_whatever_needs_english_refuses_text_in_one_line(folder, store, tmp_path):
    corpus = build_corpus(store, config(folder), folder=tmp_path / "out")
    alone = r"holds text alone \(kind=text\); distillation needs bitext"
    for call in (corpus.english, lambda: corpus.english_block(0)):
        with pytest.raises(DataError, match=rf"out: {alone}"):
            call()
    with pytest.raises(DataError, match=rf"out: {alone}"):
        prepare(Recipe().override({"corpus.path": str(corpus.folder)}), store)
    with pytest.raises(ConfigError, match=rf"corpus.kind=text: {alone}"):  # before it is built
        prepare(Recipe().override({"corpus.kind": "text", "corpus.sources": ["nowhere"]}), store)


def test_a_masked_lm_step_is_fed_by_the_same_sets_mixtures_plans_and_token_shards(folder, store, tmp_path):
    corpus = build_corpus(store, config(folder))
    rows = corpus.pairs("train")
    languages = choose_languages(LanguageSetConfig(strategy="largest", size=2), rows)
    assert languages == ("sw", "en")
    mixture = mix(MixingConfig(temperature=2.0), {tag: rows[tag] for tag in languages})
    train_tokenizer(SWAHILI + ENGLISH, TokenizerConfig(vocab_size=200, min_frequency=1), tmp_path / "tokenizer")
    rules = TokenRules(corpus.folder, "text", str(tmp_path / "tokenizer"), None, "", 32)
    shards = build_token_shards(store, rules, mixture.rows)
    plan = build_plan(mixture, BatchConfig(pairs=8, group=4, length_window=2), 5, 0, 32, "test")
    whole, fly = (list(PairSource(plan.languages, TokenSource(rules, held), None).read(plan, START)) for held in (shards, None))
    assert len(whole) == 5
    tokenizer = load_tokenizer(str(tmp_path / "tokenizer"))
    known = {tag: {tuple(tokenizer(text)["input_ids"]) for text in corpus.rows(tag, "train")["text"].to_pylist()} for tag in languages}
    for (batch, after), (other, _) in zip(whole, fly, strict=True):
        assert batch.teacher is None and batch.english_B.tolist() == [-1] * 8
        assert batch.student.ids.tolist() == other.student.ids.tolist()
        for place, language in enumerate(batch.language_B):
            ids = batch.student.ids[batch.student.offsets[place] : batch.student.offsets[place + 1]]
            assert tuple(ids.tolist()) in known[plan.languages[language]]
        again = next(PairSource(plan.languages, TokenSource(rules, shards), None).read(plan, after), None)
        assert (again is None) == (after.pairs == 40)
    workers = [
        [batch for batch, _ in PairSource(plan.languages, TokenSource(rules, shards), None).read(plan, START, rank, 2)] for rank in (0, 1)
    ]
    for parts, (batch, _) in zip(zip(*workers, strict=True), whole, strict=True):
        ids = torch.cat([torch.from_numpy(part.student.ids) for part in parts])
        assert ids.tolist() == batch.student.ids.tolist()
