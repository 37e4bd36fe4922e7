"""What an actor refuses before it writes anything."""

import json

import pytest

from optical_ray.errors import ResourceError
from optical_ray.orchestration.actor import work
from optical_ray.recipe import Recipe


def test_a_node_with_another_version_of_the_code_is_refused(tmp_path):
    config = {"cwd": ".", "recipe": json.dumps(Recipe().to_dict()), "trial_id": "0123456789ab", "run": str(tmp_path)}
    with pytest.raises(ResourceError, match=f"0123456789ab: here its recipe has the id {Recipe().trial_id}.*same version on every node"):
        work(config, None)
    assert not list(tmp_path.iterdir())
