"""Architecture is a test: imports point down, Ray stays in its folder, importing has no side effects (DESIGN.md section 2)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "optical_ray"

# From top to bottom; a stage may import only from lines below its own (and from itself).
LAYERS: tuple[tuple[str, ...], ...] = (
    ("cli",),
    ("orchestration", "analysis"),
    ("sweep", "forecast"),
    ("space",),
    ("trial",),
    ("distillation", "teaching"),
    ("stages",),
    ("pretraining",),
    ("recipe",),
    ("training", "retrieval"),
    ("data",),
    ("encoders", "transport"),
    ("languages", "runs"),
    ("artifacts", "config", "seeding", "errors"),
)
LEVEL = {stage: level for level, stages in enumerate(LAYERS) for stage in stages}
BOTTOM = len(LAYERS) - 1
TRANSPORT_MAY_IMPORT = {"transport", "config", "errors"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py"))


def stage_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    """Dotted names of all imports of a file, also those inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported_modules(path) if name.startswith("optical_ray.")}


def test_every_stage_has_its_line():
    stages = {stage_of(path) for path in MODULES} - {"__init__"}
    assert stages <= LEVEL.keys(), f"not in the layers: {sorted(stages - LEVEL.keys())}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    stage = stage_of(path)
    if stage == "__init__":
        assert own_imports(path) == set()
        return
    for other in own_imports(path) - {stage}:
        if LEVEL[stage] == BOTTOM:
            assert LEVEL[other] == BOTTOM, f"{path.name}: {stage} imports {other}"
        else:
            assert LEVEL[other] > LEVEL[stage], f"{path.name}: {stage} imports {other}, which is not below it"


@pytest.mark.parametrize("path", [p for p in MODULES if stage_of(p) == "transport"], ids=lambda path: path.name)
def test_transport_knows_nothing_of_text_or_training(path):
    assert own_imports(path) <= TRANSPORT_MAY_IMPORT


@pytest.mark.parametrize("path", [p for p in MODULES if stage_of(p) != "orchestration"], ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_orchestration_imports_ray(path):
    assert not {name for name in imported_modules(path) if name == "ray" or name.startswith("ray.")}


@pytest.mark.parametrize("module", ["optical_ray.cli", "optical_ray.analysis.report"])
def test_help_and_reports_start_without_torch_transformers_or_ray(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["optical_ray.recipe", "optical_ray.cli.sweep", "optical_ray.orchestration.tune"])
def test_recipes_and_the_driver_of_a_sweep_start_without_torch_transformers_or_numba(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'transformers', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
