"""The space of a search: dimensions by dotted recipe field, some of which exist only where others have certain values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from optical_ray.errors import ConfigError

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Uniform:
    """A float in [low, high]."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class LogUniform:
    """A float in [low, high], uniform in its logarithm."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number in [low, high]."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Categorical:
    """One of some values."""

    values: tuple[Value, ...]


Plain = Uniform | LogUniform | Integer | Categorical


@dataclass(frozen=True, slots=True)
class Conditional:
    """A dimension that exists only where others have certain values; elsewhere its field is as the changes or the base have it."""

    dimension: Plain
    when: Mapping[str, tuple[Value, ...]]
    """Values by dotted field, all of which must hold. The fields are dimensions that stand before this one, Categorical or Integer; one
    that does not exist itself has none of the values."""


Dimension = Plain | Conditional
Space = Mapping[str, Dimension]


def plain(dimension: Dimension) -> Plain:
    """The dimension without its condition."""
    return dimension.dimension if isinstance(dimension, Conditional) else dimension


def ends(dimension: Dimension) -> tuple[Value, Value]:
    """Lowest and highest value; an impossible dimension is a ConfigError."""
    dimension = plain(dimension)
    if isinstance(dimension, Categorical):
        if not dimension.values:
            raise ConfigError(f"{dimension}: expected at least one value")
        return dimension.values[0], dimension.values[-1]
    if not dimension.low <= dimension.high or (isinstance(dimension, LogUniform) and dimension.low <= 0):
        raise ConfigError(f"{dimension}: low must not exceed high, and must be positive on a logarithmic scale")
    return dimension.low, dimension.high


def walk(space: Space, choose: Callable[[str, Plain], Value]) -> dict[str, Value]:
    """A point of the space: each dimension that exists at it, in order, with the value that is chosen."""
    point: dict[str, Value] = {}
    for name, dimension in space.items():
        if isinstance(dimension, Conditional) and not _holds(dimension, point):
            continue
        point[name] = choose(name, plain(dimension))
    return point


def _holds(dimension: Conditional, point: Mapping[str, Value]) -> bool:
    return all(name in point and point[name] in values for name, values in dimension.when.items())


def is_point(space: Space, values: Mapping[str, Value]) -> bool:
    """True when the values are those of all dimensions that exist at them, and of no other. (A kill may leave fewer.)"""
    try:
        return walk(space, lambda name, dimension: values[name]).keys() == values.keys()
    except KeyError:
        return False


def corners(space: Space) -> list[dict[str, Value]]:
    """The lowest and the highest point; an impossible dimension is a ConfigError."""
    return [walk(space, lambda name, dimension, side=side: ends(dimension)[side]) for side in (0, 1)]  # type: ignore[misc]


def edges(space: Space) -> Iterator[list[dict[str, Value]]]:
    """For every value that should give a recipe by itself, the points to try it at: with the others at their lowest, or at their highest.

    Those are every value of a Categorical, and both ends of a Conditional, at points where it exists.
    """
    for name, dimension in space.items():
        inner = plain(dimension)
        values = inner.values if isinstance(inner, Categorical) else ends(inner) if isinstance(dimension, Conditional) else ()
        for value in values:
            held = _where_it_exists(space, name) | {name: value}
            yield [walk(space, lambda n, d, side=side, held=held: held[n] if n in held else ends(d)[side]) for side in (0, 1)]  # type: ignore[misc]


def _where_it_exists(space: Space, name: str) -> dict[str, Value]:
    dimension = space[name]
    held: dict[str, Value] = {}
    for parent, values in dimension.when.items() if isinstance(dimension, Conditional) else ():
        held |= _where_it_exists(space, parent) | {parent: values[0]}
    return held


def check_conditions(space: Space, where: str) -> None:
    """Refuse a condition that can never hold, or that is decided after what hangs on it.

    Raises:
        ConfigError: it names no dimension before its own, or values that dimension does not have.
    """
    before: dict[str, Plain] = {}
    for name, dimension in space.items():
        if isinstance(dimension, Conditional):
            if not isinstance(dimension.dimension, Plain) or not dimension.when:
                raise ConfigError(f"{where}: {name} is {dimension}; expected Conditional(LogUniform(...), when={{field: (values...)}})")
            for parent, values in dimension.when.items():
                _check_condition(f"{where}: {name} exists where {parent} is {values}", before.get(parent), values, before)
        before[name] = plain(dimension)


def _check_condition(where: str, parent: Plain | None, values: tuple[Value, ...], before: Mapping[str, Plain]) -> None:
    if parent is None:
        raise ConfigError(f"{where}; expected a dimension that stands before it, which are {', '.join(before) or 'none'}")
    if not isinstance(values, tuple) or not values:
        raise ConfigError(f"{where}; expected a tuple of at least one value")
    if not isinstance(parent, Categorical | Integer):
        raise ConfigError(f"{where}; expected a Categorical or an Integer there, found {parent}")
    for value in values:
        known = value in parent.values if isinstance(parent, Categorical) else isinstance(value, int) and parent.low <= value <= parent.high
        if not known:
            raise ConfigError(f"{where}; {value!r} is no value of {parent}")


def describe_dimension(dimension: Dimension) -> dict[str, Any]:
    """Plain data: kind, ends or values, and the condition where there is one."""
    inner = plain(dimension)
    row = {"kind": type(inner).__name__} | {slot: getattr(inner, slot) for slot in inner.__slots__}
    if "values" in row:
        row["values"] = list(row["values"])
    if isinstance(dimension, Conditional):
        row["when"] = {name: list(values) for name, values in dimension.when.items()}
    return row
