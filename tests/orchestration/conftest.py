"""One private Ray cluster for the whole folder, and a sweep of trials that only sleep."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from optical_ray.orchestration.session import Session, ray_session
from optical_ray.recipe import Resources

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for fake_trial; its workers find it, and this checkout, by PYTHONPATH


@pytest.fixture(scope="session")
def importable() -> Iterator[None]:
    """Processes started from here on can import fake_trial."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), str(HERE.parents[1]), *([before] if before else [])])
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="session")
def cluster(importable: None) -> Iterator[Session]:
    """Room for one trial of two workers, or two of one."""
    with ray_session("local", Resources(workers=2)) as session:
        yield session


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Warnings stay errors, apart from those that Ray gives itself when it is merely used."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"))
