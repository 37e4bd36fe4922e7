"""Artifacts that no given run stands on, told from what trials wrote down."""

import pytest
from runs.standings import IDS, write_record, write_trial

from optical_ray.artifacts import Store, write_json
from optical_ray.errors import ArtifactError
from optical_ray.runs.unused import find_unused, remove_unused


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "store")
    for number in range(3):
        store.build("thing", {"n": number}, lambda folder: (folder / "data").write_bytes(b"d" * 100) and None)
    return store


def name_of(store, number):
    return store.path("thing", {"n": number}).name


def test_what_a_trial_wrote_down_stays_and_the_rest_is_listed(tmp_path, store):
    run = write_record(tmp_path / "run")
    for trial_id, number in zip(IDS, (0, 1), strict=False):
        trial = write_trial(run, trial_id, "finished", 100)
        write_json(trial.artifacts, [name_of(store, number)])
    (store.root / ".thing-9.scratch").mkdir()
    found, reasons = find_unused(store, [run])
    assert reasons == []
    assert sorted(waste.path.name for waste in found) == [".thing-9.scratch", name_of(store, 2)]
    assert [waste.what for waste in found] == ["thing", "build that broke off"]
    with store.in_use(), pytest.raises(ArtifactError, match="is using this store"):
        remove_unused(store, found)
    assert (store.root / name_of(store, 2)).is_dir()
    remove_unused(store, found)
    assert sorted(path.name for path in store.root.glob("thing-*")) == sorted(name_of(store, number) for number in (0, 1))


def test_a_folder_that_is_no_store_keeps_what_is_its_own(tmp_path):
    run = write_record(tmp_path / "run")
    for name in ("mydata-x", "corpus-of-mine", "thing-0123456789abcdeg"):
        write_json(tmp_path / "other" / name / "manifest.json", {"kind": "corpus"})
    assert find_unused(Store(tmp_path / "other"), [run]) == ([], [])


def test_nothing_is_unused_while_a_trial_has_not_said_what_it_stands_on(tmp_path, store):
    run = write_record(tmp_path / "run")
    write_json(write_trial(run, IDS[0], "finished", 100).artifacts, [name_of(store, 0)])
    write_trial(run, IDS[1], "running", 50)
    found, reasons = find_unused(store, [run])
    assert found == []
    assert "1 trials have not written down what of the store they stand on" in reasons[0]


def test_a_store_notes_what_it_is_asked_for(store):
    own = Store(store.root)
    own.build("thing", {"n": 1}, lambda folder: None)
    assert own.has("thing", {"n": 7}) is False
    assert own.used == {name_of(store, 1), name_of(store, 7)}
    assert own == Store(store.root), "what was asked for is no part of what a store is"
