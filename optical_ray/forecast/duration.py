"""How long trials will take: from finished ones of the same run, else from a calibration, else unknown. Never a guess."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from optical_ray.artifacts import Store
from optical_ray.errors import OpticalError
from optical_ray.forecast.calibration import Calibration, find_calibration
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import TrialStatus


@dataclass(frozen=True, slots=True)
class Duration:
    """Tells a trial's seconds."""

    of: Callable[[Recipe], float]
    source: str
    """Where they come from, in words."""

    def of_sweep(self, trials: Sequence[tuple[Recipe, int]], concurrent: int) -> float:
        """Seconds of all trials, so many at a time; that they do not slow each other down is assumed."""
        each = [(self.of(recipe), count) for recipe, count in trials]
        return max(sum(seconds * count for seconds, count in each) / concurrent, max((seconds for seconds, _ in each), default=0.0))


def find_duration(recipe: Recipe, resources: Resources, store: Store, run: RunFolder) -> Duration | None:
    """What is known of the time of such trials; None: nothing, until one has finished or a calibration was made.

    Args:
        recipe: The sweep's base: trials are taken to do as much in a step as it does.
        resources: Of a trial.
        store: Where calibrations are kept.
        run: Where finished trials may be.
    """
    finished = _finished(run)
    if finished:
        return Duration(
            from_trials(finished), f"{len(finished)} finished trial{'s' if len(finished) > 1 else ''} of this run, by their steps"
        )
    found = find_calibration(recipe, resources, store)
    if found is None:
        return None
    return Duration(
        lambda each: from_calibration(each, found),
        f"a calibration of the base recipe on this machine ({found.measured_at}: {found.step:.3f} s a step); trials that run beside each "
        "other on the same cores take longer, and released tasks are not counted",
    )


def from_trials(finished: Sequence[TrialStatus]) -> Callable[[Recipe], float]:
    """Seconds by steps: the median seconds of a step, validations and checkpoints included, and of all that is done once."""
    step = statistics.median(status.seconds.get("train", 0.0) / status.max_steps for status in finished)
    once = statistics.median(status.seconds.get("prepare", 0.0) + status.seconds.get("evaluate", 0.0) for status in finished)
    return lambda recipe: recipe.training.max_steps * step + once


def from_calibration(recipe: Recipe, found: Calibration) -> float:
    """Steps, validations (one at the start), opening and evaluating."""
    training = recipe.training
    validations = 1 + math.ceil(training.max_steps / training.validate_every)
    return found.prepare + training.max_steps * found.step + validations * found.validate + found.evaluate


def _finished(run: RunFolder) -> list[TrialStatus]:
    """Status of the finished, trained trials; what cannot be read is left out."""
    found = []
    for trial in run.trials():
        try:
            status = trial.read_status()
        except OpticalError:
            continue
        if status is not None and status.state == "finished" and status.max_steps > 0:
            found.append(status)
    return found
