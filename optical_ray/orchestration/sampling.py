"""How a search draws its points: Optuna's samplers, seeded by position, over a space whose dimensions may be conditional."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from optical_ray.seeding import derive_seed
from optical_ray.space import Categorical, Integer, LogUniform, Plain, Space, Value, walk
from optical_ray.sweep import SearchPart

RETRY_OF = "retry_of"
"""User attribute of a trial that was not sampled: it repeats the parameters of the trial with that number."""


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
        self._inner = self._make(derive_seed(self._part.seed, "search", self._part.name, position) % 2**32)
        self._inner.before_trial(study, trial)

    def _make(self, seed: int) -> BaseSampler:
        if self._part.sampler == "random":
            return RandomSampler(seed=seed)
        if self._part.sampler == "nsga2":
            return NSGAIISampler(seed=seed, population_size=self._part.population)
        return TPESampler(
            seed=seed,
            n_startup_trials=self._part.startup_trials,
            multivariate=not self._part.objectives,  # of several objectives, Optuna advises independent dimensions
            # A liar stands in for trials that are still running: without it, two at a time try nearly the same point.
            constant_liar=self._concurrent,
        )

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution) -> Any:
        return self._inner.sample_independent(study, trial, param_name, param_distribution)


def draw(trial: optuna.Trial, space: Space) -> dict[str, Value]:
    """A point for an Optuna trial, dimension by dimension, those that exist at it."""

    def choose(name: str, dimension: Plain) -> Value:
        distribution = distribution_of(dimension)
        if isinstance(distribution, CategoricalDistribution):
            return trial.suggest_categorical(name, distribution.choices)
        if isinstance(distribution, IntDistribution):
            return trial.suggest_int(name, distribution.low, distribution.high)
        assert isinstance(distribution, FloatDistribution)
        return trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)

    return walk(space, choose)


def distribution_of(dimension: Plain) -> BaseDistribution:
    """The dimension as Optuna knows it."""
    if isinstance(dimension, Categorical):
        return CategoricalDistribution(dimension.values)
    if isinstance(dimension, Integer):
        return IntDistribution(dimension.low, dimension.high)
    return FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))
