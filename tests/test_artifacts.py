import subprocess
import sys
import threading
import time

import pytest

from optical_ray.artifacts import Store, fingerprint, read_manifest
from optical_ray.errors import ArtifactError
from optical_ray.seeding import derive_seed


def test_a_fingerprint_ignores_key_order_and_nothing_else():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_an_artifact_is_built_once(tmp_path):
    calls = []
    store = Store(tmp_path)

    def fill(folder):
        calls.append(folder)
        (folder / "data").write_text("x")
        return {"rows": 3}

    first = store.build("thing", {"n": 1}, fill)
    assert store.build("thing", {"n": 1}, fill) == first
    assert len(calls) == 1
    assert (first / "data").read_text() == "x"
    assert read_manifest(first)["facts"] == {"rows": 3}
    assert store.build("thing", {"n": 2}, fill) != first


def test_a_crash_leaves_no_artifact_and_the_next_build_starts_clean(tmp_path):
    store = Store(tmp_path)

    def crash(folder):
        (folder / "half").write_text("x")
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        store.build("thing", {}, crash)
    assert not store.has("thing", {})
    done = store.build("thing", {}, lambda folder: None)
    assert not (done / "half").exists()


def test_two_that_miss_the_same_artifact_build_it_once(tmp_path):
    calls = []

    def fill(folder):
        calls.append(1)
        time.sleep(0.2)

    threads = [threading.Thread(target=Store(tmp_path).build, args=("thing", {}, fill)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_an_unwritable_store_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot write the store.*--store"):
        Store(tmp_path / "file" / "store").build("thing", {}, lambda folder: None)


def test_a_folder_without_manifest_is_no_artifact(tmp_path):
    with pytest.raises(ArtifactError, match="not a finished artifact"):
        read_manifest(tmp_path)


def test_seeds_do_not_depend_on_the_process():
    code = "from optical_ray.seeding import derive_seed; print(derive_seed(7, 'plan', 3, 'sw'))"
    for hash_seed in ("0", "1"):
        done = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=True)
        assert int(done.stdout) == derive_seed(7, "plan", 3, "sw")


def test_seeds_of_different_names_differ():
    seeds = {derive_seed(0), derive_seed(1), derive_seed(0, "a"), derive_seed(0, "a", 0), derive_seed(0, "a", "0"), derive_seed(0, "a0")}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
