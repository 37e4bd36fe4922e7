"""Experiment trackers beside Tune's own TensorBoard files: Ray's callbacks for Weights & Biases and MLflow, which are extras."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.result import AUTO_RESULT_KEYS, TRAINING_ITERATION

from optical_ray.errors import ConfigError
from optical_ray.runs.labels import flatten

log = logging.getLogger(__name__)

UPLOAD_SECONDS = 300
"""How long W&B may take at a sweep's end for what it has not sent yet; the files that it keeps can be sent later (`wandb sync`)."""


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

        found.append(adapt(WandbLoggerCallback, "--wandb")(project=wandb_project, group=sweep_name, upload_timeout=UPLOAD_SECONDS))
    if mlflow_uri is not None:
        _require("mlflow", "--mlflow")
        from ray.air.integrations.mlflow import MLflowLoggerCallback

        found.append(adapt(MLflowLoggerCallback, "--mlflow")(tracking_uri=mlflow_uri, experiment_name=sweep_name))
    return found


def _require(package: str, option: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"{option}: {package} is not installed; install it with: pip install 'optical-ray[{package}]'")


def adapt(callback: Any, option: str) -> Any:
    """A tracker's callback that fits a sweep.

    It is shown each recipe field as a parameter (Tune's own config holds the recipe as one text, and paths), numbers by training step and
    under names that every tracker takes. What it raises once the sweep runs ends the tracker and not the sweep. In the end it closes the
    trials that SIGINT stopped, which Tune does not tell it of, and for which W&B would wait.

    Args:
        callback: The class.
        option: Names it in messages.

    Returns:
        A class. Its `setup` raises ConfigError where the tracker cannot be reached.
    """

    class Adapted(callback):  # type: ignore[misc]  # Ray's classes have no types
        def setup(self, *args: Any, **info: Any) -> None:
            self._ended, self._open = False, dict[Trial, None]()
            try:
                super().setup(*args, **info)
            except Exception as error:
                raise ConfigError(f"{option}: {_one_line(error)}; check what it names, or leave it out") from error

        def log_trial_start(self, trial: Trial) -> None:
            self._open[trial] = None
            self._try(super().log_trial_start, _Shown(trial))

        def log_trial_result(self, iteration: int, trial: Trial, result: Mapping[str, Any]) -> None:
            self._try(super().log_trial_result, iteration, trial, shown_result(result))

        def log_trial_end(self, trial: Trial, failed: bool = False) -> None:
            if trial in self._open:  # closed once: the watcher closes all of its loggers too
                del self._open[trial]
                self._try(super().log_trial_end, trial, failed)

        def on_experiment_end(self, trials: Sequence[Trial], **info: Any) -> None:
            for trial in list(self._open):
                self.log_trial_end(trial, failed=True)
            self._try(super().on_experiment_end, trials, **info)

        def _try(self, hook: Callable[..., None], *args: Any, **info: Any) -> None:
            if self._ended:
                return
            try:
                hook(*args, **info)
            except Exception as error:
                self._ended = True
                log.warning("tracker=%s state=ended reason=%r; the sweep goes on, its own files are whole", option, _one_line(error))

    return Adapted


def shown_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """Our numbers of a report, without Tune's bookkeeping; MLflow refuses names with other characters than these."""
    found = {
        re.sub(r"[^\w\-. :/]", "_", name.replace("@", "_at_")): value
        for name, value in result.items()
        if name not in AUTO_RESULT_KEYS and isinstance(value, (bool, int, float, str))
    }
    return found | {TRAINING_ITERATION: result.get("step", result.get(TRAINING_ITERATION))}


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), 'no message')[:300]}"


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
