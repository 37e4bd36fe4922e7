"""Rows -> bitext: every rule drops what it names, and a column gets what its rows would get one by one."""

import html
import re
import unicodedata
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import regex
from data.nasty import TEXTS
from hypothesis import given, settings
from hypothesis import strategies as st

from optical_ray.data.catalogs import RawRow
from optical_ray.data.cleaning import RULES, clean_batch, normalise, normalise_column
from optical_ray.data.corpus_config import CleaningConfig
from optical_ray.data.language_id import Identifier
from optical_ray.data.splits import split_key
from optical_ray.errors import ConfigError
from optical_ray.languages.codes import describe_language

SWAHILI, HINDI, CHINESE, JAPANESE, ARABIC = (describe_language(tag) for tag in ("sw", "hi", "zh-Hans", "ja", "ar"))
GOOD = RawRow("Search the whole library", "Tafuta maktaba yote", "kolibri")


def clean(rows, language, config):
    """`clean_batch` of raw rows: the rows kept, and how many each rule dropped."""
    cleaned = clean_batch(*(pa.array([row[side] for row in rows], pa.string()) for side in (0, 1)), language, config)
    kept = zip(cleaned.english.to_pylist(), cleaned.text.to_pylist(), (rows[row].source for row in cleaned.rows), strict=True)
    return [RawRow(*row) for row in kept], cleaned.dropped


BROKEN = [
    # rule, English, text, language, the switch that lets the row through
    ("placeholder", "Delete %(name)s for ever", "Futa %(name)s kabisa", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "Delete all of them now", "Futa {count} zote sasa", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "{n, plural, one {# page} other {# pages}}", "kurasa nyingi", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "Please sign in as $user", "Ingia kama mtumiaji", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "A fraction, like $1/2$", "Sehemu, kama nusu", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "Delete &#37;s for ever", "Futa kabisa yote", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "Delete all of them now", "Futa &amp;#123;count} zote", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "Delete all of &lcub;them", "Futa zote kabisa", SWAHILI, {"drop_placeholders": False}),
    ("short", "Sign in", "Ingia hapa", SWAHILI, {"min_english_words": 0}),
    ("short", "A B C D E", "A B CH D E", SWAHILI, {"min_english_words": 0}),
    ("short", "yes,no,maybe", "ndio,hapana,labda", SWAHILI, {"min_english_words": 0}),
    ("long", "word " * 129, "neno " * 129, SWAHILI, {"max_words": None}),
    ("long", "one two three", "neno " * 129, SWAHILI, {"max_words": None, "max_length_ratio": None}),
    ("ratio", "This is a rather long sentence", "Sentensi", SWAHILI, {"min_length_ratio": 0}),
    ("ratio", "It is so", "Sentensi ambayo ni ndefu sana kuliko ile ya asili", SWAHILI, {"max_length_ratio": None}),
    ("script", "Search the whole library", "Tafuta maktaba yote", HINDI, {"min_script_share": 0}),
    ("script", "Пошук у бібліотеці тут abc abc abc", "Tafuta maktaba yote ya hapa", SWAHILI, {"min_script_share": 0}),
    ("copy", "Kolibri Data Portal", "kolibri data-portal!", SWAHILI, {"drop_copies": False}),
]


@pytest.mark.parametrize(("rule", "english", "text", "language", "switch"), BROKEN)
def test_each_rule_drops_its_row_and_counts_it(rule, english, text, language, switch):
    kept, dropped = clean([RawRow(english, text, "test")], language, CleaningConfig())
    assert kept == []
    assert dropped == {rule: 1}


@pytest.mark.parametrize(("rule", "english", "text", "language", "switch"), BROKEN)
def test_each_rule_can_be_switched_off(rule, english, text, language, switch):
    _, dropped = clean([RawRow(english, text, "test")], language, CleaningConfig(**switch))
    assert rule not in dropped


@pytest.mark.parametrize(
    ("english", "text"), [("", "kitu"), ("some thing here", ""), ("<br>", "kitu"), ("some thing here", "&nbsp; \u200b")]
)
def test_a_row_with_an_empty_side_is_dropped_whatever_the_rules(english, text):
    config = CleaningConfig(min_english_words=0, min_length_ratio=0, max_length_ratio=None, min_script_share=0, drop_copies=False)
    assert clean([RawRow(english, text, "test")], SWAHILI, config) == ([], {"empty": 1})


