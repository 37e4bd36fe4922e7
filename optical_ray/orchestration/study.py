"""A search part's Optuna study on disk: asked for points, told what became of them, brought into line with the trials' status files."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from optical_ray.errors import ArtifactError, ConfigError
from optical_ray.orchestration.halving import must_stop
from optical_ray.orchestration.planned import PlannedTrial, point_label, searched_trial
from optical_ray.orchestration.sampling import RETRY_OF, PositionSampler, draw
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.names import VALID_SUCCESS_AT_1
from optical_ray.runs.objectives import pareto_front, trial_facts
from optical_ray.runs.schemas import TrialState as FileState
from optical_ray.runs.study import INVALID
from optical_ray.space import Value, is_point
from optical_ray.sweep import SearchPart

log = logging.getLogger(__name__)

STEP = "step"
"""User attribute of a trial with a value: the step that it was reached at."""
ASKED = "asked"
"""User attribute of the study: [trials asked for, trials that had a value when so many were first asked for]."""
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def open_storage(journal: Path) -> JournalStorage:
    """Optuna's journal; a last line that a killed driver left half-written is taken off, Optuna would refuse the whole file."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    if journal.exists():
        if not journal.is_file():
            raise ArtifactError(f"{journal}: a folder; expected Optuna's journal, a file; move it away")
        with journal.open("rb+") as stream:
            content = stream.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                stream.truncate(whole)
    try:
        return JournalStorage(JournalFileBackend(str(journal)))
    except (ValueError, KeyError, TypeError, OSError) as error:  # Optuna reads it whole, and raises as its parts do
        raise ArtifactError(
            f"{journal}: cannot be read as Optuna's journal ({type(error).__name__}: {str(error)[:120]}); move it away and --resume: "
            "finished trials stay, and the searches begin their memory anew"
        ) from None


