import json
import math

import pytest

from optical_ray.errors import LanguageError
from optical_ray.languages.covariates import describe_set
from optical_ray.languages.distances import language_distance
from optical_ray.languages.mixing import Mixture

SHARES = {"sw": 0.5, "hi": 0.3, "mr": 0.2}


@pytest.fixture
def found():
    return describe_set(("sw", "hi", "mr"), SHARES, ("sw", "zu", "ur"))


def test_shares_are_summed_by_family_and_script_with_their_entropies(found):
    assert found["share_by_family"] == {"Atlantic-Congo": 0.5, "Indo-European": pytest.approx(0.5)}
    assert found["share_by_script"] == {"Deva": pytest.approx(0.5), "Latn": 0.5}
    assert found["family_entropy_nats"] == pytest.approx(math.log(2))
    assert found["script_entropy_nats"] == pytest.approx(math.log(2))
    mixture = Mixture(dict.fromkeys(SHARES, 1), SHARES)
    assert (found["entropy_nats"], found["effective_languages"]) == pytest.approx((mixture.entropy, mixture.effective_languages))


def test_distances_within_the_set_are_a_plain_mean_and_the_expectation_over_two_draws(found):
    pairs = [("sw", "hi"), ("sw", "mr"), ("hi", "mr")]
    assert found["mean_distance"] == pytest.approx(sum(language_distance(*pair) for pair in pairs) / 3)
    rao = sum(SHARES[a] * SHARES[b] * language_distance(a, b) for a in SHARES for b in SHARES)
    assert found["mean_distance_between_draws"] == pytest.approx(rao)


def test_every_evaluation_language_has_its_distances_to_the_set_and_whether_it_was_seen(found):
    assert list(found["evaluation"]) == ["sw", "zu", "ur"]
    assert [entry["seen"] for entry in found["evaluation"].values()] == [True, False, False]
    assert (found["evaluation"]["sw"]["nearest"], found["evaluation"]["sw"]["nearest_distance"]) == ("sw", 0.0)
    zulu = found["evaluation"]["zu"]
    assert (zulu["nearest"], zulu["nearest_distance"]) == ("sw", language_distance("sw", "zu"))
    assert zulu["mean_distance"] == pytest.approx(sum(language_distance("zu", tag) for tag in SHARES) / 3)


def test_what_is_unknown_is_named_and_left_out_of_the_means():
    shares = {"sw": 0.4, "hi": 0.4, "io": 0.2}
    found = describe_set(("sw", "hi", "io"), shares, ("ber", "tlh"))
    assert found["unknown"] == {"family": ["io", "ber"], "place": ["io", "ber", "tlh"], "distance": ["io", "ber"], "pairs": []}
    assert found["mean_distance"] == language_distance("sw", "hi")
    assert found["mean_distance_between_draws"] == pytest.approx(language_distance("sw", "hi") / 2)
    assert found["share_by_family"]["unknown"] == 0.2
    assert found["family_entropy_nats"] is None
    assert found["evaluation"]["ber"] == {"seen": False, "mean_distance": None, "nearest": None, "nearest_distance": None}


def test_a_set_of_one_language_has_no_distance_within_and_is_plain_data():
    found = describe_set(("swa",), {"swa": 1.0}, ())
    assert (found["languages"], found["mean_distance"], found["mean_distance_between_draws"]) == (["sw"], None, 0.0)
    assert found["entropy_nats"] == 0.0
    assert json.loads(json.dumps(found)) == found
    assert "Glottolog v4.0-26-gb2138530b3" in found["sources"][0]


def test_two_codes_of_one_language_are_not_merged_in_silence():
    with pytest.raises(LanguageError, match="describe_set: sw, swh are only 1 languages: sw"):
        describe_set(("sw", "swh"), {"sw": 0.5, "swh": 0.5}, ())
