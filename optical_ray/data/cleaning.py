"""Which raw rows are bitext, or text of their language: named rules over columns, each with a switch and a count of what it dropped. Pure.

Compiled loops read each character once and find the few rows that need more than looking at (an entity, a tag, an accent that stands
alone); those go through a function of one string. So a column gets exactly what its rows would get one by one, ten times as fast.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from optical_ray.data import text_facts
from optical_ray.data.corpus_config import CleaningConfig
from optical_ray.data.language_id import in_another_language
from optical_ray.data.splits import split_keys
from optical_ray.languages.codes import Language

_PLACEHOLDER = re.compile(r"[{}\\]|%[(\w%]|\$[A-Za-z_]|\$\S+\$")
"""printf, Python, ICU and shell placeholders, LaTeX. Kept: prices (`$5`) and percentages (`50 %`, `50% of`)."""

_TAG = re.compile(r"</?[A-Za-z][^<>]*>|<!--.*?-->", re.DOTALL)
_URL = re.compile(r"(?:https?://|www\.)\S+")
_INVISIBLE = re.compile(f"[{text_facts.INVISIBLE}]")

_LATIN_CHARACTERS = {"Hans": 3.0, "Hant": 3.0, "Jpan": 2.0, "Kore": 2.0}
"""How many characters of English one character of the script is worth, about; 1 for every other script."""

_WITHOUT_SPACES = frozenset(("Hans", "Hant", "Jpan", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"))
"""Scripts that put no space between words."""

_WORD_CHARACTERS = 5
"""Characters of English that count as a word in a script without spaces."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows that no rule has dropped so far."""

    english: pa.StringArray | None
    """None: text alone."""
    text: pa.StringArray
    rows: NDArray[np.int64]
    """Where each stood in the batch, ascending."""

    @property
    def sides(self) -> tuple[pa.StringArray, ...]:
        """Those there are; the text is the last."""
        return (self.text,) if self.english is None else (self.english, self.text)

    def map(self, change: Callable[[pa.StringArray], pa.StringArray]) -> Pairs:
        """The same rows with another text on every side."""
        return Pairs(None if self.english is None else change(self.english), change(self.text), self.rows)


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What is left of a batch."""

    english: pa.StringArray | None
    """Normalised; None: text alone."""
    text: pa.StringArray
    keys: pa.StringArray
    """`split_keys` of the English, or of the text alone."""
    rows: NDArray[np.int64]
    """Where each row stood in the batch, ascending."""
    dropped: Counter[str]
    """Rule -> rows; of a row's broken rules the first of RULES."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to drop a row."""

    name: str
    drops: str
    """Which rows, in words."""
    broken: Callable[[Pairs, Language, CleaningConfig], NDArray[np.bool_] | None] | None
    """Rows -> which of them break it, or None where it is off. No function: it looks at more than a batch, and the build applies it."""
    raw: bool = False
    """It sees the text as it came; other rules see it normalised."""


def clean_batch(english: pa.StringArray | None, text: pa.StringArray, language: Language, config: CleaningConfig) -> Cleaned:
    """Normalise rows of one language and keep those that are bitext (or text), as far as a row shows that by itself.

    Both sides are unescaped, freed of markup and invisible characters, NFC, with single spaces.

    Args:
        english: The English sides, [n], without nulls; None: text alone, of which rules about two sides drop nothing.
        text: Their translations, or the text, [n], without nulls.
        language: What the text is supposed to be.
        config: The rules.

    Raises:
        ConfigError: `identify_language` without its extra.
    """
    dropped: Counter[str] = Counter()
    pairs = Pairs(english, text, np.arange(len(text)))
    pairs = _apply([rule for rule in RULES if rule.raw], pairs, language, config, dropped)
    pairs = pairs.map(lambda side: normalise_column(side, config.strip_markup))
    pairs = _apply([rule for rule in RULES if not rule.raw], pairs, language, config, dropped)
    return Cleaned(pairs.english, pairs.text, split_keys(pairs.sides[0]), pairs.rows, dropped)


def _apply(rules: list[Rule], pairs: Pairs, language: Language, config: CleaningConfig, dropped: Counter[str]) -> Pairs:
    for rule in rules:
        broken = rule.broken(pairs, language, config) if rule.broken else None
        if broken is not None and broken.any():
            dropped[rule.name] += int(np.count_nonzero(broken))
            keep = pa.array(~broken)
            filtered = [side.filter(keep) for side in pairs.sides]
            pairs = Pairs(filtered[0] if len(filtered) == 2 else None, filtered[-1], pairs.rows[~broken])
    return pairs


def normalise(text: str, strip_markup: bool) -> str:
    """Unescaped, NFC, without invisible characters, single spaces; `strip_markup` takes tags and URLs out."""
    text = _unescape(text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))  # in this order: what was between a letter and its accent is gone
    if strip_markup and "<" in text:
        text = _TAG.sub(" ", text)
    if strip_markup and ("://" in text or "www." in text):
        text = _URL.sub(" ", text)
    return " ".join(text.split())


def _unescape(text: str) -> str:
    return html.unescape(html.unescape(text)) if "&" in text else text  # catalogs hold `&amp;nbsp;` too


