"""Which raw rows are bitext: named rules, each with a switch and a count of what it dropped. Pure."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Self

import regex
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from optical_ray.config import Config
from optical_ray.data.catalogs import RawRow
from optical_ray.data.splits import split_key
from optical_ray.languages.codes import Language

RULES = ("placeholder", "empty", "short", "long", "ratio", "script", "copy", "duplicate")
"""In the order in which they are asked; a row is counted under the first that drops it."""

_PLACEHOLDER = re.compile(r"[{}\\]|%[(\w%]|\$[A-Za-z_]|\$\S+\$")
"""printf, Python, ICU and shell placeholders, LaTeX. Kept: prices (`$5`) and percentages (`50 %`, `50% of`)."""

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->", re.DOTALL)
_URL = re.compile(r"(?:https?://|www\.)\S+")
_INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
"""Soft hyphen, zero-width space, direction marks, byte-order mark. The joiners U+200C and U+200D stay: Persian and Indic need them."""

_ENGLISH_WORD = re.compile(r"[A-Za-z]['’-]?[A-Za-z]|^\W*[AaI]\W*$")
_NO_LETTERS = regex.compile(r"\P{L}+")

_SCRIPT_PARTS = {"Hans": ("Hani",), "Hant": ("Hani",), "Jpan": ("Hira", "Kana", "Hani"), "Kore": ("Hang", "Hani")}
"""ISO 15924 codes that stand for several Unicode scripts, or for a part of one."""

_LATIN_CHARACTERS = {"Hans": 3.0, "Hant": 3.0, "Jpan": 2.0, "Kore": 2.0}
"""How many characters of English one character of the script is worth, about; 1 for every other script."""


class CleaningConfig(Config):
    """The rules. A rule that is off drops nothing."""

    strip_markup: bool = True
    """Take tags and URLs out of both sides before anything is counted."""
    drop_placeholders: bool = True
    """`placeholder`: a side has a variable (`%s`, `{name}`, ICU plurals). Dropped, not stripped: what is left is no sentence."""
    min_english_words: NonNegativeInt = 3
    """`short`: fewer words on the English side."""
    max_words: PositiveInt | None = 128
    """`long`: more whitespace-separated words on either side; None: off."""
    min_length_ratio: float = Field(default=0.3, ge=0)
    """`ratio`: text / English, in characters (one Han character counts as three, kana and hangul as two)."""
    max_length_ratio: PositiveFloat | None = 3.0
    """`ratio`: the same, from above; None: off."""
    min_script_share: float = Field(default=0.5, ge=0, le=1)
    """`script`: share of a side's letters that are in the language's script (English: Latin); 0: off."""
    drop_copies: bool = True
    """`copy`: the text is the English, but for case, punctuation and spaces."""
    drop_duplicates: bool = True
    """`duplicate`: the language already has a row of this English, but for case, punctuation and spaces; the first one stays."""

    @model_validator(mode="after")
    def _ratios_in_order(self) -> Self:
        if self.max_length_ratio is not None and self.min_length_ratio > self.max_length_ratio:
            raise ValueError(f"min_length_ratio={self.min_length_ratio:g} is above max_length_ratio={self.max_length_ratio:g}")
        return self


def clean(rows: Iterable[RawRow], language: Language, config: CleaningConfig) -> tuple[list[RawRow], Counter[str]]:
    """Normalise rows and keep those that are bitext.

    Both sides are unescaped, freed of markup and invisible characters, NFC, with single spaces.

    Args:
        rows: Of one language, the preferred ones first: of two rows of the same English the first stays.
        language: What the text is supposed to be.
        config: The rules.

    Returns:
        The rows kept, in order, and how many each rule of RULES dropped.
    """
    kept: list[RawRow] = []
    dropped: Counter[str] = Counter()
    seen: set[str] = set()
    for row in rows:
        if config.drop_placeholders and (_PLACEHOLDER.search(row.english) or _PLACEHOLDER.search(row.text)):
            dropped["placeholder"] += 1
            continue
        english = normalise(row.english, config.strip_markup)
        text = normalise(row.text, config.strip_markup)
        rule = _broken_rule(english, text, language, config)
        if rule is None and config.drop_duplicates:
            key = split_key(english)
            if key in seen:
                rule = "duplicate"
            seen.add(key)
        if rule is not None:
            dropped[rule] += 1
        else:
            kept.append(RawRow(english, text, row.source))
    return kept, dropped


def _broken_rule(english: str, text: str, language: Language, config: CleaningConfig) -> str | None:
    """The first rule, of those that look at one row only, that a normalised row breaks."""
    if not english or not text:
        return "empty"
    if config.min_english_words and count_english_words(english) < config.min_english_words:
        return "short"
    if config.max_words is not None and max(english.count(" "), text.count(" ")) >= config.max_words:  # normalised: single spaces
        return "long"
    ratio = len(text) * _LATIN_CHARACTERS.get(language.script, 1.0) / len(english)
    if ratio < config.min_length_ratio or (config.max_length_ratio is not None and ratio > config.max_length_ratio):
        return "ratio"
    if config.min_script_share and min(_latin_share(english), script_share(text, language.script)) < config.min_script_share:
        return "script"
    if config.drop_copies and split_key(english) == split_key(text):
        return "copy"
    return None


def normalise(text: str, strip_markup: bool) -> str:
    """Unescaped, NFC, without invisible characters, single spaces; `strip_markup` takes tags and URLs out."""
    if "&" in text:
        text = html.unescape(html.unescape(text))  # catalogs hold `&amp;nbsp;` too
    if not text.isascii():
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))  # in this order: what was between a letter and its accent is gone
    if strip_markup and "<" in text:
        text = _TAG.sub(" ", text)
    if strip_markup and ("://" in text or "www." in text):
        text = _URL.sub(" ", text)
    return " ".join(text.split())


@lru_cache(maxsize=1 << 16)
def count_english_words(english: str) -> int:
    """Words between spaces; numbers, signs, single letters and the parts of `an_identifier` or `a,list` do not count."""
    return sum(1 for word in english.split() if _ENGLISH_WORD.search(word))


def script_share(text: str, script: str) -> float:
    """Share of the letters that are in a script (ISO 15924); 0 when there is no letter."""
    letters = _NO_LETTERS.sub("", text)
    return len(_other_scripts(script).sub("", letters)) / len(letters) if letters else 0.0


@lru_cache(maxsize=1 << 16)
def _latin_share(english: str) -> float:
    return script_share(english, "Latn")


@lru_cache(maxsize=256)
def _other_scripts(script: str) -> regex.Pattern[str]:
    return regex.compile("[^" + "".join(rf"\p{{Script={part}}}" for part in _SCRIPT_PARTS.get(script, (script,))) + "]+")
