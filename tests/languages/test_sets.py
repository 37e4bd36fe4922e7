import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optical_ray.errors import LanguageError
from optical_ray.languages.sets import LanguageSetConfig, choose_languages

PAIRS = {"sw": 100, "hi": 300, "fr": 900, "my": 50, "ha": 100, "yo": 80}


@given(strategy=st.sampled_from(["given", "largest", "random"]), seed=st.integers(0, 50), size=st.integers(1, 5))
def test_sets_are_nested_in_size(strategy, seed, size):
    config = LanguageSetConfig(strategy=strategy, seed=seed)
    small = choose_languages(config.override({"size": size}), PAIRS)
    large = choose_languages(config.override({"size": size + 1}), PAIRS)
    assert large[:size] == small
    assert len(set(large)) == size + 1


def test_strategies_order_the_pool_as_they_say():
    assert choose_languages(LanguageSetConfig(pool=("yo", "fr"), size=1), PAIRS) == ("yo",)
    assert choose_languages(LanguageSetConfig(strategy="largest"), PAIRS) == ("fr", "hi", "ha", "sw", "yo", "my")
    orders = {choose_languages(LanguageSetConfig(strategy="random", seed=seed), PAIRS) for seed in range(8)}
    assert len(orders) > 4


def test_a_random_set_is_the_same_in_every_process():
    code = (
        "from optical_ray.languages.sets import *; "
        f"print(','.join(choose_languages(LanguageSetConfig(strategy='random', seed=3, size=3), {PAIRS!r})))"
    )
    found = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True)
        found.add(done.stdout.strip())
    assert found == {",".join(choose_languages(LanguageSetConfig(strategy="random", seed=3, size=3), PAIRS))}


def test_any_usual_code_is_taken():
    assert choose_languages(LanguageSetConfig(pool=("swa", "hin", "FR")), PAIRS) == ("sw", "hi", "fr")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"size": 7}, r"languages.size: 7 languages asked for, the pool holds 6 \(fr, ha"),
        ({"pool": ("sw", "so")}, "languages.pool: so not in the corpus, which has fr, ha"),
        ({"pool": ("sw", "swa")}, "languages.pool: sw stand there more than once"),
        ({"pool": ("sw", "klingonish")}, "klingonish"),
    ],
)
def test_an_impossible_set_is_one_clear_line(config, message):
    with pytest.raises(LanguageError, match=message):
        choose_languages(LanguageSetConfig(**config), PAIRS)
