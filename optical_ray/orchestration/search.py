"""What Ray Tune asks for trials: grid points in their order, then each search part's study.

One mechanism resumes, extends and retries (docs/decisions): what is still to run is worked out anew at every start, from the trials' status
files and the study's journal. Ray Tune asks `SweepSearch`; search parts are answered by their Optuna studies.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from optical_ray.errors import ConfigError
from optical_ray.orchestration.planned import PlannedTrial, grid_trials, point_label, searched_trial
from optical_ray.orchestration.study import StudyPart, open_storage
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.names import VALID_SUCCESS_AT_1
from optical_ray.runs.schemas import TrialState
from optical_ray.sweep import GridPart, SearchPart, Sweep

log = logging.getLogger(__name__)

MAX_INVALID_POINTS = 300
"""In a row, until a search gives up: about a second; where one point in 25 is valid, the odds of it are 1 to 200,000."""


class SweepSearch(Searcher):  # type: ignore[misc]  # Ray's classes have no types
    """Hands out a sweep's open trials, part by part. A recipe runs at most once in one start, however many parts ask for it."""

    def __init__(self, sweep: Sweep, run: RunFolder, concurrent: int, retry_failed: bool) -> None:
        super().__init__()  # no metric: Tune would check every result for it, and end the whole sweep at the first that has none
        self.given_up: ConfigError | None = None
        """Why a search part ended early: it drew nothing but invalid points."""
        self.stopped: dict[str, str] = {}
        """Which stop rules came into force, by rule (and part), and what to tell of them."""
        self._sweep, self._run, self._retry_failed = sweep, run, retry_failed
        self._started = time.monotonic()
        self._live: set[str] = set()
        self._died: Counter[str] = Counter()  # how often, by our id
        self._again: deque[tuple[PlannedTrial, tuple[_SearchQueue, int] | None]] = deque()  # to go on from their checkpoints
        self._restarted: set[str] = set()  # Tune's ids
        self._failed: set[str] = set()
        self._pruned: set[str] = set()  # Tune's ids
        self._planned: dict[str, PlannedTrial] = {}  # by Tune's id
        self._told: dict[str, tuple[_SearchQueue, int]] = {}  # by Tune's id: whom to tell, and its number there
        storage = open_storage(run.study)
        self._parts: list[list[PlannedTrial] | StudyPart] = []
        self._queues: list[_GridQueue | _SearchQueue] = []
        for part in sweep.parts:
            if isinstance(part, GridPart):
                trials = grid_trials(part, sweep.base)
                self._parts.append(trials)
                self._queues.append(_GridQueue([trial for trial in trials if self._is_open(trial)]))
            else:
                study = StudyPart.open(part, sweep.base, run, storage, concurrent > 1)
                study.settle()
                study.enqueue_unfinished(retry_failed)
                study.note_number()
                self._parts.append(study)
                self._queues.append(_SearchQueue(study, study.remaining(retry_failed)))
        if not retry_failed:
            self._failed_before = {trial.trial_id for trial in self.trials() if self._state(trial) == "failed"}
        else:
            self._failed_before = set()

    @property
    def remaining(self) -> int:
        """Trials not handed out yet."""
        return sum(queue.remaining for queue in self._queues)

    @property
    def outstanding(self) -> int:
        """Trials without an end: not handed out yet, or handed out and neither finished nor failed."""
        return self.remaining + len(self._live) + len(self._again)

    @property
    def halves(self) -> bool:
        """True when a part has a scheduler."""
        return any(isinstance(part, SearchPart) and part.scheduler is not None for part in self._sweep.parts)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial for Tune's `trial_id`: its config; None to ask again later; FINISHED."""
        while self._queues or self._again:
            if self.is_out_of_time() or self._has_failed_too_often():
                return str(Searcher.FINISHED)
            if self._again:
                return self._hand_out(trial_id, *self._again.popleft())
            queue = self._queues[0]
            if queue.remaining == 0 or self._is_stale(queue):
                self._queues.pop(0)
                continue
            try:
                planned = queue.peek()
            except ConfigError as error:  # raised here, it would leave the trials that are running now to Tune's crash
                self.given_up = error
                self._queues.pop(0)
                continue
            if planned.trial_id in self._live:
                return None  # the same recipe is running: its result will do for both
            queue.remaining -= 1
            number = queue.take()
            if self._is_known(planned, queue):
                if isinstance(queue, _SearchQueue):
                    queue.study.conclude_by_files(number, planned)
                continue
            return self._hand_out(trial_id, planned, (queue, number) if isinstance(queue, _SearchQueue) else None)
        return None if self._live and self._sweep.restarts else str(Searcher.FINISHED)  # who runs may die, and want to go on

    def _hand_out(self, trial_id: str, planned: PlannedTrial, told: tuple[_SearchQueue, int] | None) -> dict[str, Any]:
        self._live.add(planned.trial_id)
        self._planned[trial_id] = planned
        if told is not None:
            self._told[trial_id] = told
        recipe = json.dumps(planned.recipe.to_dict(), ensure_ascii=False)
        return {"part": planned.part, "label": planned.label, "trial_id": planned.trial_id, "recipe": recipe}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        # A result with a state is the trial's last word, which repeats its last validation: it counts in on_trial_complete.
        if trial_id in self._told and "state" not in result:
            queue, number = self._told[trial_id]
            queue.study.report(number, int(result["step"]), result.get(VALID_SUCCESS_AT_1))

    def must_stop(self, trial_id: str, result: dict[str, Any]) -> bool:
        """What the scheduler asks at every validation, before anyone else is told of it."""
        if trial_id not in self._told or "state" in result:
            return False
        self.on_trial_result(trial_id, result)
        queue, number = self._told[trial_id]
        if queue.study.must_stop(number, int(result["step"]), self._planned[trial_id].recipe.training.max_steps):
            self._pruned.add(trial_id)
            return True
        return False

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        planned = self._planned[trial_id]
        self._live.discard(planned.trial_id)
        # A trial that finished has said so in its last report; a process that died after it has lost nothing, as its files show.
        facts = result if result is not None and result.get("state") == "finished" and not error else None
        finished = facts is not None or (error and self._state(planned) == "finished")
        if error and not finished:
            if self._goes_on(planned):
                self._restarted.add(trial_id)
                self._again.append((planned, self._told.pop(trial_id, None)))
                return
            self._failed.add(planned.trial_id)
        if trial_id in self._told:
            queue, number = self._told.pop(trial_id)
            if facts is None and finished:
                queue.study.conclude_by_files(number, planned)
            else:
                queue.study.conclude(number, facts, trial_id in self._pruned)

    def _goes_on(self, planned: PlannedTrial) -> bool:
        """True when the trial did not raise, but died with its process, a worker or their node, and has not died too often."""
        self._died[planned.trial_id] += 1
        return self._state(planned) not in ("failed", "pruned") and self._died[planned.trial_id] <= self._sweep.restarts

    def is_restarted(self, trial_id: str) -> bool:
        """Whether the trial that Tune called so died, and is asked for once more."""
        return trial_id in self._restarted

    def settle(self) -> None:
        """At the end, however it came: no trial of any study is left RUNNING."""
        for part in self._parts:
            if isinstance(part, StudyPart):
                part.settle()

    def trials(self) -> Iterator[PlannedTrial]:
        """Every trial of the sweep that is known by now, in order of part and point."""
        for part in self._parts:
            yield from part.trials() if isinstance(part, StudyPart) else part

    def pruned(self) -> Iterator[str]:
        """Ids of the trials that a scheduler ended, but for those that a grid wants whole."""
        whole = {trial.trial_id for part in self._parts if isinstance(part, list) for trial in part}
        for part in self._parts:
            if isinstance(part, StudyPart):
                yield from (trial.trial_id for trial in part.pruned() if trial.trial_id not in whole)

    def invalid(self) -> Iterator[tuple[str, str]]:
        """(part and point, reason) of the points that were drawn and give no recipe, each once."""
        for part in self._parts:
            if isinstance(part, StudyPart):
                yield from ((f"{part.part.name}: {point}", reason) for point, reason in part.invalid().items())

    # ---- stop rules

    def is_out_of_time(self) -> bool:
        """True when this start has used its wall time; then the trials that run are stopped too."""
        limit = self._sweep.stop.max_minutes
        if limit is None or time.monotonic() - self._started < 60 * limit or not self.outstanding:
            return False
        self.stopped.setdefault("max_minutes", f"{limit:g} minutes are over (stop.max_minutes); --resume goes on for as long again")
        return True

    def _has_failed_too_often(self) -> bool:
        limit = self._sweep.stop.max_failed
        failed = len(self._failed | self._failed_before)
        if limit is None or failed <= limit or not self.remaining:
            return False
        self.stopped.setdefault(
            "max_failed",
            f"{failed} trials failed, and stop.max_failed={limit}: no other was started; mend what failed and give --retry-failed, or "
            "raise the limit and --resume",
        )
        return True

    def _is_stale(self, queue: _GridQueue | _SearchQueue) -> bool:
        patience = self._sweep.stop.patience
        if patience is None or not isinstance(queue, _SearchQueue) or not queue.study.is_stale(patience):
            return False
        part = queue.study.part.name
        self.stopped.setdefault(f"patience {part}", f"part {part!r}: {patience} trials in a row brought nothing better (stop.patience)")
        return True

    # ---- what the files say

    def _state(self, planned: PlannedTrial) -> TrialState | None:
        status = self._run.trial(planned.trial_id).read_status()
        return None if status is None else status.state

    def _is_known(self, planned: PlannedTrial, queue: _GridQueue | _SearchQueue) -> bool:
        """True when the trial is not to run: it finished, failed, or was stopped by the scheduler of the part that asks."""
        state = self._state(planned)
        if planned.trial_id in self._failed or planned.trial_id in self._failed_before or state == "finished":
            return True
        return state == "pruned" and isinstance(queue, _SearchQueue) and queue.study.part.scheduler is not None

    def _is_open(self, trial: PlannedTrial) -> bool:
        return self._state(trial) not in ("finished", *(() if self._retry_failed else ("failed",)))

    # ---- what Tune wants besides

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for Tuner.restore, which is not used

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study on disk and the status files are the state. (Ray would pickle the study.)"""
        Path(checkpoint_path).write_text("", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed by a new Tuner over the study on disk, not by Tuner.restore")


class _GridQueue:
    """Open points of a grid part, in order."""

    def __init__(self, trials: list[PlannedTrial]) -> None:
        self._trials, self.remaining = trials, len(trials)

    def peek(self) -> PlannedTrial:
        return self._trials[0]

    def take(self) -> int:
        self._trials.pop(0)
        return len(self._trials)


class _SearchQueue:
    """A search part: a point is asked of Optuna once and kept until it can run."""

    def __init__(self, study: StudyPart, remaining: int) -> None:
        self.study, self.remaining = study, remaining
        self._held: tuple[int, PlannedTrial] | None = None

    def peek(self) -> PlannedTrial:
        """The next point's trial; invalid points are passed over.

        Raises:
            ConfigError: MAX_INVALID_POINTS of them in a row.
        """
        if self._held is not None:
            return self._held[1]
        part = self.study.part
        refused: set[str] = set()
        for _ in range(MAX_INVALID_POINTS):
            trial = self.study.ask()
            try:
                self._held = trial.number, searched_trial(part, self.study.base, trial.params)
                return self._held[1]
            except ConfigError as error:
                point, reason = point_label(trial.params), str(error)
                self.study.refuse(trial.number, reason)
                # Named one by one in the outcome; as warnings, hundreds of them would bury those of trials that failed.
                log.log(logging.INFO if refused else logging.WARNING, "part=%s state=invalid point=(%s) error=%s", part.name, point, reason)
                refused.add(point)
        raise ConfigError(
            f"part {part.name!r}: {MAX_INVALID_POINTS} points in a row ({len(refused)} different ones) give no recipe; the last: {point}: "
            f"{reason}. Narrow the space, or list the values that fit in a Categorical"
        )

    def take(self) -> int:
        assert self._held is not None
        number = self._held[0]
        self._held = None
        return number
