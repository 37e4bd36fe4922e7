"""Teacher tokens: pieces, their resumption, gathering, the centre, online against cached."""

import shutil
from collections import namedtuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from optical_ray.artifacts import Store
from optical_ray.data import teacher_centre, teacher_pieces
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus_config import CorpusConfig
from optical_ray.data.layout import BLOCK_ROWS
from optical_ray.data.teacher_cache import TeacherTokens, build_teacher_tokens, encode_english
from optical_ray.data.teacher_centre import TeacherCentre, build_teacher_centre, identify_teacher
from optical_ray.data.teacher_pieces import (
    OneProcess,
    SizeEstimate,
    describe_seconds,
    encode_sentences,
    estimate_size,
    has_piece,
    open_piece,
    write_piece,
)
from optical_ray.encoders.config import TeacherConfig
from optical_ray.encoders.teacher import load_teacher
from optical_ray.encoders.tokenizer import TokenTable, tokenize
from optical_ray.errors import ArtifactError, NumericsError

Usage = namedtuple("Usage", "total used free")
WORDS = ("the", "a", "my", "old", "red", "teacher", "student", "reads", "buys", "forgets", "paints", "book", "house", "letters", "gate")


class Recording(OneProcess):
    """Notes which blocks it is asked for; breaks off after some."""

    def __init__(self, stop_after=None):
        super().__init__()
        self.stop_after, self.blocks = stop_after, []

    def map(self, factory, setup, tasks):
        for task, summary in zip(tasks, super().map(factory, setup, tasks), strict=True):
            if task["limit"] is None:
                self.blocks.append(task["block"])
            yield summary
            if len(self.blocks) == self.stop_after:
                raise InterruptedError("pulled the plug")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two threads of a tiny model wait for each other longer than they compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """9,000 English sentences: two whole blocks and a part of one."""
    root = tmp_path_factory.mktemp("three-blocks")
    generator = np.random.default_rng(0)
    english, text = ([" ".join(generator.choice(WORDS, length)) for length in generator.integers(4, 9, 9000)] for _ in range(2))
    (root / "bitext" / "lang=sw").mkdir(parents=True)
    pq.write_table(pa.table({"english": english, "text": text}), root / "bitext" / "lang=sw" / "part-0.parquet")
    config = CorpusConfig(sources=(str(root / "bitext"),)).override({"cleaning.near_duplicates": "off"})  # few words, many sentences
    built = build_corpus(Store(root / "store"), config)
    assert 2 * BLOCK_ROWS < built.num_english < 3 * BLOCK_ROWS
    return built


@pytest.fixture(scope="module")
def build(corpus, world):
    """Build the corpus's teacher tokens into a store."""
    return lambda store, pool=None, progress=None: build_teacher_tokens(store, corpus, TeacherConfig(), str(world.teacher), progress, pool)


@pytest.fixture(scope="module")
def whole(build, tmp_path_factory):
    """Built in one go."""
    return build(Store(tmp_path_factory.mktemp("whole")))


