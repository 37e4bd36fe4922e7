"""Which dimension of a search matters for being among its best: PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255), by Optuna.

Assumed: the finished trials cover the space; a sampler that has settled somewhere, or a scheduler that stopped the worse ones, leaves
less of it to compare with. Shares sum to 1, so that a dimension without influence still gets a little where none has any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optical_ray.analysis.design import PartView
from optical_ray.analysis.phrases import plural

LEAST_TRIALS = 20
"""Below, the share of a dimension is noise."""


@dataclass(frozen=True)
class Importance:
    """Of one search part."""

    shares: Mapping[str, float] = field(default_factory=dict)
    """By dimension, largest first; empty where it says nothing."""
    num_trials: int = 0
    note: str = ""
    """Why there is none."""


def importance(part: PartView) -> Importance:
    """Of the part's finished trials by `valid/Success@1`. Conditional dimensions, which some trials do not have, are left out."""
    names = [name for name, dimension in part.space.items() if "when" not in dimension]
    scored = [
        (trial, trial.status.objective)
        for trial in part.trials
        if trial.finished and trial.status is not None and trial.status.objective is not None and all(n in trial.fields for n in names)
    ]
    values = [value for _, value in scored]
    if len(scored) < LEAST_TRIALS or len(names) < 2:
        found = f"{plural(len(scored), 'finished trial')}, {plural(len(names), 'dimension')}"
        return Importance({}, len(scored), f"Importance of {part.name}: not told from {found}; {LEAST_TRIALS} and two are the least.")
    if max(values) - min(values) < 1e-12:
        return Importance({}, len(scored), f"Importance of {part.name}: every trial has the same score.")
    import optuna  # half a second to import

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {name: _distribution(part.space[name]) for name in names}
    study = optuna.create_study(direction="maximize")
    for trial, value in scored:
        params = {name: _value(trial.fields[name], part.space[name]) for name in names}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return Importance({name: float(share) for name, share in shares.items()}, len(scored))


def _distribution(dimension: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    kind = dimension["kind"]
    if kind == "Categorical":
        return CategoricalDistribution([_plain(value) for value in dimension["values"]])
    if kind == "Integer":
        return IntDistribution(int(dimension["low"]), int(dimension["high"]), log=bool(dimension.get("log", False)))
    return FloatDistribution(float(dimension["low"]), float(dimension["high"]), log=kind == "LogUniform")


def _value(value: Any, dimension: Mapping[str, Any]) -> Any:
    return _plain(value) if dimension["kind"] == "Categorical" else value


def _plain(value: Any) -> Any:
    """What Optuna takes for a category."""
    return str(value) if isinstance(value, list | tuple) else value
