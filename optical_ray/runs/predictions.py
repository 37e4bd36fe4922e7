"""What a sweep is expected to show, in a form that its report can check: written down before the first trial, judged by the test rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from optical_ray.errors import ConfigError

LEXICAL_FLOOR = "lexical floor"
TRANSLATION_MEMORY = "translation memory"
UNTRAINED = "untrained student"
FEWER_LANGUAGES = "fewer languages"
REFERENCES = (LEXICAL_FLOOR, TRANSLATION_MEMORY, UNTRAINED, FEWER_LANGUAGES)

Direction = Literal["above", "below", "alike"]
Group = Literal["in training", "unseen"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """One difference of mean test Success@1.

    Raises:
        ConfigError: a field is not one of what is possible; with what was found.
    """

    arm: str
    """As reports name it (`Recipe.arm`): `OT`, `OT + contrastive`, `greedy`, ... At the largest k of the sweep."""
    direction: Direction
    """`alike`: within `within` of each other, which an interval that only holds 0 does not show."""
    than: str
    """Another arm at the same k and settings, or one of REFERENCES; `fewer languages`: the arm at its smallest k, on the languages that
    every set holds."""
    languages: Group = "in training"
    within: float = 0.02
    """Of `alike`: the largest difference that does not matter, in Success@1."""

    def __post_init__(self) -> None:
        where = f"prediction about {self.arm!r} and {self.than!r}"
        if not isinstance(self.arm, str) or not isinstance(self.than, str):
            raise ConfigError(f"{where}: expected the names of two arms, or of one and of {', '.join(REFERENCES)}")
        for name, allowed in (("direction", get_args(Direction)), ("languages", get_args(Group))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{where}: {name}={getattr(self, name)!r}; expected {' or '.join(allowed)}")
        if not isinstance(self.within, int | float) or not 0 < self.within < 1:
            raise ConfigError(f"{where}: within={self.within!r}; expected a difference of Success@1 between 0 and 1")
        if self.than == FEWER_LANGUAGES and self.languages != "in training":
            raise ConfigError(f"{where}: {FEWER_LANGUAGES} is judged on the languages that every set holds; leave languages out")
        if self.than == self.arm:
            raise ConfigError(f"{where}: {self.arm} against itself")

    def check_arms(self, arms: frozenset[str], where: str) -> None:
        """Against the arms of a sweep's grid.

        Raises:
            ConfigError: an arm is not one of them.
        """
        for name in (self.arm, *(() if self.than in REFERENCES else (self.than,))):
            if name not in arms:
                known = f"arms {', '.join(sorted(arms)) or 'none'}; against also {', '.join(REFERENCES)}"
                raise ConfigError(f"{where}: {self} names {name!r}; the grid's trials have {known}")

    def __str__(self) -> str:
        """`OT is above the lexical floor on the languages in training`"""
        verb = f"within {self.within:g} of" if self.direction == "alike" else self.direction
        if self.than == FEWER_LANGUAGES:
            return f"{self.arm} with the most languages is {verb} {self.arm} with the fewest"
        than = f"the {self.than}" if self.than in REFERENCES else self.than
        return f"{self.arm} is {verb} {than} on {'the languages in training' if self.languages == 'in training' else 'unseen languages'}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for sweep.json."""
        return asdict(self)