def normalise_column(texts: pa.StringArray, strip_markup: bool) -> pa.StringArray:
    """`normalise` of every string, [n]."""
    marks = text_facts.find_marks(texts) & (text_facts.IRREGULAR | (text_facts.MARKUP if strip_markup else 0))
    if not marks.any():
        return texts
    mask = pa.array(marks != 0)
    changed = [normalise(text, strip_markup) for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(texts, mask, pa.array(changed, pa.string()))


def _placeholder(pairs: Pairs, language: Language, config: CleaningConfig) -> NDArray[np.bool_] | None:
    if not config.drop_placeholders:
        return None
    broken = np.zeros(len(pairs.rows), np.bool_)
    for side in pairs.sides:
        hidden = np.asarray(pc.match_substring(side, "&"))  # `&#37;s`
        suspects = np.flatnonzero((text_facts.find_marks(side) & text_facts.PLACEHOLDER) | hidden)
        texts = side.take(pa.array(suspects)).to_pylist()
        broken[suspects] |= np.fromiter((_has_placeholder(text) for text in texts), np.bool_, len(texts))
    return broken


def _has_placeholder(text: str) -> bool:
    return (_PLACEHOLDER.search(text) or _PLACEHOLDER.search(_unescape(text))) is not None


def _empty(pairs: Pairs, language: Language, config: CleaningConfig) -> NDArray[np.bool_]:
    return np.asarray(np.min([_lengths(side) for side in pairs.sides], axis=0) == 0)


def _short(pairs: Pairs, language: Language, config: CleaningConfig) -> NDArray[np.bool_] | None:
    if not config.min_english_words:
        return None
    words: NDArray[np.int32] | NDArray[np.float64]
    if pairs.english is not None:
        words = text_facts.count_english_words(pairs.english)
    elif language.script in _WITHOUT_SPACES:
        words = _words_without_spaces(pairs.text, language)
    else:
        words = text_facts.count_words(pairs.text)
    return np.asarray(words < config.min_english_words)


def _long(pairs: Pairs, language: Language, config: CleaningConfig) -> NDArray[np.bool_] | None:
    if config.max_words is None:
        return None
    words = [pc.count_substring(side, " ").to_numpy() + 1 for side in pairs.sides]  # normalised: spaces are single
    if pairs.english is None and language.script in _WITHOUT_SPACES:
        words.append(_words_without_spaces(pairs.text, language))  # the ratio to an English side does this for bitext
    return np.asarray(np.max(words, axis=0) > config.max_words)


def _words_without_spaces(texts: pa.StringArray, language: Language) -> NDArray[np.float64]:
    return _lengths(texts) * _LATIN_CHARACTERS.get(language.script, 1.0) / _WORD_CHARACTERS


def _ratio(pairs: Pairs, language: Language, config: CleaningConfig) -> NDArray[np.bool_] | None:
    if pairs.english is None:
        return None
    ratio = _lengths(pairs.text) * _LATIN_CHARACTERS.get(language.script, 1.0) / _lengths(pairs.english)
    highest = np.inf if config.max_length_ratio is None else config.max_length_ratio
    return np.asarray((ratio < config.min_length_ratio) | (ratio > highest))


def _script(pairs: Pairs, language: Language, config: CleaningConfig) -> NDArray[np.bool_] | None:
    if not config.min_script_share:
        return None
    shares = [text_facts.script_shares(pairs.text, language.script)]
    if pairs.english is not None:
        shares.append(text_facts.script_shares(pairs.english, "Latn"))
    return np.asarray(np.min(shares, axis=0) < config.min_script_share)


def _copy(pairs: Pairs, language: Language, config: CleaningConfig) -> NDArray[np.bool_] | None:
    if not config.drop_copies or pairs.english is None:
        return None
    return np.asarray(pc.equal(split_keys(pairs.english), split_keys(pairs.text)))


def _language(pairs: Pairs, language: Language, config: CleaningConfig) -> NDArray[np.bool_] | None:
    return in_another_language(pairs.text, language, config.min_language_confidence) if config.identify_language else None


def _lengths(texts: pa.StringArray) -> NDArray[np.int32]:
    """In characters."""
    return np.asarray(pc.utf8_length(texts))


RULES = (
    Rule("placeholder", "a side has a variable, LaTeX or a backslash", _placeholder, raw=True),
    Rule("empty", "a side is empty once it is normalised; always on", _empty),
    Rule("short", "the English, or the text alone, has fewer than min_english_words words", _short),
    Rule("long", "a side has more than max_words words", _long),
    Rule("ratio", "text / English, in characters, is outside min_length_ratio to max_length_ratio", _ratio),
    Rule("script", "fewer than min_script_share of a side's letters are in its script", _script),
    Rule("copy", "the text is the English", _copy),
    Rule("language", "the text is found to be in another language (identify_language)", _language),
    Rule("duplicate", "an earlier row has the same English, or the same pair (duplicates)", None),
    Rule("near-duplicate", "the English nearly equals that of a better protected row (near_duplicates)", None),
)
"""In the order in which they are asked; a row is counted under the first that drops it."""
