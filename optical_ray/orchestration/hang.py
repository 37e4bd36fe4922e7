"""Ends a process whose training says nothing any more: hung in a reduction or a file system, it would hold its machine for ever."""

from __future__ import annotations

import contextlib
import faulthandler
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def end_hang(seconds: float | None, told: Path) -> Iterator[Callable[[bool], None]]:
    """A function to call at every report; a process that does not for too long ends at once, without any clean-up.

    The clock is C's own, which runs also where a call never gives Python its lock back. It starts with the first report: what is prepared
    before may take its time, and so may what comes after the last one.

    Args:
        seconds: Between two reports, at most; None: for ever.
        told: Where every thread's traceback is written then; there, and not empty, only after a hang.
    """
    told.unlink(missing_ok=True)
    if seconds is None:
        yield lambda is_last: None
        return
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(told.open("w", encoding="utf-8"))
        stack.callback(faulthandler.cancel_dump_traceback_later)

        def alive(is_last: bool) -> None:
            if is_last:
                faulthandler.cancel_dump_traceback_later()
            else:
                faulthandler.dump_traceback_later(seconds, exit=True, file=stream)

        try:
            yield alive
        finally:
            told.unlink(missing_ok=True)
