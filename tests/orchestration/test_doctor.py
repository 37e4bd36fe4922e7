"""A process on each node tries the folders, and leaves nothing behind."""

import pytest

from optical_ray.orchestration.doctor import check_cluster, list_nodes, local_paths, probe_nodes
from optical_ray.orchestration.probe import own_versions
from optical_ray.recipe import Recipe, Resources


def test_a_node_reads_writes_and_deletes_and_says_what_it_runs(tmp_path, cluster):
    (node,) = list_nodes()
    assert node.cpus == cluster.cpus
    (tmp_path / "model").mkdir()
    places = [str(tmp_path / "new" / "runs"), "/proc/nowhere"]
    report = probe_nodes([node], places, [str(tmp_path / "model"), "/nowhere/model"])[node]
    assert report.error == ""
    assert report.places[places[0]] == ""
    assert report.places["/proc/nowhere"].startswith("not writable from the driver")
    assert report.versions == own_versions()
    assert report.missing == ("/nowhere/model",)
    assert report.free[places[0]] > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"], "what was made for the probe is gone"

    checks = {check.name: check for check in check_cluster(Resources(), 1, {str(tmp_path): 0}, [])}
    assert checks["room for the trials"].state == "ok"
    assert checks[f"shared: {tmp_path}"].state == "ok"
    assert checks["same versions"].state == "ok"
    assert checks["token authentication"].state == "ok", "a private cluster has a token"


def test_a_node_that_is_gone_has_an_error_for_a_report(tmp_path, cluster):
    (node,) = list_nodes()
    gone = type(node)("e" * len(node.node_id), "10.9.9.9", 1, 0)
    report = probe_nodes([gone], [str(tmp_path)], [], seconds=20)[gone]
    assert report.error
    assert report.places == {}


@pytest.fixture
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_paths_of_a_recipe_are_those_that_are_on_this_machine(_here, tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "sw.tsv").write_text("a\tb\n")
    recipe = Recipe().override(
        {"teacher.path": "encoder", "student.init": "OWNER/NAME", "corpus.sources": ["catalogs", "sw.tsv,lang=sw", "s3://bucket/x"]}
    )
    assert local_paths(recipe) == [str(tmp_path / "encoder"), str(tmp_path / "sw.tsv")]
