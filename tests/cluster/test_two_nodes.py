"""Two nodes on one machine: trials spread over both, and give what they give anywhere."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest
from cluster.results import values

HERE = Path(__file__).parent
DASHBOARD = "http://127.0.0.1:8265"


def drive(place, address, folder):
    output = place.run(sys.executable, HERE / "placed_driver.py", address, folder)
    return json.loads(output.splitlines()[-1])


def test_a_sweep_spreads_over_both_nodes_and_gives_the_ids_and_values_of_a_local_run(place, two_nodes):
    here = drive(place, "local", place.scratch / "placed-local")
    there = drive(place, two_nodes, place.scratch / "placed-cluster")
    assert (there["failed"], there["unfinished"]) == ([], [])
    assert there["values"] == here["values"]
    assert len(there["values"]) == 12
    on = Counter(there["nodes"].values())
    print(f"trials by node: {dict(on)}")
    assert len(on) == 2, "four trials at a time, two CPUs a node"
    assert len(set(here["nodes"].values())) == 1


def test_a_job_submits_a_sweep_file_and_gives_the_ids_and_values_of_a_local_run(place, two_nodes, sweep_file, local_run, prepared):
    out = place.scratch / "job"
    options = ["--address", "auto", "--wait", "300", "--out", str(out / "runs"), "--store", str(prepared)]
    output = place.run("ray", "job", "submit", "--address", DASHBOARD, "--", "python", sweep_file, *options)
    assert "succeeded" in output
    (folder,) = (out / "runs").iterdir()
    assert folder.name == local_run.name
    assert values(folder) == values(local_run)


@pytest.mark.parametrize("token", ["", "0" * 64])
def test_nobody_submits_a_job_without_the_token(place, two_nodes, token):
    stranger = place.scratch / "stranger"
    stranger.mkdir(exist_ok=True)
    mode = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {"RAY_AUTH_MODE": "disabled"}
    command = ["ray", "job", "submit", "--address", DASHBOARD, "--", "touch", str(stranger / "was-here")]
    output = place.run(*command, check=False, HOME=str(stranger), **mode)
    assert "uthenticat" in output or "401" in output or "403" in output
    assert not (stranger / "was-here").exists()


def test_a_cluster_without_room_is_refused_after_the_time_that_it_was_given(place, two_nodes, sweep_file):
    command = [sys.executable, sweep_file, "--address", two_nodes, "--concurrent", "5", "--out", place.scratch / "none"]
    refused = place.run(*command, check=False)
    assert "has 4 logical CPUs, but 5 trials at a time x (1 threads) need 5; " in refused
    assert "--wait SECONDS" in refused
    waited = place.run(*command, "--wait", "2", check=False)
    assert "Waiting for room, at most 2 s: 5 CPUs and 0 GPUs are needed; 2 nodes are there (2 CPUs, 2 CPUs)" in waited
    assert "after 2 s of waiting, has 4 logical CPUs" in waited
