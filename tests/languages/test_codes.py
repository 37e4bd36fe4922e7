"""Canonical language tags."""

import pickle
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optical_ray.errors import LanguageError
from optical_ray.languages.codes import Language, canonical_tag, describe_language, regional_tag

SAME_LANGUAGE = {
    "sw": ["sw", "swa", "SW", "sw_TZ", "sw-KE", " sw "],
    "zh-Hans": ["zh", "zho", "chi", "cmn", "zh_CN", "zh-SG", "zh_Hans", "zh_CN.GB2312", "zho-CN"],
    "zh-Hant": ["zh_TW", "zh-HK", "zh_Hant", "zho-TW", "zh_TW.Big5"],
    "yue": ["yue", "zh-yue"],
    "pt": ["pt", "por", "pt_PT", "pt_MZ"],
    "pt-BR": ["pt_BR", "por-BR"],
    "sr": ["sr", "srp", "srp-Cyrl", "sr_RS", "sr@cyrillic"],
    "sr-Latn": ["sr_Latn", "sr@latin", "sh", "srp-Latn", "sr_ME"],
    "he": ["he", "heb", "iw", "he_IL"],
    "id": ["id", "ind", "in"],
    "yi": ["yi", "ji", "yid"],
    "ro": ["ro", "mo", "rum", "ron"],
    "fil": ["fil", "tl", "tgl"],
    "ar": ["ar", "arb", "ara", "ar_DZ"],
    "fa": ["fa", "fas", "per", "pes", "fa_IR"],
    "fa-AF": ["prs", "fa_AF"],
    "nb": ["nb", "no", "nob", "no_NO"],
    "nn": ["nn", "nno"],
    "fr": ["fr", "fra", "fre", "fr_CA"],
    "es": ["es", "spa", "es_419", "spa-MX"],
    "en": ["en", "eng", "en_GB", "en-AU"],
    "uz": ["uz", "uz_Latn", "uzb"],
    "uz-Cyrl": ["uz_Cyrl"],
    "tg": ["tg", "tgk-Cyrl"],
    "pa": ["pa", "pan", "pa-Guru"],
    "pa-Arab": ["pa_PK", "pan-Arab"],
    "ku": ["ku", "kmr", "kur"],
    "ckb": ["ckb", "ckb-Arab"],
    "gsw": ["gsw-BE", "gsw-ZH"],
    "ny": ["ny", "nya"],
}


@pytest.mark.parametrize(("code", "tag"), [(code, tag) for tag, codes in SAME_LANGUAGE.items() for code in codes])
def test_every_usual_spelling_of_a_language_gives_its_one_tag(code, tag):
    assert canonical_tag(code) == tag


@pytest.mark.parametrize("tag", SAME_LANGUAGE)
def test_a_canonical_tag_is_its_own_tag(tag):
    assert canonical_tag(tag) == tag


@given(st.sampled_from(sorted(SAME_LANGUAGE)), st.booleans(), st.booleans())
def test_case_and_separator_do_not_matter(tag, upper, underscore):
    code = tag.upper() if upper else tag.lower()
    assert canonical_tag(code.replace("-", "_") if underscore else code) == tag


@pytest.mark.parametrize(
    "code", ["", "  ", "xx", "qaa", "und", "zxx", "mul", "english", "sw/../..", "spa-ref2", "ru@petr1708", "e", "zzz", "sw-Xxxx"]
)
def test_what_is_no_language_is_refused_by_name(code):
    with pytest.raises(LanguageError, match="no language code") as refused:
        canonical_tag(code)
    assert repr(code) in str(refused.value)
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("swa", Language("sw", "Swahili", "Latn")),
        ("mr", Language("mr", "Marathi", "Deva")),
        ("zh_TW", Language("zh-Hant", "Chinese (Traditional)", "Hant")),
        ("ja", Language("ja", "Japanese", "Jpan")),
        ("sr@latin", Language("sr-Latn", "Serbian (Latin)", "Latn")),
    ],
)
def test_a_language_is_described_by_name_and_script(code, expected):
    assert describe_language(code) == expected


def test_importing_the_module_does_not_load_the_language_tables():
    code = "import sys, optical_ray.languages.codes; sys.exit('langcodes' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("code", "tag"), [("fra-CA", "fr-CA"), ("fr_CA.UTF-8", "fr-CA"), ("fra", "fr"), ("pt-BR", "pt-BR"), ("zh-Hant-TW", "zh-Hant-TW")]
)
def test_a_region_is_kept_where_it_is_asked_for(code, tag):
    assert regional_tag(code) == tag
