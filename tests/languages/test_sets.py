import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optical_ray.errors import ConfigError, LanguageError
from optical_ray.languages.distances import language_distance
from optical_ray.languages.sets import LanguageSetConfig, choose_languages, order_pool

PAIRS = {"sw": 100, "hi": 300, "fr": 900, "my": 50, "ha": 100, "yo": 80}
STRATEGIES = [
    "given",
    "largest",
    "smallest",
    "random",
    "diverse",
    "similar:zu",
    "similar:hi",
    "explicit:yo,hi,my,fr",
    "family:Atlantic-Congo",
]
CONFIGS = st.builds(
    lambda strategy, seed, pool, fixed, distance: LanguageSetConfig(
        strategy=strategy, seed=seed, pool=tuple(pool), always=tuple(fixed[:1]), unseen=tuple(fixed[1:]), distance=distance
    ),
    st.sampled_from(STRATEGIES),
    st.integers(0, 50),
    st.sampled_from([(), tuple(sorted(PAIRS)), tuple(sorted(PAIRS, reverse=True))]),
    st.sampled_from([(), ("sw",), ("sw", "ha")]),
    st.sampled_from(["mean", "genealogical", "geographic", "script"]),
)


@settings(deadline=None)  # the first example reads the table
@given(CONFIGS)
def test_sets_are_nested_in_size(config):
    whole = choose_languages(config, PAIRS)
    assert len(set(whole)) == len(whole)
    for size in range(max(1, len(config.always)), len(whole) + 1):
        assert choose_languages(config.override({"size": size}), PAIRS) == whole[:size]
    with pytest.raises(LanguageError, match=f"{len(whole) + 1} languages asked for, the pool holds {len(whole)}"):
        choose_languages(config.override({"size": len(whole) + 1}), PAIRS)


@settings(deadline=None)  # the first example reads the table
@given(CONFIGS)
def test_no_language_of_the_pool_is_dropped_and_fixed_ones_stay_where_they_are(config):
    order, taken = order_pool(config, PAIRS), choose_languages(config, PAIRS)
    assert sorted(order) == sorted(PAIRS)
    assert order[: len(taken)] == taken
    assert taken[: len(config.always)] == config.always
    assert not set(config.unseen) & set(taken)
    assert order[len(order) - len(config.unseen) :] == config.unseen
    if ":" not in config.strategy or config.strategy.startswith("similar"):
        assert len(taken) == len(PAIRS) - len(config.unseen)


@settings(deadline=None)  # the first example reads the table
@given(seed=st.integers(0, 30), distance=st.sampled_from(["mean", "genealogical", "geographic"]), anchored=st.booleans())
def test_diverse_takes_the_language_whose_nearest_neighbour_in_the_set_is_farthest(seed, distance, anchored):
    config = LanguageSetConfig(strategy="diverse", seed=seed, distance=distance, always=("yo",) if anchored else ())
    order = choose_languages(config, PAIRS)
    assert order[0] == "yo" or not anchored
    for size in range(1, len(order)):
        gaps = {tag: min(language_distance(tag, other, distance) for other in order[:size]) for tag in order[size:]}
        assert order[size] == min(gaps, key=lambda tag: (-gaps[tag], tag))


def test_the_seed_of_diverse_chooses_its_first_language_only():
    pool = LanguageSetConfig(strategy="diverse", distance="genealogical")
    starts = {choose_languages(pool.override({"seed": seed}), PAIRS)[0] for seed in range(40)}
    assert starts == set(PAIRS)
    anchored = {choose_languages(pool.override({"seed": seed, "always": ["ha"]}), PAIRS) for seed in range(10)}
    assert len(anchored) == 1


def test_similar_takes_the_closest_first_and_the_target_before_all():
    for config in (LanguageSetConfig(strategy="similar:swa"), LanguageSetConfig(strategy="similar", target="sw")):
        order = choose_languages(config, PAIRS)
        assert order[0] == "sw"
        gaps = [language_distance("sw", tag) for tag in order]
        assert gaps == sorted(gaps)
    assert choose_languages(LanguageSetConfig(strategy="similar:zu", size=2), PAIRS) == ("sw", "yo")  # zu is not in the corpus
    assert "sw" not in choose_languages(LanguageSetConfig(strategy="similar:sw", unseen=("sw",)), PAIRS)


def test_a_family_is_a_family_or_a_branch_of_one():
    pairs = dict.fromkeys(["de", "fr", "sv", "hi", "mr", "sw", "eu"], 10)

    def of(name):
        return choose_languages(LanguageSetConfig(strategy=f"family:{name}"), pairs)

    assert of("Indo-European") == ("de", "fr", "hi", "mr", "sv")
    assert of("germanic") == ("de", "sv")
    assert of("Basque") == ("eu",)
    with pytest.raises(
        LanguageError, match="family:Uralic: no language of the pool is of it; its families are Atlantic-Congo, Basque, Indo-E"
    ):
        of("Uralic")


def test_an_explicit_set_is_those_languages_in_that_order():
    config = LanguageSetConfig(strategy="explicit:hin, swa,FR", always=("fr",))
    assert choose_languages(config, PAIRS) == ("fr", "hi", "sw")
    assert choose_languages(config.override({"size": 2}), PAIRS) == ("fr", "hi")