@pytest.mark.parametrize(
    ("raw", "clean_text"),
    [
        ("Read &amp;amp; write", "Read & write"),
        ("Press <b class='x'>now</b>, then <br/> wait", "Press now , then wait"),
        ("See https://example.org/a?b=c for more", "See for more"),
        ("two\n  lines\tand\u00a0more ", "two lines and more"),
        ("cafe\u0301", "caf\u00e9"),
        ("e\u200b\u0301", "\u00e9"),
        ("soft\u00adhyphen \u200fmark\ufeff", "softhyphen mark"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("Title: (A -> Z), 3 < 5", "Title: (A -> Z), 3 < 5"),
    ],
)
def test_text_is_normalised(raw, clean_text):
    assert normalise(raw, strip_markup=True) == clean_text


def test_markup_stays_when_it_is_asked_to():
    assert normalise("<b>now</b> www.example.org", strip_markup=False) == "<b>now</b> www.example.org"


@pytest.mark.parametrize("english", ["It costs $5 to enter", "About 50 % of pages", "About 50% of them"])
def test_prices_and_percentages_are_no_placeholders(english):
    assert clean([RawRow(english, "Karibu hapa ndani leo", "test")], SWAHILI, CleaningConfig())[1] == {}


def test_dense_scripts_are_not_dropped_for_being_short():
    rows = [RawRow("Search the whole library", "搜索图书馆", "test")]
    assert clean(rows, CHINESE, CleaningConfig()) == (rows, {})


ROWS = st.lists(
    st.builds(
        RawRow,
        st.text(st.sampled_from("abc def <b>%{}&;é。\n")),
        st.text(st.sampled_from("abc नाव %{}&;ж。\n")),
        st.just("test"),
    ),
    max_size=12,
)


_WORD = re.compile(r"[A-Za-z]['’-]?[A-Za-z]|^\W*[AaI]\W*$")
_PLACEHOLDER = re.compile(r"[{}\\]|%[(\w%]|\$[A-Za-z_]|\$\S+\$")
_INVISIBLE = regex.compile(r"[\u00AD\u061C\u200B\u200E\u200F\u202A-\u202E\u2060\u2066-\u2069\uFEFF]")
_PARTS = {"Latn": ["Latin"], "Deva": ["Devanagari"], "Jpan": ["Hiragana", "Katakana", "Han"], "Arab": ["Arabic"]}
_WORTH = {"Jpan": 2}


def reference_normalise(text, strip_markup):
    """The steps, none skipped."""
    text = unicodedata.normalize("NFC", _INVISIBLE.sub("", html.unescape(html.unescape(text))))
    if strip_markup:
        text = re.sub(r"(?:https?://|www\.)\S+", " ", re.sub(r"(?s)</?[A-Za-z][^<>]*>|<!--.*?-->", " ", text))
    return " ".join(text.split())


def reference_share(text, script):
    letters = regex.findall(r"\p{L}", text)
    return sum(any(regex.match(rf"\p{{{part}}}", letter) for part in _PARTS[script]) for letter in letters) / len(letters) if letters else 0


def reference_rule(english, text, language, config):
    """The rule that drops a row, or its two normalised sides: one row at a time, nothing shared with the package but `split_key`."""
    if config.drop_placeholders and any(
        _PLACEHOLDER.search(form) for side in (english, text) for form in (side, html.unescape(html.unescape(side)))
    ):
        return "placeholder"
    english, text = (reference_normalise(side, config.strip_markup) for side in (english, text))
    if not english or not text:
        return "empty"
    if sum(_WORD.search(word) is not None for word in english.split()) < config.min_english_words:
        return "short"
    if config.max_words is not None and max(len(english.split()), len(text.split())) > config.max_words:
        return "long"
    ratio = len(text) * _WORTH.get(language.script, 1) / len(english)
    if ratio < config.min_length_ratio or (config.max_length_ratio is not None and ratio > config.max_length_ratio):
        return "ratio"
    if min(reference_share(english, "Latn"), reference_share(text, language.script)) < config.min_script_share:
        return "script"
    return "copy" if config.drop_copies and split_key(english) == split_key(text) else (english, text)


CONFIGS = st.builds(
    CleaningConfig,
    strip_markup=st.booleans(),
    drop_placeholders=st.booleans(),
    min_english_words=st.sampled_from([0, 1, 2]),
    max_words=st.sampled_from([None, 1, 3]),
    min_length_ratio=st.sampled_from([0, 0.5]),
    max_length_ratio=st.sampled_from([None, 2.0]),
    min_script_share=st.sampled_from([0, 0.3]),
    drop_copies=st.booleans(),
)


@settings(deadline=None, max_examples=300)
@given(TEXTS, TEXTS, st.sampled_from([SWAHILI, HINDI, JAPANESE, ARABIC]), CONFIGS)
def test_a_batch_gets_what_its_rows_would_get_one_by_one(english, text, language, config):
    pairs = list(zip(english, text, strict=False))
    columns = [pa.array(side[: len(pairs)], pa.string()) for side in (english, text)]
    cleaned = clean_batch(*columns, language, config)
    expected = [reference_rule(*pair, language, config) for pair in pairs]
    kept = [row for row, found in enumerate(expected) if isinstance(found, tuple)]
    assert cleaned.dropped == Counter(found for found in expected if isinstance(found, str))
    assert cleaned.rows.tolist() == kept
    assert list(zip(cleaned.english.to_pylist(), cleaned.text.to_pylist(), strict=True)) == [expected[row] for row in kept]
    assert cleaned.keys.to_pylist() == [split_key(expected[row][0]) for row in kept]


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.booleans())
def test_a_column_is_normalised_like_its_strings(texts, strip_markup):
    expected = [reference_normalise(text, strip_markup) for text in texts]
    assert [normalise(text, strip_markup) for text in texts] == expected
    assert normalise_column(pa.array(texts, pa.string()), strip_markup).to_pylist() == expected


