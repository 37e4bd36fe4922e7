"""What a trial of one worker, and one of two, takes before and after its steps: trials of a few steps, one at a time."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store
from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder

WORKERS = (1, 2)
STEPS = 4
TRIALS = 4


def measure_startup(work: Path, recipe: Recipe, store: Store, run_ours: Callable[[Path], object]) -> list[dict[str, Any]]:
    """A row for each number of workers.

    Args:
        work: Scratch.
        recipe: Prepared.
        store: Where it is.
        run_ours: Runs a plan's file as contender `optical_ray`.
    """
    short = recipe.override({f"training.{name}": STEPS for name in ("max_steps", "report_every", "validate_every", "checkpoint_every")})
    rows = []
    for workers in WORKERS:
        place, file = work / f"startup-{workers}", work / f"startup-{workers}.json"
        plan = {"recipe": short.to_dict(), "store": str(store.root), "run": str(place), "seeds": list(range(TRIALS)), "concurrent": 1}
        file.write_text(json.dumps(plan | {"workers": workers}), encoding="utf-8")
        run_ours(file)
        name = "1 worker" if workers == 1 else f"{workers} workers"
        rows.append({"section": "startup", "contender": name, "trials": TRIALS} | read_startup(place))
    return rows


def read_startup(place: Path) -> dict[str, float]:
    """Seconds of training without validation: of the trial that began first, and the median of the others."""
    found = []
    for trial in RunFolder(place).trials():
        status = trial.read_status()
        assert status is not None and status.state == "finished" and status.started_at is not None
        found.append((status.started_at, status.seconds["train"] - status.seconds.get("validate", 0.0)))
    (_, first), *later = sorted(found)
    return {"first_seconds": first, "later_seconds": statistics.median(seconds for _, seconds in later)}
