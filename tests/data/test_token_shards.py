from dataclasses import replace

import numpy as np
import pytest

from optical_ray.artifacts import Store
from optical_ray.data import token_shards
from optical_ray.data.corpus import Corpus
from optical_ray.data.token_shards import TokenReader, TokenRules, TokenSource, build_token_shards, write_part
from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.tokenizer import train_tokenizer
from optical_ray.errors import DataError
from optical_ray.stages import prepare

BLOCK = 64


@pytest.fixture
def rules(world, monkeypatch) -> TokenRules:
    """The tiny world in blocks of 64 rows, two to a part."""
    rules = prepare(world.recipe, world.store).tokens.rules
    monkeypatch.setattr(token_shards, "BLOCK_ROWS", BLOCK)
    monkeypatch.setattr(token_shards, "PART_BLOCKS", 2)

    def block(corpus, tag, split, index):
        return corpus.rows(tag, split).slice(index * BLOCK, BLOCK)

    monkeypatch.setattr(Corpus, "block", block)
    return rules


def pairs_of(rules):
    return Corpus.open(rules.corpus).pairs("train")


def every_pair(rules):
    """(language, row) of all training rows of two languages, shuffled."""
    pairs = pairs_of(rules)
    language = np.repeat(np.arange(2, dtype=np.int16), [pairs["sw"], pairs["so"]])
    row = np.concatenate([np.arange(pairs["sw"]), np.arange(pairs["so"])]).astype(np.int32)
    order = np.random.default_rng(0).permutation(len(row))
    return language[order], row[order]


@pytest.mark.parametrize("side", ["text", "english"])
@pytest.mark.parametrize("prefix", ["", "query: "])
def test_shards_and_the_fly_give_the_tokens_of_the_corpus(rules, tmp_path, side, prefix):
    rules = replace(rules, side=side, prefix=prefix)
    shards = build_token_shards(Store(tmp_path), rules, {tag: pairs_of(rules)[tag] for tag in ("sw", "so")})
    language, row = every_pair(rules)
    found = TokenReader(TokenSource(rules, shards), ("sw", "so")).gather(language, row)
    again = TokenReader(TokenSource(rules, None), ("sw", "so")).gather(language, row)
    tokenizer = load_tokenizer(rules.tokenizer)
    tables = [Corpus.open(rules.corpus).rows(tag, "train").to_pylist() for tag in ("sw", "so")]
    for place, (tag, one) in enumerate(zip(language, row, strict=True)):
        expected = tables[tag][one]
        span = slice(found.tokens.offsets[place], found.tokens.offsets[place + 1])
        encoded = tokenizer(prefix + expected[side], return_offsets_mapping=True, return_special_tokens_mask=True)
        assert found.tokens.ids[span].tolist() == encoded["input_ids"]
        ends = zip(encoded["special_tokens_mask"], encoded["offset_mapping"], strict=True)
        assert found.tokens.content[span].tolist() == [not special and end > len(prefix) for special, (_, end) in ends]
        assert found.english_id[place] == expected["english_id"]
    for name in ("ids", "content", "offsets"):
        np.testing.assert_array_equal(getattr(found.tokens, name), getattr(again.tokens, name))
    np.testing.assert_array_equal(found.english_id, again.english_id)


def test_a_reader_holds_no_more_blocks_than_its_languages_need(rules, tmp_path):
    reader = TokenReader(TokenSource(rules, None), ("sw", "so"))
    reader.gather(*every_pair(rules))
    assert len(reader._held) <= 6 < sum(-(-pairs_of(rules)[tag] // BLOCK) for tag in ("sw", "so"))


def test_a_killed_build_goes_on_with_the_parts_that_are_missing(rules, tmp_path):
    done = []

    def die_after_one(function, tasks):
        for task in tasks:
            if done:
                raise KeyboardInterrupt
            done.append(task["path"])
            yield function(task)

    store, rows = Store(tmp_path), {"sw": pairs_of(rules)["sw"]}
    with pytest.raises(KeyboardInterrupt):
        build_token_shards(store, rules, rows, die_after_one)
    assert not list(tmp_path.glob("tokens-*")), "half an artifact is none"
    made = []
    make_block = token_shards.make_block
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_shards, "make_block", lambda *call: made.append(call[2]) or make_block(*call))
        folder = build_token_shards(store, rules, rows)["sw"]
    assert made == list(range(2, -(-rows["sw"] // BLOCK)))
    whole = build_token_shards(Store(tmp_path / "whole"), rules, rows)["sw"]
    for part in sorted(whole.glob("*.arrow")):
        assert (folder / part.name).read_bytes() == part.read_bytes()


def test_a_part_that_breaks_off_leaves_no_file(rules, tmp_path, monkeypatch):
    def broken(*call):
        raise KeyboardInterrupt

    monkeypatch.setattr(token_shards, "make_block", broken)
    task = {"rules": {}, "language": "sw", "first_block": 0, "blocks": 1, "path": str(tmp_path / "part.arrow")}
    task["rules"] = {name: getattr(rules, name) for name in TokenRules.__slots__} | {"corpus": str(rules.corpus)}
    with pytest.raises(KeyboardInterrupt):
        write_part(task)
    assert list(tmp_path.iterdir()) == []


def test_languages_and_whole_parts_are_shared_between_sets(rules, tmp_path):
    store = Store(tmp_path)
    few = build_token_shards(store, rules, {"sw": 10, "ha": 128})
    more = build_token_shards(store, rules, {"sw": 128, "so": 10})
    assert few["sw"] == more["sw"], "10 rows and 128 rows lie in the same part"
    assert len(list(tmp_path.glob("tokens-*"))) == 3
    assert [len(list(few["sw"].glob("*.arrow"))), len(list(build_token_shards(store, rules, {"sw": 129})["sw"].glob("*.arrow")))] == [1, 2]


def test_shards_of_another_tokenizer_are_refused_with_the_reason(rules, tmp_path):
    shards = build_token_shards(Store(tmp_path), rules, {"sw": 10})
    train_tokenizer(["habari ya asubuhi"], TokenizerConfig(vocab_size=100), tmp_path / "other")
    other = replace(rules, tokenizer=str(tmp_path / "other"))
    with pytest.raises(DataError, match=r"tokens-.*: made otherwise than asked for \(tokenizer.files.tokenizer.json differs"):
        TokenReader(TokenSource(other, shards), ("sw",))
    with pytest.raises(DataError, match="max_tokens is 64, not 12"):
        TokenReader(TokenSource(replace(rules, max_tokens=12), shards), ("sw",))
    assert build_token_shards(Store(tmp_path), other, {"sw": 10}) != shards


def test_a_tokenizer_is_known_by_its_files_not_by_the_weights_beside_them(rules, tmp_path):
    train_tokenizer(["habari ya asubuhi"], TokenizerConfig(vocab_size=100), tmp_path)
    before = token_shards.identify_tokenizer(str(tmp_path), None)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "config.json").write_text("{}")
    assert token_shards.identify_tokenizer(str(tmp_path), None) == before
    (tmp_path / "vocab.txt").write_text("a")
    assert token_shards.identify_tokenizer(str(tmp_path), None) != before
