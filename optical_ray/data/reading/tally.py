"""What reading met besides good rows: counted, the first cases in words. Tasks send it home as plain data, a driver adds it up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self

from optical_ray.data.reading.chunks import OnBadRow
from optical_ray.errors import DataError

EXAMPLES = 20
"""Bad rows that are described."""

SKIP_HINT = "or pass --on-bad-row=skip to drop and count such"


@dataclass(slots=True)
class Tally:
    """Counts of one or more chunks."""

    read: int = 0
    """Rows handed on."""
    bad: Counter[str] = field(default_factory=Counter)
    """Kind -> rows (or lines) that could not be read. Damage of unknown extent, such as a cut file, counts once."""
    examples: list[str] = field(default_factory=list)
    """The first EXAMPLES bad rows, one line each: file, place, what was found."""
    skipped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(code as written, reason) -> rows left out because of their language."""

    def merge(self, other: Tally) -> None:
        """Add the counts of a later chunk."""
        self.read += other.read
        self.bad.update(other.bad)
        self.skipped.update(other.skipped)
        self.examples = (self.examples + other.examples)[:EXAMPLES]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the way back."""
        skipped = [[code, reason, rows] for (code, reason), rows in sorted(self.skipped.items())]
        return {"read": self.read, "bad": dict(sorted(self.bad.items())), "examples": list(self.examples), "skipped": skipped}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What `to_dict` gave."""
        skipped = Counter({(code, reason): rows for code, reason, rows in values["skipped"]})
        return cls(values["read"], Counter(values["bad"]), list(values["examples"]), skipped)


@dataclass(frozen=True, slots=True)
class BadRows:
    """Decides what damage inside the data does: ends the reading, or is counted."""

    on_bad_row: OnBadRow
    tally: Tally

    def add(self, kind: str, where: str, found: str, mend: str, rows: int = 1, unit: str = "rows") -> None:
        """Meet bad rows.

        Args:
            kind: What is counted.
            where: File and place.
            found: What was found, and what was expected.
            mend: What to do about it, besides skipping.
            rows: How many they are.
            unit: What skipping leaves out.

        Raises:
            DataError: `refuse`.
        """
        if self.on_bad_row == "refuse":
            raise DataError(f"{where}: {found}; {mend}, {SKIP_HINT} {unit}")
        self.tally.bad[kind] += rows
        if len(self.tally.examples) < EXAMPLES:
            self.tally.examples.append(f"{where}: {found}")