def texts_of(corpus, ids):
    return [corpus.english_block(i // BLOCK_ROWS)["english"][i % BLOCK_ROWS].as_py() for i in ids]


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.npy")}


def test_a_cached_sentence_is_what_the_teacher_says_of_it_alone(corpus, world, whole):
    teacher, tokens = load_teacher(str(world.teacher), TeacherConfig()), TeacherTokens.open(whole)
    ids = [0, 1, 17, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 3, corpus.num_english - 1]
    for english_id, text in zip(ids, texts_of(corpus, ids), strict=True):
        asked = teacher.tokenizer(text, return_tensors="pt")["input_ids"]
        alone = teacher.encode(asked, torch.ones_like(asked))[0, 1:-1]  # without CLS and SEP
        found = torch.from_numpy(tokens.sentence(english_id).astype(np.float32))
        torch.testing.assert_close(found, alone, atol=2e-3, rtol=2e-3)


def test_gathered_tokens_are_those_of_each_sentence_in_the_order_asked_for(corpus, whole):
    tokens = TeacherTokens.open(whole)
    ids = np.random.default_rng(1).integers(0, corpus.num_english, 50).astype(np.int32)
    ids[7] = ids[3]
    vectors, lengths = tokens.gather(ids)
    assert vectors.dtype == np.float16 and lengths.dtype == np.int64
    assert lengths.tolist() == [len(tokens.sentence(int(i))) for i in ids]
    assert np.array_equal(vectors, np.concatenate([tokens.sentence(int(i)) for i in ids]))
    nothing, none = tokens.gather([])
    assert nothing.shape == (0, tokens.dimension) and none.shape == (0,)


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_build_that_broke_off_encodes_only_what_is_missing_and_gives_the_same_bytes(build, whole, tmp_path, stop_after):
    store, first, second = Store(tmp_path), Recording(stop_after), Recording()
    with pytest.raises(InterruptedError):
        build(store, first)
    folder = build(store, second)
    assert (first.blocks, second.blocks) == ([0, 1, 2][:stop_after], [0, 1, 2][stop_after:])
    assert bytes_of(folder) == bytes_of(whole)


def test_a_piece_that_was_cut_off_is_encoded_again_and_what_a_kill_left_is_swept_away(build, whole, tmp_path):
    store, again = Store(tmp_path), Recording()
    with pytest.raises(InterruptedError):
        build(store, Recording(stop_after=2))
    [piece] = tmp_path.glob(".teacher-tokens-*.scratch/part-00001.npy")
    piece.write_bytes(piece.read_bytes()[:-10])
    piece.with_name(".part-00002.npy.4711").touch()
    folder = build(store, again)
    assert again.blocks == [1, 2]
    assert not list(folder.glob(".*"))
    assert bytes_of(folder) == bytes_of(whole)


def test_a_piece_depends_on_its_block_alone(build, whole, tmp_path):
    class Backwards(OneProcess):
        def map(self, factory, setup, tasks):
            for task in reversed(tasks):
                yield factory(setup)(task)

    assert bytes_of(build(Store(tmp_path), Backwards())) == bytes_of(whole)


def test_the_centre_is_the_mean_token_of_the_first_training_sentences(corpus, world, build, tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_centre, "SAMPLE_SENTENCES", 5000)  # ends inside the second block
    tokens = TeacherTokens.open(build(Store(tmp_path)))
    splits = [split for block in range(3) for split in corpus.english_block(block)["split"].to_pylist()]
    training = [english_id for english_id, split in enumerate(splits) if split == "train"][:5000]
    assert training[-1] > BLOCK_ROWS
    sample = tokens.gather(training)[0].astype(np.float64)
    np.testing.assert_allclose(tokens.centre, sample.mean(0), rtol=1e-6)
    assert tokens.spread == pytest.approx(np.linalg.norm(sample - sample.mean(0), axis=1).mean(), rel=1e-6)


def test_cached_or_online_the_centre_is_the_same_to_the_last_bit(corpus, world, whole, tmp_path):
    folder = build_teacher_centre(Store(tmp_path), corpus, TeacherConfig(), str(world.teacher))
    online, cached = TeacherCentre.open(folder), TeacherCentre.open(whole)
    assert np.array_equal(online.centre, cached.centre) and online.spread == cached.spread
    assert identify_teacher(folder) == identify_teacher(whole)


def test_online_gives_what_the_cache_gives_to_rounding(corpus, world, whole):
    teacher, tokens = load_teacher(str(world.teacher), TeacherConfig(cache=False)), TeacherTokens.open(whole)
    ids = np.array([5000, 3, 8199, 3, 4100], np.int32)
    table = tokenize(teacher.tokenizer, texts_of(corpus, ids.tolist()), 64)
    attention_BM = torch.arange(int(table.lengths.max())) < torch.from_numpy(table.lengths)[:, None]
    ids_BM, content_BM = torch.zeros(attention_BM.shape, dtype=torch.int64), torch.zeros_like(attention_BM)
    ids_BM[attention_BM], content_BM[attention_BM] = torch.from_numpy(table.ids).long(), torch.from_numpy(table.content)
    vectors_BMD, mask_BM = teacher.encode_ids(ids_BM, attention_BM, content_BM)
    cached, lengths = tokens.gather(ids)
    assert mask_BM.sum(1).tolist() == lengths.tolist()
    torch.testing.assert_close(vectors_BMD[mask_BM], torch.from_numpy(cached).float(), atol=2e-3, rtol=2e-3)


def test_some_sentences_encoded_in_memory_stand_in_for_the_cache(corpus, world, whole):
    teacher, tokens = load_teacher(str(world.teacher), TeacherConfig()), TeacherTokens.open(whole)
    some = encode_english(teacher, corpus, [5000, 3, 8199, 3, 4100], TeacherCentre.open(whole))
    for ids in ([8199, 3], [4100, 4100, 5000], []):
        (found, found_lengths), (expected, lengths) = some.gather(ids), tokens.gather(ids)
        assert found_lengths.tolist() == lengths.tolist() and found.dtype == np.float16
        np.testing.assert_allclose(found, expected, atol=2e-3, rtol=2e-3)
    assert (some.dimension, some.spread) == (tokens.dimension, tokens.spread)
    with pytest.raises(KeyError, match="english_id 4 is not one of the 4"):
        some.gather([3, 4])


def test_sentences_without_a_token_are_kept_as_empty_ones(world, tmp_path):
    teacher = load_teacher(str(world.teacher), TeacherConfig())
    lengths = [4, 3, 5]
    content = np.array([False, True, True, False, *[False] * 3, False, True, True, True, False])
    table = TokenTable(np.arange(5, 17, dtype=np.int32), content, np.concatenate([[0], np.cumsum(lengths)]))
    vectors, offsets = encode_sentences(teacher, table)
    assert offsets.tolist() == [0, 2, 2, 5]
    write_piece(tmp_path, 0, vectors, offsets)
    write_piece(tmp_path, 1, vectors[:0], np.zeros(3, np.int64))
    tokens = TeacherTokens(tmp_path, teacher.dimension, np.zeros(teacher.dimension, np.float32), 1.0)
    found, found_lengths = tokens.gather([2, BLOCK_ROWS + 1, 1, 0])
    assert found_lengths.tolist() == [3, 0, 0, 2]
    assert np.array_equal(found, np.concatenate([vectors[2:], vectors[:2]]))
    assert has_piece(tmp_path, 0, 3) and has_piece(tmp_path, 1, 2)
    assert not has_piece(tmp_path, 0, 4) and not has_piece(tmp_path, 2, 3)


def test_a_corpus_that_does_not_fit_on_the_disk_is_refused_before_anything_is_encoded(corpus, build, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**9, 10**9, 1_000_000))
    pool = Recording()
    with pytest.raises(ArtifactError, match=rf"{corpus.num_english:,} sentences, .* MB\) do not fit: 1.0 MB free; .*teacher.cache=false"):
        build(Store(tmp_path), pool)
    assert pool.blocks == []


def test_size_and_time_are_told_before_the_first_piece(corpus, world, build, tmp_path):
    lines, sentences = [], f"{corpus.num_english:,} sentences"
    folder = build(Store(tmp_path), None, lines.append)
    assert [line.partition(":")[0] for line in lines] == ["teacher tokens"] * 4
    assert lines[0].startswith(f"teacher tokens: {sentences}, ") and "tokens each" in lines[0] and ", about " in lines[0]
    assert lines[-1].startswith(f"teacher tokens: {corpus.num_english:,} of {sentences}")
    written = sum(path.stat().st_size for path in folder.glob("part-*.npy"))
    assert estimate_size(corpus, TeacherConfig(), str(world.teacher), corpus.num_english).bytes == pytest.approx(written, rel=0.05)


def test_sizes_and_times_are_told_in_units_that_fit():
    assert str(SizeEstimate(4_100_000, 12.1, 384)) == "4.1 M sentences, 12 tokens each, 38 GB"
    assert [describe_seconds(s) for s in (7, 100, 11_400)] == ["7 s", "2 min", "3 h 10 min"]


def test_a_teacher_that_gives_no_numbers_is_refused(corpus, world, tmp_path, monkeypatch):
    def broken(*arguments):
        teacher = load_teacher(*arguments)
        torch.nn.init.constant_(teacher.model.encoder.layer[0].output.LayerNorm.bias, torch.inf)
        return teacher

    monkeypatch.setattr(teacher_centre, "load_teacher", broken)
    with pytest.raises(NumericsError, match="NaN, infinite or beyond 65504"):
        build_teacher_centre(Store(tmp_path), corpus, TeacherConfig(), str(world.teacher))
    monkeypatch.setattr(teacher_pieces, "load_teacher", broken)
    encoder = teacher_pieces.PieceEncoder({"model": str(world.teacher), "config": {}, "device": "cpu", "corpus": str(corpus.folder)})
    summary = encoder({"block": 2, "limit": 10, "folder": str(tmp_path)})
    assert summary["broken"] == summary["tokens"] > 0


def test_a_piece_that_was_deleted_is_named(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "copy")
    (folder / "part-00001.npy").unlink()
    tokens = TeacherTokens.open(folder)
    tokens.gather([0])
    with pytest.raises(ArtifactError, match=r"part-00001.npy: cannot be read .*; delete .*copy and run again"):
        tokens.gather([0, BLOCK_ROWS])
    with pytest.raises(ArtifactError):
        open_piece(folder, 1)
