"""Experiment trackers beside Tune's own TensorBoard files: Ray's callbacks for Weights & Biases and MLflow, which are extras."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from optical_ray.errors import ConfigError
from optical_ray.runs.labels import flatten


def make_trackers(sweep_name: str, wandb_project: str | None, mlflow_uri: str | None) -> list[tune.Callback]:
    """The callbacks that were asked for.

    Args:
        sweep_name: Groups the trials there.
        wandb_project: Of Weights & Biases, whose key is WANDB_API_KEY or its own login (WANDB_MODE=offline: none); None: not asked for.
        mlflow_uri: Of an MLflow server, or a database (`sqlite:///mlflow.db`); None: not asked for.

    Raises:
        ConfigError: the package is not installed; with the command.
    """
    found: list[tune.Callback] = []
    if wandb_project is not None:
        _require("wandb", "--wandb")
        from ray.air.integrations.wandb import WandbLoggerCallback

        found.append(with_recipe(WandbLoggerCallback)(project=wandb_project, group=sweep_name))
    if mlflow_uri is not None:
        _require("mlflow", "--mlflow")
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        found.append(with_recipe(MLflowLoggerCallback)(tracking_uri=mlflow_uri, experiment_name=sweep_name))
    return found


def _require(package: str, option: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{option}: {package} is not installed; install it with: pip install 'optical-ray[{package}]'")


def with_recipe(callback: Any) -> Any:
    """A tracker's callback that is shown each recipe field as a parameter; Tune's own config holds the recipe as one text, and paths."""

    class WithRecipe(callback):  # type: ignore[misc]  # Ray's classes have no types
        def log_trial_start(self, trial: Trial) -> None:
            super().log_trial_start(_Shown(trial))

    return WithRecipe


class _Shown:
    """A trial of Tune, equal to it in every dictionary, but for its config."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        leaves = flatten(json.loads(trial.config["recipe"]))
        self.config = {name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in leaves.items()}
        self.config |= {name: trial.config[name] for name in ("part", "label") if name in trial.config}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def __hash__(self) -> int:
        return hash(self._trial)

    def __eq__(self, other: object) -> bool:
        return self._trial is (other._trial if isinstance(other, _Shown) else other)

    def __str__(self) -> str:
        return str(self._trial)
