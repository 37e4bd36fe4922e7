"""A pre-training on two workers under Ray Train, fed by Ray Data, on the tiny world."""

import json

import pytest

from optical_ray.artifacts import Store
from optical_ray.orchestration.train import pretrain_with_ray
from optical_ray.pretraining.artifact import build_pretrained
from optical_ray.recipe import Resources
from optical_ray.runs import names
from optical_ray.runs.folder import TrialFolder

REDUCED = (names.LOSS_MASKED_LM, names.MASKED_TOKENS, names.VALID_MASKED_LM, names.GRAD_NORM, names.PAIRS_SEEN)


def reports(path):
    return {(row.step, row.name): row.value for row in TrialFolder(path).read_metrics() if row.name in REDUCED}


@pytest.mark.slow
def test_two_workers_pretrain_as_one_does(world, tmp_path, cluster):
    changes = {"training.max_steps": 6, "training.report_every": 1, "languages.size": 2, "batch.pairs": 16, "batch.group": 8}
    recipe = world.recipe.override({f"pretraining.{name}": value for name, value in changes.items()} | {"corpus.path": str(built(world))})
    alone = build_pretrained(recipe, Store(tmp_path / "alone"))
    heard = []
    together = build_pretrained(
        recipe,
        Store(tmp_path / "together"),
        resources=Resources(workers=2),
        train=pretrain_with_ray,
        on_report=lambda step, metrics: heard.append(step),
    )
    assert together.name == alone.name
    assert heard == [0, 1, 2, 3, 4, 5, 6]
    expected, found = reports(alone), reports(together)
    assert found.keys() == expected.keys()
    for (step, name), value in expected.items():
        assert found[step, name] == pytest.approx(value, rel=1e-4, abs=1e-5), f"{name} at step {step}"
    assert json.loads((together / "pretraining.json").read_text())["languages"] == ["sw", "ha"]
    assert not (together / ".train").exists()


def built(world):
    """The world's corpus, so that both stores read the same folder."""
    from optical_ray.data.building.pipeline import build_corpus

    return build_corpus(world.store, world.recipe.corpus).folder
