import errno
import subprocess
import sys
import threading
import time

import pytest

from optical_ray.artifacts import Store, build_artifact, fingerprint, read_manifest, whole_file
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


def test_two_that_miss_the_same_artifact_build_it_once_and_who_waits_says_so(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("optical_ray.artifacts.PATIENCE_SECONDS", 0.05)
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
    assert "thing-" in caplog.text and "another process builds it; waiting" in caplog.text


def test_an_unwritable_store_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="store: cannot be written \\(Not a directory\\).*--store"):
        Store(tmp_path / "file" / "store").build("thing", {}, lambda folder: None)


def test_a_build_that_broke_off_goes_on_with_what_it_had_for_the_same_inputs_only(tmp_path):
    def fill(folder):
        done = sorted(path.name for path in folder.glob("part-*"))
        (folder / f"part-{len(done)}").write_text("x")
        if not done:
            raise RuntimeError("killed")
        return {"found": done}

    target = tmp_path / "out"
    with pytest.raises(RuntimeError):
        build_artifact(target, "thing", {"n": (1, 2)}, fill, resume=True)
    with pytest.raises(RuntimeError):  # other inputs: begins anew, so it finds nothing
        build_artifact(target, "thing", {"n": (1, 3)}, fill, resume=True)
    done = build_artifact(target, "thing", {"n": (1, 3)}, fill, resume=True)
    assert read_manifest(done)["facts"] == {"found": ["part-0"]}
    assert sorted(path.name for path in done.iterdir()) == ["manifest.json", "part-0", "part-1"]


def test_a_folder_built_otherwise_is_refused_with_what_differs(tmp_path):
    build_artifact(tmp_path / "out", "thing", {"rules": {"words": 3}, "files": [1]}, lambda folder: None)
    assert build_artifact(tmp_path / "out", "thing", {"rules": {"words": 3}, "files": [1]}, lambda folder: None) == tmp_path / "out"
    with pytest.raises(ArtifactError, match=r"out: was built otherwise \(rules.words is 3, not 5\); choose another"):
        build_artifact(tmp_path / "out", "thing", {"rules": {"words": 5}, "files": [1]}, lambda folder: None)
    with pytest.raises(ArtifactError, match="holds a thing, expected a corpus"):
        build_artifact(tmp_path / "out", "corpus", {}, lambda folder: None)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ArtifactError, match="mine: holds files but no manifest.json"):
        build_artifact(tmp_path / "mine", "thing", {}, lambda folder: None)


def test_a_full_disk_is_one_line_and_leaves_no_file(tmp_path):
    def fill(folder):
        with whole_file(folder / "data") as scratch:
            scratch.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArtifactError, match=r"the disk is full \(.* MB free\)"):
        build_artifact(tmp_path / "out", "thing", {}, fill, resume=True)
    assert [path.name for path in (tmp_path / ".out.scratch").iterdir()] == ["inputs.json"]


def test_a_link_is_followed_and_nothing_is_left_beside_the_folder(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "new")
    for name in ("link", "dangling"):
        build_artifact(tmp_path / name, "thing", {}, lambda scratch: {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "link", "new", "real"]
    assert read_manifest(tmp_path / "real") == read_manifest(tmp_path / "dangling")


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"inputs": {}, "facts": []}', "[" * 100_000, "\xff"])
def test_what_is_no_manifest_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ArtifactError, match="manifest.json: .*build it again") as raised:
        read_manifest(tmp_path)
    assert "\n" not in str(raised.value)


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
