"""The wheel holds everything, and works outside the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    (wheel,) = folder.glob("optical_ray-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(unpacked):
    tracked = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "optical_ray"], capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("not a git checkout")
    expected = {name for name in tracked.stdout.splitlines() if (ROOT / name).exists()}
    found = {str(path.relative_to(unpacked)) for path in (unpacked / "optical_ray").rglob("*") if path.is_file()}
    assert found == expected


def test_the_installed_package_works_elsewhere(unpacked, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    code = (
        "import optical_ray, pathlib, sys; assert str(pathlib.Path(optical_ray.__file__)).startswith(sys.argv[1]); "
        "from optical_ray.data.wheels import pinned_wheels; assert len(pinned_wheels()) >= 8; "
        "from optical_ray.cli import main; main(['recipe', 'show'])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(unpacked)], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"epsilon": 0.15' in done.stdout
