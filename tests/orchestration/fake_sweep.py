"""The sweep that the killed driver and the test that resumes it agree on."""

from optical_ray.recipe import Recipe
from optical_ray.sweep import GridPart, LogUniform, SearchPart, Sweep


def make_sweep(steps: int = 8) -> Sweep:
    base = Recipe().override({"training.max_steps": steps})
    grid = GridPart("grid", {"seed": (0, 1, 2)})
    search = SearchPart("search", {"transport.epsilon": LogUniform(0.01, 1.0)}, num_trials=6, startup_trials=3)
    return Sweep("fake", "does it resume?", "yes", base, (grid, search), concurrent_trials=2)
