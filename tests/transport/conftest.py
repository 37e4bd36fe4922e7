import pytest
from transport.problems import make_clouds, make_problem


@pytest.fixture
def problem():
    return make_problem()


@pytest.fixture
def clouds():
    """Student tokens, their mask, teacher tokens, their mask."""
    return make_clouds()
