"""How far a sweep is: plain data, read from the trials' files, for whoever draws it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optical_ray.errors import OpticalError
from optical_ray.orchestration.planned import PlannedTrial
from optical_ray.runs.folder import RunFolder, read_object
from optical_ray.runs.names import LOSS, STEP_SECONDS
from optical_ray.runs.standing import steps_left_seconds
from optical_ray.runs.tail import last_values


@dataclass(frozen=True, slots=True)
class TrialProgress:
    """One trial that is running now."""

    trial_id: str
    part: str
    label: str
    step: int
    max_steps: int
    """0 while the trial prepares (shards, tokenizer, teacher tokens) and has not said how long it is."""
    loss: float | None
    """`loss/total` of the last report."""
    objective: float | None
    """`valid/Success@1` of the last validation."""
    seconds: float
    """Since this start."""
    seconds_left: float | None = None
    """To its last step; None before its first report."""
    resources: Mapping[str, Any] = field(default_factory=dict)
    """`Resources` as plain data; empty until the trial has written it."""


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """The whole sweep at one moment."""

    total: int
    finished: int
    """Over all starts of this run."""
    failed: tuple[tuple[str, str], ...]
    """(trial id, one line) of this start."""
    running: tuple[TrialProgress, ...]
    pending: int
    seconds: float
    """Since this start."""
    seconds_left: float | None
    """An estimate; None until a trial has finished."""
    died: tuple[str, ...] = ()
    """Ids of the trials whose process died in this start, once for each time; they wait to go on, or have gone on."""
    ended: Mapping[str, TrialProgress] = field(default_factory=dict)
    """The trials of this start that have their result, by id, as they ended."""


class ProgressClock:
    """Follows the trials of one start: who runs since when, how long they took."""

    def __init__(self, run: RunFolder, total: int, finished_before: int, concurrent: int) -> None:
        self._run, self._total, self._concurrent = run, total, concurrent
        self._finished = finished_before
        self._started = time.monotonic()
        self._since: dict[str, tuple[PlannedTrial, float]] = {}
        self._durations: list[float] = []
        self._failed: dict[str, str] = {}
        self._died: list[str] = []
        self._ended: dict[str, TrialProgress] = {}

    def start(self, trial: PlannedTrial) -> None:
        """A trial runs from now on."""
        self._since[trial.trial_id] = trial, time.monotonic()

    def finish(self, trial_id: str) -> None:
        """A trial has its result."""
        trial, since = self._since.pop(trial_id)
        if trial.recipe.training.max_steps > 0:  # the untrained control takes no time and would spoil the estimate
            self._durations.append(time.monotonic() - since)
        self._ended[trial_id] = self._read_trial(trial, time.monotonic() - since)
        self._finished += 1

    def fail(self, trial_id: str, line: str) -> None:
        """A trial raised, or its process died."""
        self._since.pop(trial_id, None)
        self._failed[trial_id] = line

    def stop(self, trial_id: str) -> None:
        """A trial's process died; it waits to go on."""
        self._since.pop(trial_id, None)
        self._died.append(trial_id)

    def read(self) -> SweepProgress:
        """The state now."""
        now = time.monotonic()
        running = tuple(self._read_trial(trial, now - since) for trial, since in self._since.values())
        pending = max(0, self._total - self._finished - len(self._failed) - len(running))
        return SweepProgress(
            self._total,
            self._finished,
            tuple(self._failed.items()),
            running,
            pending,
            now - self._started,
            estimate_seconds_left(self._durations, running, pending, self._concurrent),
            tuple(self._died),
            dict(self._ended),
        )

    def _read_trial(self, trial: PlannedTrial, seconds: float) -> TrialProgress:
        folder = self._run.trial(trial.trial_id)
        status = folder.read_status()
        step, max_steps, objective = (status.step, status.max_steps, status.objective) if status is not None else (0, 0, None)
        said = last_values(folder.metrics, (LOSS, STEP_SECONDS))
        left = None
        if status is not None:
            length = {"training": {"validate_every": trial.recipe.training.validate_every}}
            left = steps_left_seconds(status, said.get(STEP_SECONDS), length)
        try:
            resources = read_object(folder.resources)
        except OpticalError:  # not written yet
            resources = {}
        return TrialProgress(trial.trial_id, trial.part, trial.label, step, max_steps, said.get(LOSS), objective, seconds, left, resources)


def estimate_seconds_left(durations: Sequence[float], running: Iterable[TrialProgress], pending: int, concurrent: int) -> float | None:
    """Mean seconds of a finished trial x trials that are left, counted in parts of a trial; the first trial builds what others reuse."""
    if not durations:
        return None
    typical = durations[1:] or durations
    open_parts = pending + sum(1 - trial.step / trial.max_steps if trial.max_steps else 1.0 for trial in running)
    return open_parts * (sum(typical) / len(typical)) / concurrent
