"""What is done about bad input: the first piece ends the reading with one line, or all are left out and counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from optical_ray.errors import DataError
from optical_ray.retrieval.formats.options import OnBad

DUPLICATE_DOCUMENT = "document of an id that came before"
DUPLICATE_QUERY = "query of an id that came before"
EMPTY_DOCUMENT = "empty document"
EMPTY_QUERY = "empty query"
UNKNOWN_DOCUMENT = "judgement of an unknown document"
UNKNOWN_QUERY = "judgement of an unknown query"
UNKNOWN_CANDIDATE = "candidate that is no document"
REPEATED_JUDGEMENT = "judgement that contradicts an earlier one"
BROKEN_ROW = "row that cannot be read"
BAD_TEXT = "text with a NUL byte or invalid UTF-8"
UNEQUAL_LINES = "line without a counterpart"
MISSING_LANGUAGE = "language without a file"
WITHHELD = "question whose answer is withheld"
"""Bad input: left out only where the user allowed it."""

NOT_JUDGED = "query without judgements"
NOTHING_RELEVANT = "query without a relevant document"
UNANSWERABLE = "unanswerable question"
NO_SENTENCE = "question whose answer is in no sentence"
NO_COUNTERPART = "line without a translation in the other language"
BEYOND_LIMIT = "query beyond --limit (max_queries)"
"""Left out by the benchmark's protocol, or by an option."""


@dataclass(slots=True)
class Skips:
    """Reason -> how many; one for each collection."""

    on_bad: OnBad = "refuse"
    counts: Counter[str] = field(default_factory=Counter)

    def bad(self, reason: str, message: str, count: int = 1) -> None:
        """Meet bad input.

        Args:
            reason: What is counted.
            message: Where, what was found, what was expected, what to do.
            count: How many things are left out.

        Raises:
            DataError: `refuse`.
        """
        if self.on_bad == "refuse":
            raise DataError(f"{message}, or leave such out and count them (--on-bad-row skip, on_bad=skip)")
        self.counts[reason] += count

    def leave_out(self, reason: str, count: int = 1) -> None:
        """Count what the protocol, or an option, leaves out."""
        if count:
            self.counts[reason] += count

    def fork(self) -> Skips:
        """A copy to go on counting with, for one of several collections that share what was read so far."""
        return Skips(self.on_bad, Counter(self.counts))
