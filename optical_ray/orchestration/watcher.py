"""Follows a sweep's trials while Tune runs them: tells how far they are, and closes the files of those that cannot do it themselves."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.logger import CSVLoggerCallback, JsonLoggerCallback, TBXLoggerCallback

from optical_ray.errors import OpticalError
from optical_ray.orchestration.planned import PlannedTrial
from optical_ray.orchestration.progress import ProgressClock, SweepProgress
from optical_ray.orchestration.scheduler import close_pruned
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder, TrialFolder, utc_now
from optical_ray.runs.schemas import TrialStatus

log = logging.getLogger(__name__)


def trial_id_of(trial: Trial) -> str:
    """Our id of one of Tune's trials; its own is random."""
    return str(trial.config["trial_id"])


class Watcher(tune.Callback):  # type: ignore[misc]  # Ray's classes have no types
    """Follows Tune's trials, polls their files, and closes the status of trials whose process could not."""

    def __init__(
        self,
        run: RunFolder,
        clock: ProgressClock,
        progress: Callable[[SweepProgress], None] | None,
        every_seconds: float,
        trackers: Sequence[tune.Callback],
        is_restarted: Callable[[str], bool],
    ) -> None:
        self._run, self._clock, self._progress, self._every = run, clock, progress, every_seconds
        self._is_restarted = is_restarted
        self._next = 0.0
        self._live: dict[str, Trial] = {}
        # Tune makes these itself, but does not close the files of trials that were running at an interrupt.
        self.loggers = [JsonLoggerCallback(), CSVLoggerCallback(), TBXLoggerCallback(), *trackers]

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its callbacks for Tuner.restore, which is not used; a terminal does not pickle

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._live[trial_id_of(trial)] = trial
        recipe = Recipe.parse(json.loads(trial.config["recipe"]), trial_id_of(trial))
        self._clock.start(PlannedTrial(trial.config["part"], trial.config["label"], recipe))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._live.pop(trial_id_of(trial), None)
        if trial.last_result.get("state") != "finished":  # the scheduler ended it, in the middle of a report: it cannot say so itself
            close_pruned(self._run.trial(trial_id_of(trial)))
        self._clock.finish(trial_id_of(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        trial_id = trial_id_of(trial)
        self._live.pop(trial_id, None)
        folder = self._run.trial(trial_id)
        status = folder.read_status()
        if status is not None and status.state == "finished":  # the process died after its last word to the files: nothing is lost
            self._clock.finish(trial_id)
            return
        if status is None or status.state != "failed" or not status.error:
            line = _one_line(trial, folder)  # the process died, or the trial failed before it had a status
            if self._is_restarted(trial.trial_id):
                if status is not None:
                    folder.write_status(status.override({"state": "stopped", "error": line, "updated_at": utc_now()}))
                self._clock.stop(trial_id)
                log.warning("trial=%s state=stopped error=%s; it goes on from its last checkpoint", trial_id, line)
                return
            status = (status or TrialStatus(trial_id=trial_id, state="failed")).override(
                {"state": "failed", "error": line, "updated_at": utc_now()}
            )
            folder.write_status(status)
        self._clock.fail(trial_id, status.error or "")
        log.warning("trial=%s state=failed error=%s", trial_id, status.error)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        if self._progress is not None and time.monotonic() >= self._next:
            self._progress(self._clock.read())
            self._next = time.monotonic() + self._every

    def mark_stopped(self) -> None:
        """Trials that were running when the sweep ended say so; a checkpoint, where there is one, is resumed."""
        for trial_id, trial in self._live.items():
            for logger in self.loggers:
                logger.log_trial_end(trial)
            folder = self._run.trial(trial_id)
            status = folder.read_status()
            if status is not None and status.state == "running":
                folder.write_status(status.override({"state": "stopped", "updated_at": utc_now()}))
        self._live.clear()


def _one_line(trial: Trial, folder: TrialFolder) -> str:
    """Why a trial without a status of its own ended, from what Tune keeps of its exception."""
    error = None
    if trial.pickled_error_file is not None:
        with open(trial.pickled_error_file, "rb") as stream:
            error = ray.cloudpickle.load(stream)
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, OpticalError):
        return str(cause)
    place = f"ray/{trial_id_of(trial)}/error.txt in the run folder"
    if isinstance(cause, ray.exceptions.RayActorError) and folder.hang.is_file() and folder.hang.stat().st_size:
        return f"no report for too long (hang_minutes): its process was ended; where it hung: {folder.hang}"
    if isinstance(cause, ray.exceptions.RayActorError):
        return f"the trial's process died (killed, out of memory, or crashed); see {place}"
    first = next(iter(str(cause).strip().splitlines()), "no message")
    return f"{type(cause).__name__}: {first}; traceback: {place}"
