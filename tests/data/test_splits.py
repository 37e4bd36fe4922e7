"""English sentence -> split."""

import hashlib
import subprocess
import sys
import unicodedata
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from data.nasty import NASTY, TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st

from optical_ray.data.corpus_config import SPLITS, SplitConfig
from optical_ray.data.splits import assign_split, hash_keys, split_key, split_keys, split_of_key, splits_of
from optical_ray.errors import ConfigError

WORDS = st.lists(st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8), min_size=1, max_size=8)


def test_a_key_holds_the_letters_and_digits_of_the_casefolded_compatibility_form():
    assert split_key("  Don’t re-send  the ﬁle № 5!  ") == "dontresendthefileno5"
    assert split_key("Straße") == split_key("STRASSE")
    assert split_key("... ?! —") == ""


@given(WORDS, st.data())
def test_case_spaces_and_punctuation_do_not_change_the_key(words, data):
    plain = "".join(words)
    varied = "".join(
        data.draw(st.sampled_from([word, word.upper(), word.title()])) + data.draw(st.sampled_from([" ", "-", ", ", "! ", "\u00a0"]))
        for word in words
    )
    assert split_key(varied) == plain


@given(st.text())
def test_a_key_is_its_own_key(text):
    key = split_key(text)
    assert split_key(key) == key
    assert not any(unicodedata.category(character)[0] in "PZ" for character in key)


@given(st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_the_unicode_form_does_not_change_the_split(text, form):
    config = SplitConfig()
    assert assign_split(unicodedata.normalize(form, text), config) == assign_split(text, config)


@settings(deadline=None)  # the first one compiles
@given(TEXTS)
def test_the_keys_of_a_column_are_those_of_its_strings(texts):
    assert split_keys(pa.array(texts, pa.string())).to_pylist() == [split_key(text) for text in texts]


def test_every_character_and_every_pair_of_odd_ones_has_the_same_key_in_a_column():
    assigned = [chr(code) for code in (*range(0xD800), *range(0xE000, 0x20000), *range(0xE0100, 0xE01F0))]
    texts = [*assigned, *map("".join, product(NASTY, repeat=2)), *("".join(["u\u0306", odd, "\u0323"]) for odd in NASTY)]
    assert split_keys(pa.array(texts)).to_pylist() == [split_key.__wrapped__(text) for text in texts]


@pytest.mark.parametrize(("start", "length"), [(0, 3), (1, 2), (2, 0), (1, 1)])
def test_a_slice_of_a_column_has_the_keys_of_the_slice(start, length):
    column = pa.array(["First One!", "straße, zweite", "नमस्ते, दुनिया"])
    keys = split_keys(column.slice(start, length))
    assert keys.to_pylist() == split_keys(column).to_pylist()[start : start + length]
    assert [half.tolist() for half in hash_keys(keys, "s")] == [
        half.tolist() for half in hash_keys(pa.array(keys.to_pylist(), pa.string()), "s")
    ]


@settings(deadline=None)
@given(TEXTS, st.text(max_size=3))
def test_place_and_order_are_the_halves_of_one_digest(texts, salt):
    place, order = hash_keys(pa.array(texts, pa.string()), salt)
    digests = [hashlib.blake2b(f"{salt}\x1f{text}".encode(), digest_size=16).digest() for text in texts]
    assert place.tolist() == [int.from_bytes(digest[:8], "big") for digest in digests]
    assert order.tolist() == [int.from_bytes(digest[8:], "big") for digest in digests]


def test_a_column_is_split_like_its_sentences():
    config = SplitConfig(valid_share=0.2, test_share=0.3, salt="s")
    sentences = pa.array([f"Sentence number {i}!" for i in range(500)])
    place, _ = hash_keys(split_keys(sentences), config.salt)
    assert [SPLITS[split] for split in splits_of(place, config)] == [assign_split(sentence, config) for sentence in sentences.to_pylist()]


def test_the_ends_of_the_range_are_test_and_train():
    ends = np.array([0, 2**64 - 1], np.uint64)
    assert [SPLITS[split] for split in splits_of(ends, SplitConfig(valid_share=0, test_share=0.1))] == ["test", "train"]
    assert {SPLITS[split] for split in splits_of(ends, SplitConfig(valid_share=0, test_share=0))} == {"train"}


def test_different_numbers_are_different_sentences():
    assert split_key("Go back 10 seconds") != split_key("Go back 30 seconds")


def test_the_shares_are_met():
    config = SplitConfig(valid_share=0.12, test_share=0.15)
    found = [assign_split(f"sentence number {i}", config) for i in range(20_000)]
    assert found.count("test") / 20_000 == pytest.approx(0.15, abs=0.011)  # four standard errors
    assert found.count("valid") / 20_000 == pytest.approx(0.12, abs=0.010)
    assert set(found) == set(SPLITS)


def test_the_split_is_the_documented_hash():
    config = SplitConfig(valid_share=0.3, test_share=0.3, salt="s")
    for i in range(200):
        place = int.from_bytes(hashlib.blake2b(f"s\x1fsentence{i}".encode(), digest_size=16).digest()[:8], "big") / 2**64
        assert split_of_key(f"sentence{i}", config) == ("test" if place < 0.3 else "valid" if place < 0.6 else "train")


def test_a_larger_test_share_only_adds_to_the_test_set():
    small, large = SplitConfig(test_share=0.1), SplitConfig(test_share=0.3)
    tested = [f"sentence {i}" for i in range(2_000) if assign_split(f"sentence {i}", small) == "test"]
    assert tested
    assert {assign_split(sentence, large) for sentence in tested} == {"test"}


def test_another_salt_gives_another_partition():
    sentences = [f"sentence {i}" for i in range(500)]
    assert [assign_split(s, SplitConfig()) for s in sentences] != [assign_split(s, SplitConfig(salt="b")) for s in sentences]


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_the_split_does_not_depend_on_the_process(hash_seed):
    code = (
        "from optical_ray.data.splits import assign_split; from optical_ray.data.corpus_config import SplitConfig\n"
        "print(','.join(assign_split(f'Sentence {i}', SplitConfig()) for i in range(40)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": hash_seed})
    assert done.stdout.strip().split(",") == [assign_split(f"Sentence {i}", SplitConfig()) for i in range(40)]


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ConfigError, match="leaves nothing to train on"):
        SplitConfig.parse({"valid_share": 0.5, "test_share": 0.5}, "recipe.json")
