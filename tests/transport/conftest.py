import importlib
import sys

import pytest
from transport.problems import make_clouds, make_problem

NEEDS_TRITON = "Triton is not installed (make test installs it; it comes with the CUDA builds of torch): the GPU kernel goes untested"
KERNEL, FUSED = "optical_ray.transport.gpu.kernel", "optical_ray.transport.gpu.fused"


@pytest.fixture
def problem():
    return make_problem()


@pytest.fixture
def clouds():
    """Student tokens, their mask, teacher tokens, their mask."""
    return make_clouds()


@pytest.fixture(scope="module")
def kernel():
    """The GPU module with its kernels interpreted. Triton decides when it decorates, so both are imported anew, and put back afterwards."""
    package = importlib.import_module(KERNEL.rpartition(".")[0])
    attribute = vars(package).get("kernel")
    compiled = {name: sys.modules.pop(name) for name in triton_modules()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        try:
            pytest.importorskip("triton", reason=NEEDS_TRITON)
            yield importlib.import_module(KERNEL)
        finally:
            # Not deleted: Triton's C++ part would report its objects as leaked when Python ends.
            sys.modules.update({f"interpreted.{name}": sys.modules.pop(name) for name in triton_modules()})
            sys.modules.update(compiled)
            if attribute is not None:
                package.kernel = attribute
            elif "kernel" in vars(package):
                del package.kernel


def triton_modules():
    """Imported modules that know whether kernels are interpreted; Triton's C++ part does not, and would not survive a second import."""
    return [name for name in sys.modules if name == KERNEL or (name.split(".")[0] == "triton" and not name.startswith("triton._C"))]


@pytest.fixture
def interpreted(kernel):
    """`backend="triton"` on this machine's CPU: what is built on the kernel is imported anew, with the interpreted one beneath."""
    compiled = sys.modules.pop(FUSED, None)
    yield importlib.import_module(FUSED)
    del sys.modules[FUSED]
    if compiled is not None:
        sys.modules[FUSED] = compiled
