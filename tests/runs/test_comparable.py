"""Trials share a question exactly where their validation numbers are means over the same queries."""

import pytest

from optical_ray.recipe import Recipe
from optical_ray.runs.comparable import judged_on

BASE = Recipe()


def name(**changes):
    return judged_on(BASE.override({key.replace("__", "."): value for key, value in changes.items()}).to_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3, "transport__epsilon": 0.7, "training__max_steps": 9},
        {"evaluation__tasks": [{"task": "tatoeba", "path": "somewhere"}]},
    ],
    ids=["another method", "another test"],
)
def test_the_same(changes):
    assert name(**changes) == name()


@pytest.mark.parametrize(
    "changes",
    [
        {"languages__size": 2},
        {"languages__pool": ["sw", "ha"]},
        {"evaluation__valid_queries": 7},
        {"evaluation__scorer": "pooled"},
        {"corpus__path": "elsewhere"},
        {"evaluation__objective_languages": ["sw"]},
    ],
    ids=str,
)
def test_another(changes):
    assert name(**changes) != name()


def test_named_judges_judge_every_language_set_alike():
    judges = {"evaluation__objective_languages": ["sw"]}
    assert name(**judges, languages__size=2) == name(**judges)


def test_a_recipe_that_is_not_there_shares_with_its_like_only():
    assert judged_on(None) == judged_on({}) != name()
