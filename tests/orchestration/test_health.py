"""What nodes report is judged with numbers; nothing here starts Ray."""

import pytest

from optical_ray.errors import ResourceError
from optical_ray.orchestration.health import (
    Check,
    Node,
    NodeReport,
    judge_authentication,
    judge_disk,
    judge_paths,
    judge_room,
    judge_storage,
    judge_versions,
    refuse,
)
from optical_ray.orchestration.room import worker_places
from optical_ray.recipe import Resources

HEAD, SMALL, GPU = Node("a" * 56, "10.0.0.1", 4, 0), Node("b" * 56, "10.0.0.2", 2, 0), Node("c" * 56, "10.0.0.3", 8, 2)


def places(resources, nodes):
    return worker_places(resources, [{"CPU": node.cpus, "GPU": node.gpus} for node in nodes])


def test_workers_fit_on_single_nodes_and_share_single_gpus():
    assert places(Resources(threads=4), [HEAD, SMALL, GPU]) == 3, "the small node has none of four threads"
    assert places(Resources(device="cuda", gpus_per_worker=1), [HEAD, GPU]) == 2
    assert places(Resources(device="cuda", gpus_per_worker=0.5), [GPU]) == 4
    assert places(Resources(device="cuda", gpus_per_worker=0.4), [GPU]) == 4, "2 GPUs hold 5 x 0.4, but no worker spans two"
    assert places(Resources(threads=4, device="cuda", gpus_per_worker=0.1), [GPU]) == 2, "CPUs run out first"


def test_a_cluster_that_is_large_enough_in_all_but_on_no_single_node_is_refused():
    assert judge_room(Resources(threads=2), 3, [HEAD, SMALL]).state == "ok"
    short = judge_room(Resources(threads=2), 4, [HEAD, SMALL])
    assert (short.state, "has 6 logical CPUs" in short.found, short.advice.startswith("lower the trials")) == ("fail", True, True)
    scattered = judge_room(Resources(threads=3), 2, [HEAD, SMALL])
    assert scattered.state == "fail"
    assert "2 trials at a time x 1 workers need 2 places of 3 CPUs, each on one node; 2 nodes have 1" in scattered.found
    assert "the largest, 10.0.0.1 (aaaaaaaa), has 4 CPUs" in scattered.found


def test_storage_that_one_node_does_not_share_is_named():
    fine, lonely = NodeReport(places={"/runs": "", "/store": ""}), NodeReport(places={"/runs": "", "/store": "not writable (Read-only)"})
    silent = NodeReport(error="no answer within 60 s")
    assert [check.state for check in judge_storage({HEAD: fine})] == ["ok", "ok"]
    checks = judge_storage({HEAD: fine, SMALL: lonely, GPU: silent})
    assert [(check.name, check.state) for check in checks] == [
        (f"node {GPU}", "fail"),
        ("shared: /runs", "ok"),
        ("shared: /store", "fail"),
    ]
    assert checks[1].found == "written, read and deleted from 2 of 2 nodes"
    assert "10.0.0.2 (bbbbbbbb): not writable (Read-only)" in checks[2].found


def test_versions_models_and_tokens_are_compared_node_by_node():
    here = {"python": "3.11.9", "ray": "2.60.0", "code": "0123"}
    good = NodeReport(versions=here, token_auth=True)
    old = NodeReport(versions=here | {"code": "4567"}, missing=("/models/e5",))
    assert judge_versions(here, {HEAD: good}).state == "ok"
    assert "10.0.0.2 (bbbbbbbb): code 4567, here 0123" in judge_versions(here, {HEAD: good, SMALL: old}).found
    assert judge_paths(["/models/e5"], {HEAD: good}).state == "ok"
    assert "has no /models/e5" in judge_paths(["/models/e5"], {HEAD: good, SMALL: old}).found
    assert judge_authentication(True, {HEAD: good}).state == "ok"
    assert judge_authentication(True, {HEAD: good, SMALL: old}).found == "off on 10.0.0.2 (bbbbbbbb)"
    assert judge_authentication(False, {HEAD: good}).state == "warn"


def test_the_fullest_disk_decides():
    reports = {HEAD: NodeReport(free={"/runs": 9 * 10**9}), SMALL: NodeReport(free={"/runs": 4 * 10**9})}
    assert judge_disk({"/runs": 3 * 10**9}, reports)[0].state == "ok"
    full = judge_disk({"/runs": 5 * 10**9}, reports)[0]
    assert (full.state, full.found) == ("fail", "4.0 GB free on 10.0.0.2 (bbbbbbbb), up to 5.0 GB needed")
    assert judge_disk({"/runs": 0}, {HEAD: NodeReport(free={"/runs": 10**9})})[0].state == "warn"


def test_what_fails_is_raised_in_one_line():
    refuse([Check("a", "ok", "fine"), Check("b", "warn", "so so")])
    with pytest.raises(ResourceError, match=r"^this sweep cannot run here: c: 3 of 4 \(mount it\); d: none$"):
        refuse([Check("c", "fail", "3 of 4", "mount it"), Check("b", "warn", "so so"), Check("d", "fail", "none")])
