"""A trial is named from sweep.json and recipe.json as the driver names it."""

import pytest

from optical_ray.orchestration.planned import grid_trials, searched_trial
from optical_ray.recipe import Recipe
from optical_ray.runs.labels import UNPLANNED, Named, TrialNames
from optical_ray.sweep import Choice, GridPart, LogUniform, SearchPart, Sweep

ARMS = (Choice("OT", {"objective.transport": 1.0}), Choice("both", {"objective.transport": 1.0, "objective.contrastive": 0.3}))
GRID = GridPart("arms", {"arm": ARMS, "languages.size": (1, 2)}, changes={"mixing.budget": "per_language"})
SEARCH = SearchPart("search", {"transport.epsilon": LogUniform(0.01, 1.0)}, 3, changes={"objective.contrastive": 0.3})
OTHER = SearchPart("other", {"objective.temperature": LogUniform(0.01, 1.0)}, 3, changes={"objective.contrastive": 0.3})
SWEEP = Sweep("named", "who is who?", "it is told", Recipe().override({"languages.pool": ["sw", "ha"]}), (GRID, SEARCH, OTHER))


@pytest.fixture
def names():
    return TrialNames(SWEEP.base.to_dict(), SWEEP.describe())


def test_grid_trials_have_the_labels_that_the_driver_gives_them(names):
    for trial in grid_trials(GRID, SWEEP.base):
        assert names.name(trial.trial_id, trial.recipe.to_dict()) == Named("arms", trial.label)
        assert names.name(trial.trial_id, None) == Named("arms", trial.label), "without its recipe too"


def test_searched_trials_are_told_by_what_they_change(names):
    for part, point in ((SEARCH, {"transport.epsilon": 0.123456}), (OTHER, {"objective.temperature": 0.5})):
        trial = searched_trial(part, SWEEP.base, point)
        assert names.name(trial.trial_id, trial.recipe.to_dict()) == Named(part.name, trial.label)


def test_what_no_part_explains_is_named_by_its_changes(names):
    recipe = SWEEP.base.override({"seed": 7, "training.max_steps": 3})
    assert names.name(recipe.trial_id, recipe.to_dict()) == Named(UNPLANNED, "seed=7, training.max_steps=3")
    assert names.name("0123456789ab", None) == Named(UNPLANNED, "")


def test_parts_of_an_unknown_shape_are_borne():
    names = TrialNames({"seed": 0}, [{"kind": "grid", "name": "odd", "axes": {"a": [{"no": "name"}]}, "trial_ids": ["x"]}, {"kind": "new"}])
    assert names.name("x", {"seed": 1}) == Named("odd", "odd")
    assert names.name("y", {"seed": 1}) == Named(UNPLANNED, "seed=1")
