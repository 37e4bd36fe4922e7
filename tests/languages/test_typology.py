"""Syntactic distances, from a small file in the layout of urielplus 1.3.2; the real one where it is installed."""

import sys

import numpy as np
import pytest

from optical_ray.errors import DataError
from optical_ray.languages import typology
from optical_ray.languages.distances import language_distance
from optical_ray.languages.sets import LanguageSetConfig, choose_languages


def write_features(folder, languages):
    """Features S_0 ... S_29 and a phonological one of each language, [F, 2 sources], in the layout of the wheel."""
    names = [f"S_{i}" for i in range(30)] + ["P_0"]
    path = folder / "urielplus" / typology.FEATURES
    path.parent.mkdir(parents=True)
    (folder / "urielplus" / "__init__.py").write_text("raise AssertionError('urielplus must not be imported')")
    data = np.stack(list(languages.values())).astype(np.float32)
    np.savez(path, feats=np.array(names), langs=np.array(list(languages)), sources=np.array(["WALS", "SSWL"]), data=data)
    return path


@pytest.fixture
def uriel(tmp_path, monkeypatch):
    typology._read_features.cache_clear()
    monkeypatch.delitem(sys.modules, "urielplus", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    typology._read_features.cache_clear()


def features(ones, known, phonology=0.0):
    values = np.full((31, 2), -1.0)
    values[:known, 0] = 0.0
    values[:ones, 1] = 1.0  # the second source knows better than the first: 1 wins
    values[30] = phonology
    return values


def test_the_syntactic_distance_is_the_share_of_known_features_that_differ(uriel):
    write_features(uriel, {"eng": features(0, 30), "swa": features(10, 30), "fin": features(5, 24, 1.0), "zul": features(3, 19)})
    assert language_distance("sw", "en", "syntactic") == pytest.approx(10 / 30)
    assert language_distance("en", "fi", "syntactic") == pytest.approx(5 / 24)  # only what both know; phonology does not count
    assert language_distance("zu", "en", "syntactic") is None  # 19 in common
    assert language_distance("ha", "en", "syntactic") is None  # none
    assert language_distance("ha", "ha", "syntactic") == 0.0
    assert "urielplus" not in sys.modules


def test_a_language_without_features_is_named_when_a_set_needs_them(uriel):
    write_features(uriel, {"eng": features(0, 30), "swh": features(10, 30), "fin": features(5, 30)})
    config = LanguageSetConfig(strategy="similar:sw", distance="syntactic")
    with pytest.raises(Exception, match="languages.strategy=similar:sw: the syntactic distance of ha is unknown"):
        choose_languages(config, {"fi": 1, "ha": 1, "sw": 1})
    assert choose_languages(config, {"fi": 1, "sw": 1}) == ("sw", "fi")


def test_without_the_extra_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr(typology, "PACKAGE", "urielplus_that_is_not_installed")
    with pytest.raises(DataError, match=r"pip install 'optical-ray\[typology\]'"):
        language_distance("sw", "fi", "syntactic")
    with pytest.raises(DataError, match=r"pip install 'optical-ray\[typology\]'"):
        typology.typology_source()


def test_a_broken_file_is_one_clear_line(uriel):
    path = write_features(uriel, {"eng": features(0, 30)})
    path.write_bytes(b"PK not a zip")
    with pytest.raises(DataError, match=r"features.npz: not URIEL's features .*install urielplus"):
        language_distance("sw", "fi", "syntactic")
