"""What Ray Tune asks for trials: grid points in their order, then each search part's study.

One mechanism resumes, extends and retries (docs/decisions): what is still to run is worked out anew at every start, from the trials' status
files and the study's journal. Ray Tune asks `SweepSearch`; search parts are answered by Ray's OptunaSearch.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray.tune.result import TRAINING_ITERATION
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from optical_ray.errors import ConfigError
from optical_ray.orchestration.planned import PlannedTrial, grid_trials, point_label, searched_trial
from optical_ray.orchestration.study import INVALID, PositionSampler, StudyPart, distributions, open_storage
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import GridPart, Sweep

log = logging.getLogger(__name__)

MAX_INVALID_POINTS = 300
"""In a row, until a search gives up: about a second; where one point in 25 is valid, the odds of it are 1 to 200,000."""


class GuardedOptunaSearch(OptunaSearch):  # type: ignore[misc]  # Ray's classes have no types
    """OptunaSearch that tells FAIL where there is no finite objective; Ray 2.60 leaves such a trial RUNNING, or raises KeyError."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        # A result with a state is the trial's last word, which repeats its last validation: it counts in on_trial_complete.
        if "state" not in result and _is_finite(value := result.get(self.metric)):
            super().on_trial_result(trial_id, {self.metric: value, TRAINING_ITERATION: int(result["step"])})

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if error or result is None or not _is_finite(result.get(self.metric)):
            super().on_trial_complete(trial_id, None, error=True)
        else:
            super().on_trial_complete(trial_id, result)

    def refuse(self, trial_id: str, reason: str) -> None:
        """The point gives no recipe: FAIL, with the reason kept. Left RUNNING, it would be met again at every resume."""
        self._ot_trials[trial_id].set_user_attr(INVALID, reason)
        self.on_trial_complete(trial_id, error=True)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


