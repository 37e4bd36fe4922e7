"""The lock file installs on any machine: versions only, and everything that pyproject.toml asks for."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lock_lines(name="requirements.lock"):
    return [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]


def test_every_line_is_a_name_and_a_public_version():
    lines = [*lock_lines(), *lock_lines("requirements-test.lock"), *lock_lines("requirements-browser.lock")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.]+", line)] == []


TRACKERS = {"wandb", "mlflow", "optuna-dashboard"}
"""Extras that only show results elsewhere: no number hangs on their versions, and their many dependencies stay out of the lock."""


def test_every_dependency_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = [wanted for name, group in project["project"]["optional-dependencies"].items() if name not in TRACKERS for wanted in group]
    wanted = [*project["project"]["dependencies"], *extras, *project["dependency-groups"]["dev"], *project["build-system"]["requires"]]
    normal = {re.split(r"==", line)[0].lower().replace("_", "-") for line in [*lock_lines(), *lock_lines("requirements-test.lock")]}
    assert [name for text in wanted if (name := re.split(r"[\[<>=]", text)[0].lower().replace("_", "-")) not in normal] == []