@dataclass(frozen=True, slots=True)
class StudyPart:
    """One search part and its study."""

    part: SearchPart
    base: Recipe
    run: RunFolder
    study: optuna.Study

    @classmethod
    def open(cls, part: SearchPart, base: Recipe, run: RunFolder, storage: JournalStorage, concurrent: bool = False) -> StudyPart:
        """Open the study, or create it; it bears the part's name. `concurrent`: more than one trial at a time."""
        study = optuna.create_study(study_name=part.name, storage=storage, directions=part.directions, load_if_exists=True)
        study.sampler = PositionSampler(part, concurrent)
        return cls(part, base, run, study)

    # ---- a trial's life

    def ask(self) -> FrozenTrial:
        """The next point, RUNNING from now on: one that waits to be tried again, else one that the sampler draws."""
        trial = self.study.ask()
        draw(trial, self.part.space)
        return self.study.get_trials(deepcopy=False)[trial.number]

    def refuse(self, number: int, reason: str) -> None:
        """The point gives no recipe: FAIL, with the reason kept. Left RUNNING, it would be met again at every resume."""
        self._set(number, INVALID, reason)
        self.study.tell(number, state=TrialState.FAIL)

    def report(self, number: int, step: int, value: Any) -> None:
        """A validation of a running trial. Of several objectives Optuna keeps none; of a step told before, neither."""
        if not self.part.objectives and _is_finite(value) and step not in self._trial(number).intermediate_values:
            self.study._storage.set_trial_intermediate_value(self._trial(number)._trial_id, step, float(value))

    def must_stop(self, number: int, step: int, max_steps: int) -> bool:
        """True when the scheduler ends the trial at the validation that was just reported."""
        trials = self.study.get_trials(deepcopy=False)
        if self.part.scheduler is None or step not in trials[number].intermediate_values:
            return False
        curves: dict[tuple[tuple[str, Value], ...], dict[int, float]] = {}
        for trial in trials[:number] + trials[number + 1 :]:  # attempts of one trial have the same point, and one curve
            curves.setdefault(_point(trial), {}).update(trial.intermediate_values)
        earlier = curves.pop(_point(trials[number]), {})
        if any(before >= step for before in earlier):  # an earlier attempt was judged here already
            return False
        return must_stop(self.part.scheduler, max_steps, earlier | trials[number].intermediate_values, step, list(curves.values()))

    def conclude(self, number: int, facts: Mapping[str, Any] | None, pruned: bool = False) -> None:
        """The trial's end: COMPLETE with the values of its facts, PRUNED with the last one reported, else FAIL.

        Args:
            number: Of the trial in the study.
            facts: `trial_facts` of a finished trial and its `step`; None of any other.
            pruned: The scheduler ended it. Its partial value ranks below every full one (docs/decisions/020).
        """
        values = None if facts is None else self.values(facts)
        if facts is not None and values is None:
            log.warning(
                "part=%s number=%d state=finished error=a number that the search asks for is missing or not finite", self.part.name, number
            )
        if values is not None and facts is not None:
            self._set(number, STEP, int(facts.get("step", 0)))
            self.study.tell(number, values)
        elif pruned:
            self._set(number, STEP, self._trial(number).last_step)
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, state=TrialState.FAIL)

    def values(self, facts: Mapping[str, Any]) -> list[float] | None:
        """What the study is told of a finished trial, one number for each direction; None where one is missing or not finite."""
        if not self.part.objectives:
            value = facts.get(VALID_SUCCESS_AT_1)
            return [float(value)] if value is not None and _is_finite(value) else None
        found = [objective.value(facts) for objective in self.part.objectives]
        return None if None in found else [value for value in found if value is not None]

    def _trial(self, number: int) -> FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def _set(self, number: int, name: str, value: Any) -> None:
        self.study._storage.set_trial_user_attr(self._trial(number)._trial_id, name, value)

    # ---- what the files say

    def state(self, planned: PlannedTrial) -> FileState | None:
        """Of the status file; None before the trial's first start."""
        status = self.run.trial(planned.trial_id).read_status()
        return None if status is None else status.state

    def facts(self, planned: PlannedTrial) -> dict[str, float] | None:
        """`trial_facts` and `step` of a trial whose status file says finished."""
        folder = self.run.trial(planned.trial_id)
        status = folder.read_status()
        return None if status is None or status.state != "finished" else trial_facts(folder) | {"step": status.step}

    def planned(self, trial: FrozenTrial) -> PlannedTrial | None:
        """What a trial of the study stands for; None when its point is invalid, or a kill left it without all of its parameters."""
        with contextlib.suppress(ConfigError):
            return self._plan(trial)
        return None

    def _plan(self, trial: FrozenTrial) -> PlannedTrial | None:
        parameters = trial.params or trial.system_attrs.get("fixed_params", {})
        return searched_trial(self.part, self.base, parameters) if is_point(self.part.space, parameters) else None

    def settle(self) -> None:
        """Leave no trial RUNNING: COMPLETE or PRUNED where the status file says so (a kill came before Optuna was told), else FAIL."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            planned = None
            try:
                planned = self._plan(trial)
            except ConfigError as error:  # killed before the search could refuse it
                self._set(trial.number, INVALID, str(error))
            if planned is None:
                self.study.tell(trial.number, state=TrialState.FAIL)
            else:
                self.conclude_by_files(trial.number, planned)

    def conclude_by_files(self, number: int, planned: PlannedTrial) -> None:
        """`conclude` as the trial's files have it."""
        pruned = self.state(planned) == "pruned" and self.part.scheduler is not None
        status = self.run.trial(planned.trial_id).read_status()
        if pruned and status is not None and status.objective is not None:
            self.report(number, status.step, status.objective)
        self.conclude(number, self.facts(planned), pruned)

    # ---- what is left to do

    def enqueue_unfinished(self, retry_failed: bool) -> None:
        """Ask again for the very parameters of trials that ended without a value or whose files are lost, so that the same trial goes on.

        A trial that failed by itself is asked for again only with `retry_failed`.
        """
        trials = self.study.get_trials(deepcopy=False)
        again = self._asked_again(trials)
        lost = {trial.number for trial in trials if trial.number not in again and self.lost(trial)}
        closed = [trial for trial in trials if trial.state in (*DONE, TrialState.WAITING) and trial.number not in lost | again]
        open_or_done = {planned.trial_id for trial in closed if (planned := self.planned(trial)) is not None}
        for trial in trials:
            planned = self.planned(trial) if trial.state == TrialState.FAIL or trial.number in lost else None
            if planned is None or planned.trial_id in open_or_done or (self.failed(planned) and not retry_failed):
                continue
            self.study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
            asked = self.study.get_trials(deepcopy=False)[-1]
            for name, value in trial.system_attrs.items():
                if name.endswith(":generation"):  # of nsga2, which would not count a point that it did not draw
                    self.study._storage.set_trial_system_attr(asked._trial_id, name, value)
            open_or_done.add(planned.trial_id)

    def lost(self, trial: FrozenTrial) -> bool:
        """Whether a trial has its value here and no files that say so: deleted, or damaged and removed. It is run again.

        One that the scheduler ended is not: a driver that was killed at that moment has left its status open, and it is closed yet.
        """
        planned = self.planned(trial) if trial.state == TrialState.COMPLETE else None
        return planned is not None and self.state(planned) not in ("finished", "failed")

    def failed(self, planned: PlannedTrial) -> bool:
        """True when the trial itself raised, which its status file says."""
        return self.state(planned) == "failed"

    def num_done(self) -> int:
        """Trials with a value, full or partial; of one that was lost and ran again, the later."""
        trials = self.study.get_trials(deepcopy=False)
        again = self._asked_again(trials)
        return sum(trial.state in DONE and trial.number not in again for trial in trials)

    def _asked_again(self, trials: Sequence[FrozenTrial]) -> set[int]:
        """Numbers of trials whose parameters were asked for again."""
        return {trial.user_attrs[RETRY_OF] for trial in trials if RETRY_OF in trial.user_attrs}

    def remaining(self, retry_failed: bool) -> int:
        """Trials still to run: the part's number less those with a value (and less the failed ones that are not retried)."""
        done = self.num_done()
        if not retry_failed:
            done += sum(self.failed(planned) for planned in self.trials())
        return max(0, self.part.num_trials - done)

    def note_number(self) -> None:
        """Remember when so many trials were first asked for: patience counts anew where a search is extended."""
        asked, _ = self.study.user_attrs.get(ASKED, (0, 0))
        if self.part.num_trials > asked:
            self.study.set_user_attr(ASKED, [self.part.num_trials, self.num_done()])

    def is_stale(self, patience: int) -> bool:
        """True when the last `patience` trials with a value, in order of their end, brought nothing better than those before them."""
        done = sorted(self.study.get_trials(deepcopy=False, states=DONE), key=lambda trial: (trial.datetime_complete, trial.number))
        _, extended_at = self.study.user_attrs.get(ASKED, (0, 0))
        if len(done) - extended_at < patience or len(done) <= patience:
            return False
        full = [trial.state == TrialState.COMPLETE for trial in done]
        points = [trial.values for trial, is_full in zip(done, full, strict=True) if is_full]
        earlier = sum(full[:-patience])
        return bool(points[:earlier]) and not any(self._is_better(points, index) for index in range(earlier, len(points)))

    def _is_better(self, points: Sequence[Sequence[float]], index: int) -> bool:
        """On the Pareto front of itself and what came before it, and equal to none of those."""
        before = [list(point) for point in points[:index]]
        return list(points[index]) not in before and index in pareto_front(points[: index + 1], self.part.directions)

    # ---- what was tried

    def invalid(self) -> dict[str, str]:
        """Why, by point: those that were drawn and give no recipe."""
        trials = self.study.get_trials(deepcopy=False)
        return {point_label(trial.params): trial.user_attrs[INVALID] for trial in trials if INVALID in trial.user_attrs}

    def pruned(self) -> Iterator[PlannedTrial]:
        """Trials that the scheduler ended."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)):
            if (planned := self.planned(trial)) is not None:
                yield planned

    def trials(self) -> Iterator[PlannedTrial]:
        """Every point that was ever tried, in order of first trial, each once."""
        seen: set[str] = set()
        for trial in self.study.get_trials(deepcopy=False):
            planned = self.planned(trial) if trial.state != TrialState.WAITING else None
            if planned is not None and planned.trial_id not in seen:
                seen.add(planned.trial_id)
                yield planned


def _point(trial: FrozenTrial) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(trial.params.items()))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
