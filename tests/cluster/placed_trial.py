"""`fake_trial`, and on which node it ran."""

from pathlib import Path

import ray
from fake_trial import fake_trial

from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import TrialStatus


def placed_trial(recipe: Recipe, resources: object, store: object, run: RunFolder, **options: object) -> TrialStatus:
    folder: Path = run.trial(recipe.trial_id).path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node").write_text(ray.get_runtime_context().get_node_id())
    return fake_trial(recipe, resources, store, run, **options)
