"""Spaces whose dimensions exist only at certain values of others."""

import pytest

from optical_ray.errors import ConfigError
from optical_ray.space import (
    Categorical,
    Conditional,
    Integer,
    LogUniform,
    Uniform,
    check_conditions,
    corners,
    describe_dimension,
    edges,
    is_point,
    walk,
)

SPACE = {
    "languages.strategy": Categorical(("diverse", "random")),
    "languages.seed": Conditional(Integer(0, 9), when={"languages.strategy": ("random",)}),
    "transport.epsilon": LogUniform(0.01, 1.0),
    "objective.temperature": Conditional(LogUniform(0.01, 0.2), when={"languages.seed": (7, 9)}),
}


def test_a_dimension_is_met_only_where_its_condition_holds_through_several_levels():
    def at(**chosen):
        return walk(SPACE, lambda name, dimension: chosen.get(name.rpartition(".")[2], 0.5))

    assert list(at(strategy="diverse")) == ["languages.strategy", "transport.epsilon"]
    assert list(at(strategy="random", seed=3)) == ["languages.strategy", "languages.seed", "transport.epsilon"]
    assert list(at(strategy="random", seed=7)) == list(SPACE)


def test_a_point_has_all_dimensions_that_exist_and_no_other():
    whole = {"languages.strategy": "random", "languages.seed": 3, "transport.epsilon": 0.1}
    assert is_point(SPACE, whole)
    assert not is_point(SPACE, whole | {"languages.strategy": "diverse"}), "the seed does not exist there"
    assert not is_point(SPACE, {"languages.strategy": "random", "transport.epsilon": 0.1})
    assert not is_point(SPACE, {})


def test_corners_and_edges_reach_every_end_of_every_dimension():
    low, high = corners(SPACE)
    assert low == {"languages.strategy": "diverse", "transport.epsilon": 0.01}
    assert high == {"languages.strategy": "random", "languages.seed": 9, "transport.epsilon": 1.0, "objective.temperature": 0.2}
    tried = [point for points in edges(SPACE) for point in points]
    assert all(is_point(SPACE, point) for point in tried)
    assert {point["languages.seed"] for point in tried if "languages.seed" in point} == {0, 7, 9}
    assert {point["objective.temperature"] for point in tried if "objective.temperature" in point} >= {0.01, 0.2}


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({}, "expected Conditional"),
        ({"nowhere": (1,)}, "expected a dimension that stands before it, which are a, b"),
        ({"a": ()}, "a tuple of at least one value"),
        ({"a": ("z",)}, "'z' is no value of Categorical"),
        ({"b": (0.5,)}, "a Categorical or an Integer there"),
    ],
)
def test_a_condition_that_can_never_hold_is_refused(when, message):
    space = {"a": Categorical(("x", "y")), "b": Uniform(0.0, 1.0), "c": Conditional(Integer(1, 2), when)}
    with pytest.raises(ConfigError, match=message):
        check_conditions(space, "part 'p'")


def test_a_condition_is_part_of_the_description_and_nothing_else_changes():
    assert describe_dimension(LogUniform(0.1, 1.0)) == {"kind": "LogUniform", "low": 0.1, "high": 1.0}
    assert describe_dimension(Categorical((1, 2))) == {"kind": "Categorical", "values": [1, 2]}
    row = describe_dimension(SPACE["languages.seed"])
    assert row == {"kind": "Integer", "low": 0, "high": 9, "when": {"languages.strategy": ["random"]}}