def test_strategies_order_the_pool_as_they_say():
    assert choose_languages(LanguageSetConfig(pool=("yo", "fr"), size=1), PAIRS) == ("yo",)
    assert choose_languages(LanguageSetConfig(strategy="largest"), PAIRS) == ("fr", "hi", "ha", "sw", "yo", "my")
    orders = {choose_languages(LanguageSetConfig(strategy="random", seed=seed), PAIRS) for seed in range(8)}
    assert len(orders) > 4


def test_sets_mixtures_and_covariates_are_the_same_in_every_process():
    code = f"""
import json
from optical_ray.languages.covariates import describe_set
from optical_ray.languages.mixing import MixingConfig, cap_shares, mix
from optical_ray.languages.sets import LanguageSetConfig, choose_languages
pairs = {PAIRS!r}
for strategy in {STRATEGIES!r}:
    tags = choose_languages(LanguageSetConfig(strategy=strategy, seed=3), pairs)
    config = MixingConfig(temperature=3, budget='total', tokens=3000)
    mixture = cap_shares(mix(config, {{tag: pairs[tag] for tag in tags}}, dict.fromkeys(tags, 7.3)), 300, 2)
    print(json.dumps([mixture.describe(), describe_set(tags, mixture.shares, ('zu', 'my', 'io'))]))
"""
    outputs = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True)
        outputs.add(done.stdout)
    assert len(outputs) == 1
    assert len(outputs.pop().splitlines()) == len(STRATEGIES)


def test_any_usual_code_is_taken():
    assert choose_languages(LanguageSetConfig(pool=("swa", "hin", "FR")), PAIRS) == ("sw", "hi", "fr")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": 7}, r"languages.size: 7 languages asked for, the pool holds 6 \(fr, ha"),
        ({"pool": ("sw", "so")}, "languages.pool: so not in the corpus, which has fr, ha"),
        ({"pool": ("sw", "swa")}, "languages.pool: sw stand there more than once"),
        ({"unseen": ("sw", "swh")}, "languages.unseen: sw stand there more than once"),
        ({"unseen": ("so",)}, "languages.unseen: so not in the corpus"),
        ({"always": ("so",)}, "languages.always: so not in the corpus"),
        ({"always": ("sw", "hi"), "unseen": ("hi",)}, "languages.unseen: hi stand in languages.always too"),
        ({"unseen": tuple(PAIRS)}, "languages.pool: every language of it is in languages.unseen"),
        ({"size": 6, "unseen": ("hi",)}, "6 languages asked for, the pool holds 5 .*, and no set takes hi; lower"),
        ({"strategy": "explicit:sw,so"}, "languages.strategy=explicit: so not in the corpus"),
        ({"strategy": "explicit:sw,hi,hin"}, "languages.strategy=explicit: hi stand there more than once"),
        ({"strategy": "explicit:sw,hi", "unseen": ("hi",)}, "languages.strategy=explicit: hi stand in languages.unseen too"),
        ({"strategy": "explicit:sw,hi", "pool": ("sw", "fr")}, "languages.strategy=explicit: hi not in languages.pool"),
        ({"strategy": "similar:klingonish"}, "klingonish"),
        ({"pool": ("sw", "klingonish")}, "klingonish"),
    ],
)
def test_an_impossible_set_is_one_clear_line(config, message):
    with pytest.raises(LanguageError, match=message):
        choose_languages(LanguageSetConfig(**config), PAIRS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"strategy": "diversest"}, "no strategy 'diversest'; there are given .*; largest .*; diverse .*; explicit"),
        ({"strategy": "family"}, "strategy family needs an argument: family:NAME"),
        ({"strategy": "explicit:"}, "strategy explicit needs an argument"),
        ({"strategy": "explicit:sw,,hi"}, "strategy explicit: an empty code in 'sw,,hi'"),
        ({"strategy": "random:3"}, "strategy random was given the argument '3'"),
        ({"strategy": "similar"}, "similar needs one target"),
        ({"strategy": "similar:sw", "target": "hi"}, "similar needs one target"),
        ({"strategy": "diverse", "target": "hi"}, "languages.target is of strategy similar only; the strategy is diverse"),
        ({"size": 1, "always": ["sw", "hi"]}, "languages.size=1 is less than the 2 languages of languages.always"),
        ({"distance": "kilometres"}, "distance: .*'mean'.*'syntactic'.*found 'kilometres'"),
    ],
)
def test_a_strategy_that_makes_no_sense_is_refused_when_the_recipe_is_read(config, message):
    with pytest.raises(ConfigError, match=message):
        LanguageSetConfig.parse(config, "")


@pytest.mark.parametrize("strategy", ["diverse", "similar:sw"])
def test_a_language_of_unknown_distance_is_named_and_neither_guessed_nor_dropped(strategy):
    pairs = PAIRS | {"io": 40, "ber": 30}
    with pytest.raises(LanguageError, match=f"languages.strategy={strategy}: the mean distance of ber, io is unknown .*languages.unseen"):
        choose_languages(LanguageSetConfig(strategy=strategy), pairs)
    held_out = LanguageSetConfig(strategy=strategy, unseen=("io", "ber"))
    assert order_pool(held_out, pairs)[-2:] == ("io", "ber")
    assert len(choose_languages(LanguageSetConfig(strategy=strategy, distance="script"), pairs)) == len(pairs)
