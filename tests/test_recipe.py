import pytest

from optical_ray.errors import ResourceError
from optical_ray.recipe import Recipe, Resources


@pytest.mark.parametrize(
    ("backend", "device", "message"),
    [("triton", "cpu", "backend=triton needs a GPU"), ("cpu", "cuda", "backend=cpu cannot read tensors on a GPU")],
)
def test_a_solver_that_does_not_run_on_the_device_is_refused_before_anything_is_built(backend, device, message):
    recipe = Recipe().override({"transport.backend": backend})
    with pytest.raises(ResourceError, match=message):
        Resources(device=device).check(recipe)
