"""What compiled loops find in texts, beside what regular expressions and unicodedata find."""

import re
import unicodedata

import pyarrow as pa
import pytest
from data.nasty import NASTY, TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st

from optical_ray.data.characters import composition, from_utf8, utf8
from optical_ray.data.text_facts import IRREGULAR, count_english_words, count_words, find_marks, script_shares

_WORD = re.compile(r"[A-Za-z]['’-]?[A-Za-z]|^\W*[AaI]\W*$")


@pytest.mark.parametrize(("english", "words"), [("I am a user", 4), ("Don’t re-send it", 3), ("10 seconds", 1), ("a_b_c d", 0), ("", 0)])
def test_words_are_counted_between_spaces(english, words):
    assert count_english_words(pa.array([english])).tolist() == [words]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(st.text(st.sampled_from("aAIxb'’-_1é.\u0301न"), min_size=1, max_size=5), max_size=4).map(" ".join), max_size=5))
def test_words_are_those_of_the_regular_expression(texts):
    expected = [sum(_WORD.search(word) is not None for word in text.split()) for text in texts]
    assert count_english_words(pa.array(texts, pa.string())).tolist() == expected


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("aZéжना漢1 .-́𐐀"), max_size=12), max_size=5))
def test_words_of_any_script_are_what_stands_between_spaces_with_a_letter_in_it(texts):
    expected = [sum(any(map(str.isalpha, word)) for word in text.split(" ")) for text in texts]
    assert count_words(pa.array(["x", *texts], pa.string()).slice(1)).tolist() == expected


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("aZéжनाকგ漢かカ한ا1 .-́𐐀")), max_size=5))
def test_the_share_of_a_script_agrees_with_the_names_of_the_characters(texts):
    for script, names in {
        "Latn": ("LATIN",),
        "Deva": ("DEVANAGARI",),
        "Cyrl": ("CYRILLIC",),
        "Jpan": ("HIRAGANA", "KATAKANA", "CJK"),
        "Dsrt": ("DESERET",),
    }.items():
        letters = [[character for character in text if character.isalpha()] for text in texts]
        inside = [[character for character in of_text if unicodedata.name(character).startswith(names)] for of_text in letters]
        expected = [len(some) / len(of_text) if of_text else 0.0 for some, of_text in zip(inside, letters, strict=True)]
        assert script_shares(pa.array(texts, pa.string()), script).tolist() == expected


@pytest.mark.parametrize(("style", "script"), [("Aran", "Arab"), ("Latf", "Latn"), ("Hans", "Hani"), ("Kore", "Hang")])
def test_a_style_or_part_of_a_script_counts_the_letters_of_the_script(style, script):
    texts = pa.array(["".join(NASTY)])
    assert script_shares(texts, style)[0] >= script_shares(texts, script)[0] > 0


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_what_has_no_mark_is_nfc_with_single_inner_spaces_and_no_entity(texts):
    for text, marks in zip(texts, find_marks(pa.array(texts, pa.string())).tolist(), strict=True):
        if not marks & IRREGULAR:
            assert unicodedata.is_normalized("NFC", text)
            assert text == " ".join(text.split())
            assert "&" not in text


def test_plain_sentences_of_many_scripts_have_no_mark():
    sentences = ["Search the library, please.", "पुस्तकालय में ढूँढें", "thư viện", "搜索图书馆", "도서관 검색", "bibliothèque", "библиотека й"]
    assert find_marks(pa.array(sentences)).tolist() == [0] * len(sentences)


def test_the_table_of_composition_is_that_of_unicodedata():
    order, changes, first, second = composition()
    assert (order[0x0301], order[0x094D], order[ord("a")]) == (230, 9, 0)
    assert (changes[0x0958], changes[0x0340], changes[ord("é")]) == (True, True, False)
    assert (second[0x1161], second[0x094D], first[0x1100], first[ord("漢")]) == (True, False, True, False)
    composed = [(character, unicodedata.normalize("NFD", character)) for character in map(chr, range(0xC0, 0x2000))]
    composed = [pair for character, pair in composed if len(pair) == 2 and unicodedata.normalize("NFC", pair) == character]
    assert len(composed) > 500
    assert all(first[ord(base)] and second[ord(mark)] for base, mark in composed)


@given(TEXTS)
def test_a_slice_gives_its_strings_back_from_their_bytes(texts):
    text, offsets = utf8(pa.array(["x", *texts], pa.string()).slice(1))
    assert from_utf8(text, offsets).to_pylist() == texts
