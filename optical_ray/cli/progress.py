"""What long work shows: one line that changes on a terminal, plain lines now and then in a log file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from optical_ray.orchestration.progress import SweepProgress, TrialProgress

LOG_SECONDS = 20.0  # between two lines of one piece of work where there is no terminal


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
    """`4:05`, `2:04:05`, or `?`."""
    if seconds is None:
        return "?"
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}" if whole < 3600 else f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def describe_resources(resources: Mapping[str, Any] | None) -> str:
    """`1 x 2 CPU`, `2 x (1 CPU + 0.5 GPU)`: workers, and what each has; empty where it is not known."""
    if not resources:
        return ""
    gpus = float(resources.get("gpus_per_worker") or 0.0)
    cpus = f"{resources.get('threads', 1)} CPU"
    return f"{resources.get('workers', 1)} x {f'({cpus} + {gpus:g} GPU)' if gpus else cpus}"


class SweepView:
    """The live table of a sweep on a terminal; elsewhere a line for each thing that happens to a trial."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=2, transient=True) if console.is_terminal else None
        self._running: dict[str, TrialProgress] = {}
        self._failed: set[str] = set()
        self._died: tuple[str, ...] = ()
        self._finished: int | None = None

    def __enter__(self) -> SweepView:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: SweepProgress) -> None:
        """Draw how far the sweep is."""
        if self._live is None:
            self._tell(progress)
        else:
            self._live.update(draw_sweep(progress))

    def _tell(self, progress: SweepProgress) -> None:
        """One line for each trial that has begun, finished or failed since the last call; of one that died the log tells."""
        running = {trial.trial_id: trial for trial in progress.running}
        left = "" if progress.seconds_left is None else f", about {minutes(progress.seconds_left)} left"
        where = f"{progress.finished}/{progress.total} finished{left}"
        lines: list[str] = []
        ended, died = 0, progress.died[len(self._died) :]
        for trial_id, reason in progress.failed:
            if trial_id not in self._failed:
                self._failed.add(trial_id)
                lines.append(f"failed    {trial_id}: {reason}")
        for trial_id, last_seen in self._running.items():
            trial = progress.ended.get(trial_id, last_seen)
            if trial_id not in running and trial_id not in self._failed and trial_id not in died:
                ended += 1
                score = "" if trial.objective is None else f", valid {trial.objective:.3f}"
                lines.append(f"ended     {trial_id} {trial.part}: {trial.label} in {minutes(trial.seconds)}{score}; {where}")
        for trial_id, trial in running.items():
            if trial_id not in self._running:
                lines.append(f"started   {trial_id} {trial.part}: {trial.label}")
        if self._finished is not None and progress.finished > self._finished + ended:  # some were too short to be seen running
            lines.append(where)
        for line in lines:
            self._console.print(line, soft_wrap=True, highlight=False)
        self._running, self._finished, self._died = running, progress.finished, progress.died


def draw_sweep(progress: SweepProgress) -> Table:
    """The running trials, under a line that counts the others."""
    head = Text.assemble(
        f"{progress.finished}/{progress.total} trials finished",
        (f", {len(progress.failed)} failed" if progress.failed else "", "red"),
        f", {len(progress.running)} running, {progress.pending} waiting; {minutes(progress.seconds)} gone, "
        f"about {minutes(progress.seconds_left)} left",
    )
    table = Table("trial", "what", "step", "loss", "valid", "time", "left", "resources", title=head, title_justify="left")
    for trial in progress.running:
        table.add_row(
            trial.trial_id,
            f"{trial.part}: {trial.label}",
            f"{trial.step}/{trial.max_steps}" if trial.max_steps else "prepares",
            "" if trial.loss is None else f"{trial.loss:.3f}",
            "" if trial.objective is None else f"{trial.objective:.3f}",
            minutes(trial.seconds),
            minutes(trial.seconds_left),
            describe_resources(trial.resources),
        )
    return table
