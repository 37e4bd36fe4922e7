"""`fake_trial`, and on which node it ran."""

import time

import ray
from fake_trial import fake_trial

from optical_ray.recipe import Recipe
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import TrialStatus

TOGETHER_SECONDS = 300.0


def placed_trial(recipe: Recipe, resources: object, store: object, run: RunFolder, **options: object) -> TrialStatus:
    """Waits until a trial has begun on every node: actors are used again, so short trials could all run where the first actor was up."""
    folder = run.trial(recipe.trial_id).path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "node").write_text(ray.get_runtime_context().get_node_id())
    nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    end = time.monotonic() + TOGETHER_SECONDS
    while time.monotonic() < end and not nodes <= {file.read_text() for file in run.path.glob("trials/*/node")}:
        time.sleep(0.05)
    return fake_trial(recipe, resources, store, run, **options)
