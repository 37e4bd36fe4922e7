"""The sweep that the fault tests disturb: a grid of seeds, then a search. What it is of stands beside it, in a JSON file of its name."""

import json
import sys
from pathlib import Path
from typing import Any

from optical_ray.cli import run
from optical_ray.recipe import Recipe, Resources
from optical_ray.sweep import GridPart, LogUniform, SearchPart, Sweep


def make_sweep(plan: dict[str, Any]) -> Sweep:
    """The sweep of a plan, as `cases.Case` writes it."""
    parts: tuple[GridPart | SearchPart, ...] = (GridPart("grid", {"seed": tuple(plan["seeds"])}),)
    if plan["searched"]:
        space = {"transport.epsilon": LogUniform(0.05, 1.0)}
        parts = (*parts, SearchPart("search", space, plan["searched"], sampler="random"))
    return Sweep(
        "faults",
        "what does it survive?",
        "all of it",
        Recipe.parse(plan["recipe"], "plan"),
        parts,
        Resources(workers=plan["workers"]),
        concurrent_trials=plan["concurrent"],
        restarts=plan["restarts"],
        hang_minutes=plan["hang_minutes"],
    )


if __name__ == "__main__":
    run(make_sweep(json.loads(Path(sys.argv[0]).with_suffix(".json").read_text(encoding="utf-8"))))
