"""What long work shows: one line that changes on a terminal, plain lines now and then in a log file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

LOG_SECONDS = 20.0  # between two lines where there is no terminal


def make_console(width: int = 100) -> Console:
    """Standard output; `width` columns where it is no terminal, so that tables in a log file keep their numbers.

    Nothing printed is markup: paths and sentences may hold `[bold]` or `:smile:`.
    """
    console = Console(markup=False, emoji=False)
    return console if console.is_terminal else Console(markup=False, emoji=False, width=width)


@contextlib.contextmanager
def status_line(console: Console, title: str) -> Iterator[Callable[[str], None]]:
    """A function that shows one short line after another in the same place; the last one stays, with the time it all took."""
    started = shown = time.monotonic()
    last = ""
    with console.status(title) as status:

        def show(line: str) -> None:
            nonlocal shown, last
            last = line
            status.update(Text(f"{title}: {line}"))
            if not console.is_terminal and time.monotonic() - shown > LOG_SECONDS:
                shown = time.monotonic()
                console.print(f"{title}: {line}", soft_wrap=True, highlight=False)

        yield show
    seconds = time.monotonic() - started
    if last:
        console.print(f"{title}: {last} ({seconds:.0f} s)", soft_wrap=True, highlight=False)


def minutes(seconds: float | None) -> str:
    """`4:05`, or `?`."""
    return "?" if seconds is None else f"{int(seconds // 60)}:{int(seconds % 60):02d}"


class SweepView:
    """The live table of a sweep on a terminal; a line now and then elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._shown = 0.0
        self._finished = -1

    def __enter__(self) -> SweepView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: object) -> None:
        """Draw a `SweepProgress`."""
        from optical_ray.orchestration.progress import SweepProgress

        assert isinstance(progress, SweepProgress)
        head = Text.assemble(
            f"{progress.finished}/{progress.total} trials finished",
            (f", {len(progress.failed)} failed" if progress.failed else "", "red"),
            f", {len(progress.running)} running; {minutes(progress.seconds)} gone, about {minutes(progress.seconds_left)} left",
        )
        if self._live is None:
            changed = progress.finished != self._finished
            if changed or time.monotonic() - self._shown > LOG_SECONDS:
                self._shown, self._finished = time.monotonic(), progress.finished
                running = "; ".join(f"{trial.trial_id} {trial.step}/{trial.max_steps}" for trial in progress.running)
                self._console.print(head + Text(f" ({running})" if running else ""), soft_wrap=True, highlight=False)
            return
        table = Table("trial", "what", "step", "loss", "valid Success@1", "time", title=head, title_justify="left")
        for trial in progress.running:
            table.add_row(
                trial.trial_id,
                f"{trial.part}: {trial.label}",
                f"{trial.step}/{trial.max_steps}" if trial.max_steps else "prepares",
                "" if trial.loss is None else f"{trial.loss:.3f}",
                "" if trial.objective is None else f"{trial.objective:.3f}",
                minutes(trial.seconds),
            )
        self._live.update(table)
