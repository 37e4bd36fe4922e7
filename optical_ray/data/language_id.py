"""Is a text in the language it is said to be in? A rule of `cleaning`, for those who install the extra `langid`."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_ray.errors import ConfigError, LanguageError
from optical_ray.languages.codes import Language, canonical_tag

CLOSE = (
    frozenset({"da", "nb", "nn"}),
    frozenset({"bs", "hr", "sr"}),
    frozenset({"id", "ms"}),
    frozenset({"ar", "arz"}),
    frozenset({"wuu", "yue", "zh"}),
    frozenset({"nso", "st"}),
    frozenset({"ckb", "ku", "sdh"}),
)
"""Languages that an identifier confuses in a sentence: one found for another of its group drops nothing. At 0.7 confidence it found
Southern for Northern Sotho in 97 % of the sentences of NTREX-128, Chinese for Cantonese in 13 %, Bosnian for Serbian in 6 %."""


_PACKAGE = "py3langid"
_MISSING = f"cleaning.identify_language: {_PACKAGE} is not installed; pip install 'optical-ray[langid]', or set it to false"


@dataclass(frozen=True, slots=True)
class Identifier:
    """What names the language of a text."""

    labels: frozenset[str]
    """Base languages (`sr`, not `sr-Latn`) that it tells apart."""
    identify: Callable[[str], tuple[str, float]]
    """Text -> base language, and how sure it is, in [0, 1]; `""` for a text without language."""


def identifier_version() -> str:
    """Name and version of what identifies languages: its model is part of it.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError(_MISSING) from None


@lru_cache(maxsize=1)
def load_identifier() -> Identifier:
    """py3langid: naive Bayes on byte n-grams, 139 languages, 0.6 s to load, 0.1 ms a text.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise ConfigError(_MISSING) from None
    model: Any = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    bases = {label: _base_or_none(label) for label in model.labels}

    def identify(text: str) -> tuple[str, float]:
        label, confidence = model.classify(text)
        return bases[label], confidence

    return Identifier(frozenset(bases.values()) - {""}, identify)


def in_another_language(texts: pa.StringArray, language: Language, min_confidence: float) -> NDArray[np.bool_]:
    """Which texts the identifier finds to be in another language, neither the expected one nor close to it; bool [n].

    A language that it does not know passes whatever it finds. So does a text without language (numbers): that is for other rules.

    Raises:
        ConfigError: py3langid is not installed.
    """
    identifier = load_identifier()
    expected = base_language(language.tag)
    if expected not in identifier.labels:
        return np.zeros(len(texts), np.bool_)
    passes = {"", expected}.union(*(group for group in CLOSE if expected in group))
    found = (identifier.identify(text) for text in texts.to_pylist())
    return np.fromiter((label not in passes and confidence >= min_confidence for label, confidence in found), np.bool_, len(texts))


def base_language(tag: str) -> str:
    """A canonical tag without script and region."""
    return tag.partition("-")[0]


def _base_or_none(label: str) -> str:
    try:
        return base_language(canonical_tag(label))
    except LanguageError:  # zxx: no linguistic content
        return ""
