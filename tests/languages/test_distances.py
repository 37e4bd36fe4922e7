import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optical_ray.errors import LanguageError
from optical_ray.languages.distances import language_distance, undescribed
from optical_ray.languages.metadata import language_metadata

CODES = "sw zu yo fi et hu hi ur mr en de fr es pt-BR zh-Hans zh-Hant ja ko eu ka eo io sr sr-Latn hr ar my km ht"
LANGUAGES = st.sampled_from(CODES.split())
DISTANCES = st.sampled_from(["mean", "genealogical", "geographic", "script"])


@settings(deadline=None)  # the first example reads the table
@given(LANGUAGES, LANGUAGES, DISTANCES)
def test_a_distance_is_symmetric_in_the_unit_interval_and_0_to_itself(a, b, distance):
    found = language_distance(a, b, distance)
    assert found == language_distance(b, a, distance)
    assert found is None or 0.0 <= found <= 1.0
    assert language_distance(a, a, distance) == 0.0


@settings(max_examples=30, deadline=None)
@given(LANGUAGES, LANGUAGES)
def test_the_geographic_distance_is_the_angle_between_two_unit_vectors(a, b):
    def vector(code):
        found = language_metadata(code)
        north, east = math.radians(found.latitude), math.radians(found.longitude)
        return (math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north))

    if language_metadata(a).latitude is None or language_metadata(b).latitude is None:
        return
    cosine = sum(x * y for x, y in zip(vector(a), vector(b), strict=True))
    expected = math.acos(max(-1.0, min(1.0, cosine))) / math.pi
    assert language_distance(a, b, "geographic") == pytest.approx(expected, abs=1e-7)


def test_the_genealogical_distance_counts_shared_branches():
    sw, zu = language_metadata("sw").lineage, language_metadata("zu").lineage
    shared = len([1 for x, y in zip(sw, zu, strict=False) if x == y])
    assert language_distance("sw", "zu", "genealogical") == pytest.approx(1 - 2 * shared / (len(sw) + len(zu)))
    assert language_distance("eu", "es", "genealogical") == 1.0  # an isolate
    assert language_distance("eo", "ia", "genealogical") == 1.0  # artificial languages are no family
    assert language_distance("zh-Hans", "zh-Hant", "genealogical") == 0.0


@pytest.mark.parametrize("distance", ["mean", "genealogical", "geographic"])
def test_swahili_is_nearer_to_zulu_than_to_finnish(distance):
    assert language_distance("sw", "zu", distance) < language_distance("sw", "fi", distance)


def test_hindi_and_urdu_are_near_but_for_their_scripts():
    assert language_distance("hi", "ur", "genealogical") < 0.2
    assert language_distance("hi", "ur", "geographic") < 0.1
    assert language_distance("hi", "ur", "script") == 1.0
    assert language_distance("hi", "mr", "script") == 0.0
    mean = sum(language_distance("hi", "ur", part) for part in ("genealogical", "geographic", "script")) / 3
    assert language_distance("hi", "ur") == pytest.approx(mean)


def test_an_unknown_part_is_left_out_of_the_mean_and_an_unknown_lineage_makes_it_unknown():
    assert language_distance("tlh", "sw", "geographic") is None
    assert language_distance("tlh", "sw") == pytest.approx((1.0 + language_distance("tlh", "sw", "script")) / 2)
    for distance in ("mean", "genealogical", "geographic"):
        assert language_distance("io", "sw", distance) is None
    assert language_distance("io", "sw", "script") == 0.0
    assert undescribed(("sw", "io", "en"), "mean") == ["io"]
    assert undescribed(("tlh", "en"), "geographic") == ["tlh"]


def test_a_code_that_is_no_language_is_refused():
    with pytest.raises(LanguageError, match="'klingonish' is no language code"):
        language_distance("sw", "klingonish")