def alone(texts, tag, config=None):
    """`clean_batch` of text alone: the texts kept, and how many each rule dropped."""
    cleaned = clean_batch(None, pa.array(texts, pa.string()), describe_language(tag), config or CleaningConfig())
    assert cleaned.english is None
    return cleaned.text.to_pylist(), cleaned.dropped


@pytest.mark.parametrize(
    ("rule", "tag", "text", "switch"),
    [
        ("placeholder", "sw", "Futa {count} zote sasa", {"drop_placeholders": False}),
        ("placeholder", "sw", "Futa &#37;s zote sasa", {"drop_placeholders": False}),
        ("short", "sw", "Ingia hapa", {"min_english_words": 2}),
        ("short", "sw", "7 8 9 Ingia hapa 10 !", {"min_english_words": 2}),
        ("short", "hi", "नमस्ते दुनिया", {"min_english_words": 2}),
        ("short", "zh", "你好吗啊", {"min_english_words": 2}),  # 12 characters' worth of English
        ("short", "ja", "こんにちは皆", {"min_english_words": 2}),
        ("short", "th", "สวัสดีครับผม", {"min_english_words": 2}),
        ("long", "sw", "neno " * 129, {"max_words": None}),
        ("long", "zh", "字" * 214, {"max_words": None}),
        ("script", "hi", "Search the whole library", {"min_script_share": 0}),
        ("script", "en", "Пошук у бібліотеці тут", {"min_script_share": 0}),
    ],
)
def test_text_alone_is_dropped_by_the_rules_that_make_sense_of_it_and_each_can_be_switched_off(rule, tag, text, switch):
    assert alone([text], tag) == ([], {rule: 1})
    assert rule not in alone([text], tag, CleaningConfig(**switch))[1]


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        ("en", "It is so"),
        ("yo", "Ẹ káàárọ̀ o"),
        ("hi", "यह किताब अच्छी है"),
        ("zh", "你好吗同学"),  # 15 characters' worth of English
        ("ja", "こんにちは皆さん"),
        ("th", "สวัสดีครับผมชื่อ"),
        ("my", "မင်္ဂလာပါခင်ဗျာ"),
        ("zh", "字" * 213),
        ("sw", "neno " * 127 + "neno"),
    ],
)
def test_sentences_of_any_script_are_long_enough_and_no_rule_of_two_sides_asks_about_them(tag, text):
    strict = CleaningConfig(min_length_ratio=0.9, max_length_ratio=1.0)
    assert alone([text], tag, strict) == ([text], {})