class SweepSearch(Searcher):  # type: ignore[misc]
    """Hands out a sweep's open trials, part by part. A recipe runs at most once in one start, however many parts ask for it."""

    def __init__(self, sweep: Sweep, run: RunFolder, concurrent: int, retry_failed: bool) -> None:
        super().__init__()  # no metric: Tune would check every result for it, and end the whole sweep at the first that has none
        self.given_up: ConfigError | None = None
        """Why a search part ended early: it drew nothing but invalid points."""
        self._run = run
        self._live: set[str] = set()
        self._failed: set[str] = set()
        self._planned: dict[str, PlannedTrial] = {}  # by Tune's id
        self._told: dict[str, tuple[_SearchQueue, str]] = {}  # by Tune's id: whom to tell, and its own name there
        storage = open_storage(run.study)
        self._parts: list[list[PlannedTrial] | StudyPart] = []
        self._queues: list[_GridQueue | _SearchQueue] = []
        for part in sweep.parts:
            if isinstance(part, GridPart):
                trials = grid_trials(part, sweep.base)
                self._parts.append(trials)
                self._queues.append(_GridQueue([trial for trial in trials if self._is_open(trial, retry_failed)]))
            else:
                study = StudyPart.open(part, sweep.base, run, storage)
                study.settle()
                study.enqueue_unfinished(retry_failed)
                self._parts.append(study)
                search = GuardedOptunaSearch(
                    distributions(part.space),
                    metric=sweep.metric,
                    mode="max",
                    study_name=part.name,
                    storage=storage,
                    sampler=PositionSampler(part, concurrent > 1),
                )
                self._queues.append(_SearchQueue(study, search, study.remaining(retry_failed)))

    @property
    def remaining(self) -> int:
        """Trials not handed out yet."""
        return sum(queue.remaining for queue in self._queues)

    @property
    def outstanding(self) -> int:
        """Trials without an end: not handed out yet, or handed out and neither finished nor failed."""
        return self.remaining + len(self._live)

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial for Tune's `trial_id`: its config; None to ask again later; FINISHED."""
        while self._queues:
            queue = self._queues[0]
            if queue.remaining == 0:
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
            token = queue.take()
            if planned.trial_id in self._failed or self._is_finished(planned.trial_id):
                if isinstance(queue, _SearchQueue):
                    queue.tell(token, None if planned.trial_id in self._failed else queue.study.finished_value(planned))
                continue
            self._live.add(planned.trial_id)
            self._planned[trial_id] = planned
            if isinstance(queue, _SearchQueue):
                self._told[trial_id] = queue, token
            recipe = json.dumps(planned.recipe.to_dict(), ensure_ascii=False)
            return {"part": planned.part, "label": planned.label, "trial_id": planned.trial_id, "recipe": recipe}
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if trial_id in self._told:
            queue, token = self._told[trial_id]
            queue.search.on_trial_result(token, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        planned = self._planned[trial_id]
        self._live.discard(planned.trial_id)
        if error:
            self._failed.add(planned.trial_id)
        if trial_id in self._told:
            queue, token = self._told.pop(trial_id)
            queue.search.on_trial_complete(token, result, error)

    def settle(self) -> None:
        """At the end, however it came: no trial of any study is left RUNNING."""
        for part in self._parts:
            if isinstance(part, StudyPart):
                part.settle()

    def trials(self) -> Iterator[PlannedTrial]:
        """Every trial of the sweep that is known by now, in order of part and point."""
        for part in self._parts:
            yield from part.trials() if isinstance(part, StudyPart) else part

    def invalid(self) -> Iterator[tuple[str, str]]:
        """(part and point, reason) of the points that were drawn and give no recipe, each once."""
        for part in self._parts:
            if isinstance(part, StudyPart):
                yield from ((f"{part.part.name}: {point}", reason) for point, reason in part.invalid().items())

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its searcher for Tuner.restore, which is not used

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study on disk and the status files are the state. (Ray would pickle the study.)"""
        Path(checkpoint_path).write_text("", encoding="utf-8")

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed by a new Tuner over the study on disk, not by Tuner.restore")

    def _is_finished(self, trial_id: str) -> bool:
        status = self._run.trial(trial_id).read_status()
        return status is not None and status.state == "finished"

    def _is_open(self, trial: PlannedTrial, retry_failed: bool) -> bool:
        status = self._run.trial(trial.trial_id).read_status()
        return status is None or not (status.state == "finished" or (status.state == "failed" and not retry_failed))


class _GridQueue:
    """Open points of a grid part, in order."""

    def __init__(self, trials: list[PlannedTrial]) -> None:
        self._trials, self.remaining = trials, len(trials)

    def peek(self) -> PlannedTrial:
        return self._trials[0]

    def take(self) -> str:
        return self._trials.pop(0).trial_id


class _SearchQueue:
    """A search part: a point is asked of Optuna once and kept until it can run."""

    def __init__(self, study: StudyPart, search: GuardedOptunaSearch, remaining: int) -> None:
        self.study, self.search, self.remaining = study, search, remaining
        self._held: tuple[str, PlannedTrial] | None = None
        self._tokens = map(str, itertools.count())  # OptunaSearch answers a name that it knows with the same point

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
            token = next(self._tokens)
            parameters = self.search.suggest(token)
            assert parameters is not None
            try:
                self._held = token, searched_trial(part, self.study.base, parameters)
                return self._held[1]
            except ConfigError as error:
                point, reason = point_label(parameters), str(error)
                self.search.refuse(token, reason)
                # Named one by one in the outcome; as warnings, hundreds of them would bury those of trials that failed.
                log.log(logging.INFO if refused else logging.WARNING, "part=%s state=invalid point=(%s) error=%s", part.name, point, reason)
                refused.add(point)
        raise ConfigError(
            f"part {part.name!r}: {MAX_INVALID_POINTS} points in a row ({len(refused)} different ones) give no recipe; the last: {point}: "
            f"{reason}. Narrow the space, or list the values that fit in a Categorical"
        )

    def take(self) -> str:
        assert self._held is not None
        token = self._held[0]
        self._held = None
        return token

    def tell(self, token: str, value: float | None) -> None:
        self.search.on_trial_complete(token, None if value is None else {self.search.metric: value}, error=value is None)
