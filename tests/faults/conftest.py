"""Faults that really happen, on private clusters: `make test-faults`.

`make test` has smokes of its own, with trials that only sleep: in tests/orchestration, test_tune.py (processes, driver, SIGINT, hang),
test_disk.py and test_node.py; in tests/training, NaN, memory and damaged checkpoints. What it took to recover is told at the end.
"""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from cases import CHECKPOINT_EVERY, RECOVERIES, STEPS, Case, Losses  # noqa: E402


@pytest.fixture(scope="session")
def undisturbed(world, tmp_path_factory):
    """The sweep of one worker a trial, that nothing befalls."""
    steps = {"max_steps": STEPS, "report_every": 5, "validate_every": CHECKPOINT_EVERY, "checkpoint_every": CHECKPOINT_EVERY}
    recipe = world.recipe.override({f"training.{name}": value for name, value in steps.items()})
    case = Case(recipe.to_dict(), world.store.root, tmp_path_factory.mktemp("undisturbed") / "runs")
    assert case.go() == 0, case.said()
    return case


@pytest.fixture(scope="session")
def reference(undisturbed) -> Losses:
    """What its trials reported."""
    return undisturbed.losses()


def pytest_terminal_summary(terminalreporter):
    if RECOVERIES:
        terminalreporter.section("recoveries")
    for what, steps, seconds in RECOVERIES:
        terminalreporter.write_line(f"{what}: {steps} steps done twice, {seconds:.1f} s until the trial reported again")
