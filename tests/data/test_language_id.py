"""Language identification: with a planted identifier, and with py3langid where it is installed."""

import builtins
import importlib.metadata

import pyarrow as pa
import pytest

from optical_ray.data import language_id
from optical_ray.data.language_id import CLOSE, Identifier, identifier_version, in_another_language, load_identifier
from optical_ray.errors import ConfigError
from optical_ray.languages.codes import canonical_tag, describe_language

FOUND = {"one": ("fi", 0.9), "two": ("fi", 0.5), "three": ("sw", 0.9), "four": ("da", 0.9), "42": ("", 1.0), "five": ("zh", 0.9)}


@pytest.fixture
def planted(monkeypatch):
    monkeypatch.setattr(language_id, "load_identifier", lambda: Identifier(frozenset({"sw", "fi", "da", "nb", "zh"}), FOUND.__getitem__))
    return pa.array(list(FOUND))


@pytest.mark.parametrize(
    ("tag", "min_confidence", "gone"),
    [
        ("sw", 0.7, ["one", "four", "five"]),
        ("sw", 0.5, ["one", "two", "four", "five"]),
        ("nb", 0.7, ["one", "three", "five"]),  # Danish is close
        ("zh-Hant", 0.7, ["one", "three", "four"]),  # script and region make no other language
        ("yo", 0.5, []),  # not known to the identifier
    ],
)
def test_a_text_goes_when_a_language_that_is_not_close_is_found_with_enough_confidence(planted, tag, min_confidence, gone):
    broken = in_another_language(planted, describe_language(tag), min_confidence)
    assert planted.filter(pa.array(broken)).to_pylist() == gone


def test_groups_of_close_languages_are_disjoint_and_canonical():
    names = [name for group in CLOSE for name in sorted(group)]
    assert len(names) == len(set(names))
    assert [canonical_tag(name).partition("-")[0] for name in names] == names


def test_a_missing_extra_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("py3langid"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    load_identifier.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'optical-ray\[langid\]'"):
        load_identifier()
    monkeypatch.setattr("optical_ray.data.language_id._PACKAGE", "no-such-package")
    with pytest.raises(ConfigError, match=r"pip install 'optical-ray\[langid\]'"):
        identifier_version()


def test_py3langid_tells_finnish_from_swahili_and_has_no_opinion_on_numbers():
    pytest.importorskip("py3langid", reason="the extra `langid` is not installed")
    load_identifier.cache_clear()
    assert identifier_version() == f"py3langid {importlib.metadata.version('py3langid')}"
    texts = pa.array(["Kirjasto on avoinna joka päivä kello kahdeksasta", "Maktaba iko wazi kila siku kuanzia saa mbili", "12345 678"])
    assert in_another_language(texts, describe_language("sw"), 0.7).tolist() == [True, False, False]
    assert {"sw", "fi", "nb", "zh"} <= load_identifier().labels
    assert not any("-" in label for label in load_identifier().labels)
