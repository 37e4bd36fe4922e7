"""The rules that make raw rows bitext."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optical_ray.data.catalogs import RawRow
from optical_ray.data.cleaning import RULES, CleaningConfig, clean, count_english_words, normalise, script_share
from optical_ray.errors import ConfigError
from optical_ray.languages.codes import describe_language

SWAHILI, HINDI, CHINESE, JAPANESE = (describe_language(tag) for tag in ("sw", "hi", "zh-Hans", "ja"))
GOOD = RawRow("Search the whole library", "Tafuta maktaba yote", "kolibri")

BROKEN = [
    # rule, English, text, language, the switch that lets the row through
    ("placeholder", "Delete %(name)s for ever", "Futa %(name)s kabisa", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "Delete all of them now", "Futa {count} zote sasa", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "{n, plural, one {# page} other {# pages}}", "kurasa nyingi", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "Please sign in as $user", "Ingia kama mtumiaji", SWAHILI, {"drop_placeholders": False}),
    ("placeholder", "A fraction, like $1/2$", "Sehemu, kama nusu", SWAHILI, {"drop_placeholders": False}),
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


def test_of_two_rows_of_the_same_english_the_first_stays():
    rows = [
        GOOD,
        RawRow("search the whole library!", "Tafuta kila mahali", "django"),
        RawRow("Close the whole library", "Funga maktaba yote", "django"),
    ]
    assert clean(rows, SWAHILI, CleaningConfig()) == ([rows[0], rows[2]], {"duplicate": 1})
    assert clean(rows, SWAHILI, CleaningConfig(drop_duplicates=False)) == (rows, {})


def test_a_dropped_row_does_not_make_a_later_good_one_a_duplicate():
    rows = [RawRow(GOOD.english, GOOD.english, "django"), GOOD]
    assert clean(rows, SWAHILI, CleaningConfig()) == ([GOOD], {"copy": 1})


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


@pytest.mark.parametrize(("english", "words"), [("I am a user", 4), ("Don’t re-send it", 3), ("10 seconds", 1), ("a_b_c d", 0), ("", 0)])
def test_words_are_counted_between_spaces(english, words):
    assert count_english_words(english) == words


@given(st.text(st.sampled_from("aZéжनाकგ漢かカ한ا1 .-́")))
def test_the_share_of_a_script_agrees_with_the_names_of_the_characters(text):
    letters = [character for character in text if character.isalpha()]
    for script, names in {
        "Latn": ("LATIN",),
        "Deva": ("DEVANAGARI",),
        "Cyrl": ("CYRILLIC",),
        "Jpan": ("HIRAGANA", "KATAKANA", "CJK"),
    }.items():
        inside = [character for character in letters if unicodedata.name(character).startswith(names)]
        assert script_share(text, script) == (len(inside) / len(letters) if letters else 0.0)


ROWS = st.lists(
    st.builds(
        RawRow,
        st.text(st.sampled_from("abc def <b>%{}&;é。\n")),
        st.text(st.sampled_from("abc नाव %{}&;ж。\n")),
        st.just("test"),
    ),
    max_size=12,
)


@given(ROWS, st.sampled_from([SWAHILI, HINDI, JAPANESE]))
def test_every_row_is_kept_or_counted_under_one_named_rule(rows, language):
    kept, dropped = clean(rows, language, CleaningConfig(min_english_words=1))
    assert len(kept) + dropped.total() == len(rows)
    assert set(dropped) <= set(RULES)


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
