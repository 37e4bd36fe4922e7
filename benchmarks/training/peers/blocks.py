"""How a contender's process is timed: its parent asks for a block of steps on stdin, it answers with what that took, and waits.

Standard library alone: this file also runs in the environments of the others, which know nothing of this project.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any


class Ended(SystemExit):
    """The parent wants no more blocks."""


class Blocks:
    """One line of JSON for each line of stdin. Whatever else is printed goes to stderr."""

    def __init__(self) -> None:
        self._out = self._open()
        self._left = 0
        self._since: float | None = None
        self._counts: Counter[str] = Counter()
        self.facts: dict[str, Any] = {}
        """Told once, when the first step is about to begin."""

    def _open(self) -> IO[str]:
        out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        return out

    def before_step(self) -> None:
        """Where a step begins. At the end of a block this is where the process waits for the next."""
        if self._left == 0:
            now = time.perf_counter()
            if self._since is None:
                self._say(ready=time.time(), **self.facts)
            else:
                self._say(seconds=now - self._since, **self._counts)
            steps = self._next()
            if steps is None:
                raise Ended(0)
            self._left = steps
            self._counts.clear()
            self._since = time.perf_counter()
        self._left -= 1

    def count(self, **amounts: float) -> None:
        """Add to what the block's answer holds: pairs, tokens, seconds of a part."""
        self._counts.update(amounts)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count what is done inside as `<part>_seconds`."""
        started = time.perf_counter()
        yield
        self.count(**{f"{part}_seconds": time.perf_counter() - started})

    def _next(self) -> int | None:
        line = sys.stdin.readline()
        return int(line) if line.strip() else None

    def _say(self, **facts: Any) -> None:
        self._out.write(json.dumps(facts) + "\n")
        self._out.flush()