def test_an_empty_text_alone_is_dropped_and_keys_are_those_of_the_text():
    texts = pa.array(["<br>", "Tafuta &amp; soma maktaba yote"])
    cleaned = clean_batch(None, texts, SWAHILI, CleaningConfig())
    assert (cleaned.text.to_pylist(), cleaned.rows.tolist(), cleaned.dropped) == (["Tafuta & soma maktaba yote"], [1], {"empty": 1})
    assert cleaned.keys.to_pylist() == [split_key("Tafuta & soma maktaba yote")]


def test_a_batch_may_be_a_slice_of_a_larger_one():
    english = pa.array(["Sign in", *["Search the whole library"] * 2, "It is so"])
    text = pa.array(["x", "Tafuta maktaba yote", "  Tafuta  maktaba", "y"])
    cleaned = clean_batch(english.slice(1, 2), text.slice(1, 2), SWAHILI, CleaningConfig())
    assert cleaned.text.to_pylist() == ["Tafuta maktaba yote", "Tafuta maktaba"]
    assert np.array_equal(cleaned.rows, [0, 1])


def test_an_empty_batch_is_cleaned_to_an_empty_one():
    nothing = pa.array([], pa.string())
    cleaned = clean_batch(nothing, nothing, SWAHILI, CleaningConfig())
    assert (len(cleaned.english), len(cleaned.keys), cleaned.rows.tolist(), cleaned.dropped) == (0, 0, [], {})


def test_a_row_in_another_language_is_dropped_after_every_cheaper_rule(monkeypatch):
    asked = []

    def identify(text):
        asked.append(text)
        return ("fi", 0.8) if "ä" in text else ("sw", 0.8)

    monkeypatch.setattr("optical_ray.data.language_id.load_identifier", lambda: Identifier(frozenset({"sw", "fi"}), identify))
    rows = [GOOD, RawRow("Search the whole library", "Etsi täältä koko kirjastosta", "test"), RawRow("Sign in", "Kirjaudu täällä", "test")]
    config = CleaningConfig(identify_language=True, duplicates="keep")
    assert clean(rows, SWAHILI, config) == ([GOOD], {"language": 1, "short": 1})
    assert asked == [GOOD.text, rows[1].text]
    assert clean(rows, SWAHILI, config.override({"min_language_confidence": 0.9}))[1] == {"short": 1}


def test_the_rules_name_every_reason_once_and_say_what_they_drop():
    names = [rule.name for rule in RULES]
    assert names == list(dict.fromkeys(names))
    assert [rule.name for rule in RULES if rule.broken is None] == ["duplicate", "near-duplicate"]
    assert all(rule.drops for rule in RULES)


@settings(deadline=None)
@given(ROWS, st.sampled_from([SWAHILI, HINDI, JAPANESE]))
def test_every_row_is_kept_or_counted_under_one_named_rule(rows, language):
    kept, dropped = clean(rows, language, CleaningConfig(min_english_words=1))
    assert len(kept) + dropped.total() == len(rows)
    assert set(dropped) <= {rule.name for rule in RULES}


@settings(deadline=None)
@given(ROWS)
def test_cleaning_what_is_clean_changes_nothing(rows):
    config = CleaningConfig(min_english_words=1, min_script_share=0)
    kept, _ = clean([row for row in rows if "&" not in row.english + row.text], SWAHILI, config)
    assert clean(kept, SWAHILI, config) == (kept, {})
    for row in kept:
        assert unicodedata.is_normalized("NFC", row.text)
        assert row.text == " ".join(row.text.split())


def test_ratios_out_of_order_are_refused():
    with pytest.raises(ConfigError, match="min_length_ratio=4 is above max_length_ratio=3"):
        CleaningConfig.parse({"min_length_ratio": 4}, "recipe.json")
