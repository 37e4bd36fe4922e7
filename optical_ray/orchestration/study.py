"""A search part's Optuna study on disk: opened, brought into line with the trials' status files, asked again for what a kill left open."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from optical_ray.errors import ConfigError
from optical_ray.orchestration.planned import PlannedTrial, point_label, searched_trial
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.seeding import derive_seed
from optical_ray.sweep import Categorical, Dimension, Integer, LogUniform, SearchPart

RETRY_OF = "retry_of"
"""User attribute of a trial that was not sampled: it repeats the parameters of the trial with that number."""

INVALID = "invalid"
"""User attribute of a trial that never ran: why its point gives no recipe."""


def open_storage(journal: Path) -> JournalStorage:
    """Optuna's journal; a last line that a killed driver left half-written is taken off, Optuna would refuse the whole file."""
    journal.parent.mkdir(parents=True, exist_ok=True)
    if journal.is_file():
        with journal.open("rb+") as stream:
            content = stream.read()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                stream.truncate(whole)
    return JournalStorage(JournalFileBackend(str(journal)))


class PositionSampler(BaseSampler):
    """Draws each point from a seed of its own, named by how many points were sampled before it.

    Optuna's samplers restart their random stream with the process: a resumed search would try its first points again (optuna#3255).
    """

    def __init__(self, part: SearchPart, concurrent: bool) -> None:
        self._part, self._concurrent = part, concurrent
        self._inner: BaseSampler = RandomSampler(seed=0)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        earlier = study.get_trials(deepcopy=False)[: trial.number]
        position = sum(RETRY_OF not in other.user_attrs for other in earlier)
        seed = derive_seed(self._part.seed, "search", self._part.name, position) % 2**32
        if self._part.sampler == "random":
            self._inner = RandomSampler(seed=seed)
        else:
            startup = self._part.startup_trials
            # A liar stands in for trials that are still running: without it, two at a time try nearly the same point.
            self._inner = TPESampler(seed=seed, n_startup_trials=startup, multivariate=True, constant_liar=self._concurrent)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


def distributions(space: Mapping[str, Dimension]) -> dict[str, BaseDistribution]:
    """The part's space as Optuna knows it."""

    def convert(dimension: Dimension) -> BaseDistribution:
        if isinstance(dimension, Categorical):
            return CategoricalDistribution(dimension.values)
        if isinstance(dimension, Integer):
            return IntDistribution(dimension.low, dimension.high)
        return FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))

    return {name: convert(dimension) for name, dimension in space.items()}


@dataclass(frozen=True, slots=True)
class StudyPart:
    """One search part and its study."""

    part: SearchPart
    base: Recipe
    run: RunFolder
    study: optuna.Study

    @classmethod
    def open(cls, part: SearchPart, base: Recipe, run: RunFolder, storage: JournalStorage) -> StudyPart:
        """Open the study, or create it; it bears the part's name."""
        study = optuna.create_study(study_name=part.name, storage=storage, direction="maximize", load_if_exists=True)
        return cls(part, base, run, study)

    def planned(self, trial: FrozenTrial) -> PlannedTrial | None:
        """What a trial of the study stands for; None when its point is invalid, or a kill left it without all of its parameters."""
        with contextlib.suppress(ConfigError):
            return self._plan(trial)
        return None

    def _plan(self, trial: FrozenTrial) -> PlannedTrial | None:
        parameters = trial.params or trial.system_attrs.get("fixed_params", {})
        return searched_trial(self.part, self.base, parameters) if parameters.keys() == self.part.space.keys() else None

    def invalid(self) -> dict[str, str]:
        """Why, by point: those that were drawn and give no recipe."""
        trials = self.study.get_trials(deepcopy=False)
        return {point_label(trial.params): trial.user_attrs[INVALID] for trial in trials if INVALID in trial.user_attrs}

    def finished_value(self, planned: PlannedTrial) -> float | None:
        """The objective of a trial whose status file says finished."""
        status = self.run.trial(planned.trial_id).read_status()
        if status is None or status.state != "finished" or status.objective is None or not math.isfinite(status.objective):
            return None
        return status.objective

    def settle(self) -> None:
        """Leave no trial RUNNING: COMPLETE where the status file says finished (a kill came before Optuna was told), else FAIL."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            planned = None
            try:
                planned = self._plan(trial)
            except ConfigError as error:  # killed before the search could refuse it
                self.study._storage.set_trial_user_attr(trial._trial_id, INVALID, str(error))
            value = None if planned is None else self.finished_value(planned)
            if value is None:
                self.study.tell(trial.number, state=TrialState.FAIL)
            else:
                self.study.tell(trial.number, value)

    def enqueue_unfinished(self, retry_failed: bool) -> None:
        """Ask again for the very parameters of trials that ended without a value, so that the same trial resumes from its checkpoint.

        A trial that failed by itself is asked for again only with `retry_failed`.
        """
        trials = self.study.get_trials(deepcopy=False)
        open_or_done = {
            planned.trial_id
            for trial in trials
            if trial.state in (TrialState.COMPLETE, TrialState.WAITING) and (planned := self.planned(trial)) is not None
        }
        for trial in trials:
            planned = self.planned(trial) if trial.state == TrialState.FAIL else None
            if planned is None or planned.trial_id in open_or_done or (self.failed(planned) and not retry_failed):
                continue
            self.study.enqueue_trial(trial.params, user_attrs={RETRY_OF: trial.number})
            open_or_done.add(planned.trial_id)

    def failed(self, planned: PlannedTrial) -> bool:
        """True when the trial itself raised, which its status file says."""
        status = self.run.trial(planned.trial_id).read_status()
        return status is not None and status.state == "failed"

    def remaining(self, retry_failed: bool) -> int:
        """Trials still to run: the part's number less the COMPLETE ones (and less the failed ones that are not retried)."""
        done = len(self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
        if not retry_failed:
            done += sum(self.failed(planned) for planned in self.trials())
        return max(0, self.part.num_trials - done)

    def trials(self) -> Iterator[PlannedTrial]:
        """Every point that was ever tried, in order of first trial, each once."""
        seen: set[str] = set()
        for trial in self.study.get_trials(deepcopy=False):
            planned = self.planned(trial) if trial.state != TrialState.WAITING else None
            if planned is not None and planned.trial_id not in seen:
                seen.add(planned.trial_id)
                yield planned
