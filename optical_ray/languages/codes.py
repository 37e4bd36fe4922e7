"""Any usual language code -> one canonical tag: BCP-47, with script or region only where it tells two written languages apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from optical_ray.errors import LanguageError

ENGLISH = "en"

_LOCALE_MODIFIERS = {"latin": "Latn", "cyrillic": "Cyrl", "arabic": "Arab", "devanagari": "Deva"}
"""gettext's `sr@latin`; ISO 15924."""

_TWO_SCRIPTS = frozenset({"zh"})
"""Languages without a default script: it is always part of the tag (zh is read as zh-Hans)."""

_REGIONS = frozenset({("pt", "BR"), ("fa", "AF")})
"""Regions that stay: catalogs and test sets keep Brazilian Portuguese and Dari (prs, which CLDR spells fa-AF) as languages of their own."""

_NOT_A_LANGUAGE = frozenset({"und", "mul", "mis", "zxx"})


@dataclass(frozen=True, slots=True)
class Language:
    """One written language."""

    tag: str
    """Canonical tag, e.g. `sw`, `zh-Hant`, `pt-BR`."""
    name: str
    """In English."""
    script: str
    """ISO 15924 code of the script it is expected in, e.g. `Latn`, `Deva`, `Hans`, `Jpan`."""


@lru_cache(maxsize=4096)
def canonical_tag(code: str) -> str:
    """The one tag that stands for a language, whichever way it was written.

    Read are ISO 639-1, -2 and -3, BCP-47, gettext locales (`zh_CN.GB2312`, `sr@latin`) and retired codes (`iw`, `sh`, `mo`). A dominant
    individual language becomes its macrolanguage (`cmn` -> zh, `arb` -> ar), as CLDR does; `no` is read as Bokmål. A script stays where it
    is not the language's usual one (`sr-Latn`), a region where it is another written standard (`pt-BR`); every other region is dropped,
    known or not.

    Raises:
        LanguageError: it is no language; the message names the code.
    """
    import langcodes  # 35 ms, and only some verbs need it

    base, _, modifier = code.strip().partition("@")
    base = base.partition(".")[0].replace("_", "-")
    script = _LOCALE_MODIFIERS.get(modifier.casefold())
    try:
        if not base or (modifier and script is None):
            raise langcodes.LanguageTagError(code)
        found = langcodes.Language.get(langcodes.standardize_tag(base, macro=True))
    except langcodes.LanguageTagError:
        raise _unknown(code) from None
    language = found.language or "und"
    script = script or found.script
    if language in _NOT_A_LANGUAGE or _is_private(language) or not langcodes.Language.make(language, script=script).is_valid():
        raise _unknown(code)
    language = "nb" if language == "no" else language
    if script is None:
        script = langcodes.Language.make(language, territory=found.territory).maximize().script  # zh-TW is written in Hant, pa-PK in Arab
    default = langcodes.Language.make(language).maximize().script
    parts = [language]
    if language in _TWO_SCRIPTS or script != default:
        parts.append(script)
    if (language, found.territory) in _REGIONS:
        parts.append(found.territory)
    return "-".join(parts)


@lru_cache(maxsize=4096)
def regional_tag(code: str) -> str:
    """`canonical_tag`, with the region that the code names, if any: `fra-CA` -> fr-CA. Tells apart what two files hold of one language.

    Raises:
        LanguageError: it is no language.
    """
    import langcodes

    tag = canonical_tag(code)
    try:
        region = langcodes.Language.get(code.strip().partition("@")[0].partition(".")[0].replace("_", "-")).territory
    except langcodes.LanguageTagError:
        region = None
    return tag if region is None or tag.endswith(f"-{region}") else f"{tag}-{region}"


@lru_cache(maxsize=4096)
def describe_language(code: str) -> Language:
    """Name and script of a language, by any code that `canonical_tag` reads.

    A language whose script CLDR does not know counts as written in Latin script.

    Raises:
        LanguageError: it is no language.
    """
    import langcodes

    tag = canonical_tag(code)
    found = langcodes.Language.get(tag)
    return Language(tag, found.display_name(), found.maximize().script or "Latn")


def _is_private(language: str) -> bool:
    return len(language) == 3 and "qaa" <= language <= "qtz"


def _unknown(code: str) -> LanguageError:
    return LanguageError(f"{code!r} is no language code; expected ISO 639 or BCP-47, for example sw, swa, pt-BR, zh-Hant or sr_Latn")
