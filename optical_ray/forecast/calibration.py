"""A few real steps of a recipe on this machine, timed and kept in the store: what a forecast of time rests on."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store, read_manifest
from optical_ray.data.wheels import Progress
from optical_ray.errors import ConfigError
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder, utc_now
from optical_ray.runs.provenance import describe_process
from optical_ray.stages import prepare
from optical_ray.trial import run_trial

KIND = "calibration"
STEPS, EVERY = 12, 4
"""Steps that are made, and those of one report: the first report, with all that a process does once, does not count."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Seconds on one machine, at one number of threads."""

    step: float
    """One global batch, median of reports."""
    validate: float
    """One validation."""
    prepare: float
    """To open what is built already, and to lay the plan."""
    evaluate: float
    """The test rows of held-out bitext; released tasks (`evaluation.tasks`) are not among it."""
    measured_at: str


def find_calibration(recipe: Recipe, resources: Resources, store: Store) -> Calibration | None:
    """What was measured here before for such a recipe at such resources; None: nothing."""
    inputs = _inputs(recipe, resources)
    return Calibration(**read_manifest(store.path(KIND, inputs))["facts"]) if store.has(KIND, inputs) else None


def calibrate(recipe: Recipe, resources: Resources, store: Store, progress: Progress | None = None) -> Calibration:
    """Time it now, in this process; replaces what was measured before. Builds what the recipe needs and the store has not.

    Raises:
        ConfigError: several workers, which this process is not.
        OpticalError: the recipe cannot be run.
    """
    if resources.workers > 1:
        raise ConfigError(
            f"calibration times one worker in this process, the sweep's trials have {resources.workers}; run one trial first "
            "(--trials 1), whose time the forecast then takes"
        )
    prepare(recipe, store, progress)
    inputs = _inputs(recipe, resources)
    shutil.rmtree(store.path(KIND, inputs), ignore_errors=True)

    def fill(scratch: Path) -> Mapping[str, Any]:
        if progress is not None:
            progress(f"timing {STEPS} steps, a validation and an evaluation")
        return asdict(_measure(recipe, resources, store))

    store.build(KIND, inputs, fill)
    found = find_calibration(recipe, resources, store)
    assert found is not None
    return found


def _measure(recipe: Recipe, resources: Resources, store: Store) -> Calibration:
    changes = {"max_steps": STEPS, "report_every": EVERY, "validate_every": STEPS, "checkpoint_every": STEPS}
    short = recipe.override({"training": changes, "evaluation.tasks": []})
    with tempfile.TemporaryDirectory(dir=store.root, prefix=f".{KIND}-") as scratch:
        run = RunFolder(Path(scratch))
        status = run_trial(short, resources, store, run)
        rows = run.trial(short.trial_id).read_metrics()
    steps = [row.value for row in rows if row.name == names.STEP_SECONDS and row.step > EVERY and row.value is not None]
    return Calibration(
        step=round(statistics.median(steps), 5),
        validate=round(status.seconds["validate"] / 2, 3),  # of the start, and of the last step
        prepare=status.seconds["prepare"],
        evaluate=status.seconds["evaluate"],
        measured_at=utc_now(),
    )


def _inputs(recipe: Recipe, resources: Resources) -> dict[str, Any]:
    """What a time depends on: the work of a step and the machine, not how many steps there are."""
    values = recipe.identity()
    for name in ("max_steps", "report_every", "validate_every", "checkpoint_every"):
        del values["training"][name]
    del values["seed"], values["evaluation"]["tasks"]
    found = describe_process(resources.device)
    return {"recipe": values, "resources": resources.to_dict(), "machine": found["machine"], "torch": found["versions"]["torch"]}
