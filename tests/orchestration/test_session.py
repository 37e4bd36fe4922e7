"""Which cluster, and is there room: refused before anything waits."""

import os
import subprocess
import sys
import threading
import time

import pytest
import ray

from optical_ray.errors import ConfigError, ResourceError
from optical_ray.orchestration import session as session_module
from optical_ray.orchestration.room import check_room, required_cpus, trials_that_fit
from optical_ray.orchestration.session import Address, asks_for_token, check_cores, choose_address, ray_session
from optical_ray.recipe import Resources


@pytest.mark.parametrize(
    ("option", "environment", "expected"),
    [
        (None, {}, Address("local", "default")),
        (None, {"RAY_ADDRESS": ""}, Address("local", "default")),
        (None, {"RAY_ADDRESS": "10.0.0.1:6379"}, Address("10.0.0.1:6379", "RAY_ADDRESS")),
        ("local", {"RAY_ADDRESS": "10.0.0.1:6379"}, Address("local", "--address")),
        ("auto", {}, Address("auto", "--address")),
        ("head.cluster-1:6379", {}, Address("head.cluster-1:6379", "--address")),
        ("[::1]:6379", {}, Address("[::1]:6379", "--address")),
    ],
)
def test_the_option_wins_then_the_environment_then_a_private_cluster(option, environment, expected):
    assert choose_address(option, environment) == expected


@pytest.mark.parametrize("value", ["http://head:8265", "head", "head:", "head:port", "10.0.0.1:6379/x"])
def test_what_is_no_address_is_refused(value):
    with pytest.raises(ConfigError, match="expected local, auto or HOST:PORT"):
        choose_address(value, {})


@pytest.mark.parametrize(("option", "environment"), [("ray://head:10001", {}), (None, {"RAY_ADDRESS": "ray://head:10001"})])
def test_ray_client_is_refused_with_a_way_out(option, environment):
    with pytest.raises(ConfigError, match="ray job submit"):
        choose_address(option, environment)


def test_the_cpu_rule():
    assert required_cpus(Resources(threads=2), trials=3) == 6.0
    assert required_cpus(Resources(workers=2), trials=1) == pytest.approx(0.01 + 2 + 1.0)
    assert required_cpus(Resources(workers=4, threads=2), trials=2) == pytest.approx(2 * (0.01 + 8 + 1.0))


def test_too_few_cpus_are_refused_with_the_numbers():
    check_room(Resources(workers=2), 1, cpus=3.01, gpus=0, where="the cluster")
    with pytest.raises(
        ResourceError,
        match=r"has 3 logical CPUs, but 1 trials at a time x \(0.01 driver \+ 2 workers x 1 threads \+ 1 for Ray Data\) need 3.01",
    ):
        check_room(Resources(workers=2), 1, cpus=3, gpus=0, where="the cluster")
    with pytest.raises(ResourceError, match=r"has 4 logical CPUs, but 3 trials at a time x \(2 threads\) need 6"):
        check_room(Resources(threads=2), 3, cpus=4, gpus=0, where="the cluster")


def test_gpus_are_counted_and_a_worker_that_could_see_none_is_refused():
    check_room(Resources(device="cuda", gpus_per_worker=0.5), 2, cpus=8, gpus=1, where="the cluster")
    with pytest.raises(ResourceError, match="has 1 GPUs, but 3 trials at a time x 1 workers x 0.5 GPUs need 1.5"):
        check_room(Resources(device="cuda", gpus_per_worker=0.5), 3, cpus=8, gpus=1, where="the cluster")
    with pytest.raises(ResourceError, match="set gpus_per_worker"):
        check_room(Resources(device="cuda"), 1, cpus=8, gpus=1, where="the cluster")


def test_as_many_trials_as_fit_run_at_a_time_where_nobody_says_how_many():
    assert trials_that_fit(Resources(threads=2), [(4, 0), (3, 0)]) == 3, "a trial of one worker lies on one node"
    assert trials_that_fit(Resources(workers=2), [(4, 0), (4, 0)]) == 2
    assert trials_that_fit(Resources(threads=2, device="cuda", gpus_per_worker=1), [(64, 2), (64, 0)]) == 2
    assert trials_that_fit(Resources(device="cuda", gpus_per_worker=0.25), [(3, 1)]) == 3
    assert trials_that_fit(Resources(threads=8), [(4, 0)]) == 1, "the check of the room says what is missing"


def test_a_private_cluster_has_room_for_what_was_asked_whatever_the_machine(cluster):
    assert cluster.started
    assert cluster.cpus >= required_cpus(Resources(workers=2))
    assert cluster.logs.is_dir()


def test_a_session_inside_another_joins_it_checks_it_and_leaves_it_running(cluster):
    with ray_session(None, Resources()) as inner:
        assert inner.address == cluster.address
        assert not inner.started
    with ray_session(None, Resources(), None) as inner:
        assert inner.trials == int(inner.cpus)
    with ray_session(None, Resources(), None, most=1) as inner:
        assert inner.trials == 1
    assert ray.is_initialized()
    with pytest.raises(ResourceError, match="logical CPUs"), ray_session(None, Resources(threads=1000)):
        pass
    assert ray.is_initialized()


@pytest.fixture
def outside(monkeypatch):
    """As if no session were open, and none could be."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    return monkeypatch


def test_a_private_cluster_runs_four_threads_a_core_and_no_more():
    check_cores(Resources(), 8, cores=2)
    check_cores(Resources(workers=2, threads=2), 2, cores=2)
    with pytest.raises(
        ResourceError, match=r"has 2 cores, but 9 trials at a time x 1 workers x 1 threads would run 9 threads, .* at most 4 a core \(8\)"
    ):
        check_cores(Resources(), 9, cores=2)
    with pytest.raises(ResourceError, match="3 trials at a time x 2 workers x 2 threads would run 12 threads.*lower the trials at a time"):
        check_cores(Resources(workers=2, threads=2), 3, cores=2)


def test_too_many_trials_for_this_machine_are_refused_before_a_process_is_started(outside):
    outside.setattr(session_module.os, "cpu_count", lambda: 2)
    outside.setattr(ray, "init", lambda **kwargs: pytest.fail("a cluster was started"))
    with pytest.raises(ResourceError, match="has 2 cores, but 64 trials at a time"), ray_session("local", Resources(), 64):
        pass


def test_what_a_command_needs_next_is_imported_while_ray_starts(outside, tmp_path):
    (tmp_path / "needed_next.py").write_text("import ray.no_such_module_at_all\n")
    (tmp_path / "needed_too.py").write_text("import threading\nTHREAD = threading.current_thread()\n")
    outside.syspath_prepend(tmp_path)
    started = threading.Event()

    def init(**kwargs):
        assert wait_until(lambda: hasattr(sys.modules.get("needed_too"), "THREAD")), "not imported while Ray starts"
        started.set()
        raise ConnectionError("enough")

    outside.setattr(ray, "init", init)
    with pytest.raises(ResourceError, match="enough"), ray_session("auto", Resources(), meanwhile=["needed_next", "needed_too"]):
        pass
    assert started.is_set()
    assert sys.modules["needed_too"].THREAD is not threading.main_thread()
    assert "needed_next" not in sys.modules, "whoever needs it is told why it cannot be had"


def test_a_refusal_does_not_wait_for_what_would_be_imported(outside, tmp_path):
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(60)\n")
    outside.syspath_prepend(tmp_path)
    outside.setattr(session_module.os, "cpu_count", lambda: 2)
    for address, trials, refusal in (("local", 64, "has 2 cores"), ("127.0.0.1:1", 1, "nothing answers there")):
        with pytest.raises(ResourceError, match=refusal), ray_session(address, Resources(), trials, meanwhile=["slow_to_import"]):
            pass
    assert "slow_to_import" not in sys.modules


def wait_until(found, seconds=10.0):
    ends = time.monotonic() + seconds
    while not found() and time.monotonic() < ends:
        time.sleep(0.01)
    return found()


@pytest.mark.parametrize(("mode", "asks"), [("token", True), ("disabled", False)])
def test_a_cluster_asks_for_a_token_or_does_not(mode, asks, monkeypatch):
    script = "from ray.cluster_utils import Cluster; c = Cluster(True, head_node_args={'num_cpus': 1, 'include_dashboard': False}); "
    command = [sys.executable, "-c", f"{script}print(c.address, flush=True); input(); c.shutdown()"]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, env=os.environ | {"RAY_AUTH_MODE": mode}) as process:
        address = process.stdout.readline().strip()
        assert asks_for_token(address) is asks
        if not asks:
            monkeypatch.setenv("RAY_AUTH_MODE", "token")
            with pytest.raises(ResourceError, match="that cluster has token authentication off, and here it is on"):
                session_module._agree_on_token(address, f"--address {address}")
        print(file=process.stdin, flush=True)
        assert process.wait(60) == 0


def test_an_address_where_nothing_listens_is_refused_at_once(outside):
    with pytest.raises(ResourceError, match=r"^--address 127.0.0.1:1: nothing answers there"), ray_session("127.0.0.1:1", Resources()):
        pass


def test_a_refusal_of_ray_is_one_line_and_no_cpus_are_asked_of_a_cluster_of_others(outside):
    def refuse(**kwargs):
        assert "num_cpus" not in kwargs, "inside `ray job submit`, Ray raises on it"
        raise ConnectionError("Failed to connect to\nRay cluster")

    outside.setattr(ray, "init", refuse)
    expected = r"^--address auto: no Ray cluster to be had there \(Failed to connect to Ray cluster\)\. Check"
    with pytest.raises(ResourceError, match=expected), ray_session("auto", Resources()):
        pass


@pytest.mark.parametrize(("option", "told"), [(None, True), ("local", False)])
def test_a_running_cluster_is_pointed_out_only_when_local_was_the_default(outside, option, told):
    outside.delenv("RAY_ADDRESS")
    outside.setattr(session_module, "_running_cluster", lambda: "10.0.0.1:6379")
    outside.setattr(session_module, "_start_private", lambda resources, trials, most, meanwhile: None)
    outside.setattr(session_module, "_join", lambda resources, trials, most, logs, notice, waited, may_wait: notice)
    with ray_session(option, Resources()) as notice:
        assert (notice is not None) == told
        if told:
            assert "10.0.0.1:6379" in notice
            assert "--address auto" in notice
            assert "--address local" in notice


def test_a_node_that_a_busy_machine_is_slow_to_start_is_started_once_more(outside):
    tries = []

    def init(**kwargs):
        tries.append(kwargs["num_cpus"])
        raise Exception("The current node timed out during startup. This could happen because some of the raylet failed to startup")

    outside.setattr(ray, "init", init)
    with pytest.raises(ResourceError, match="Ray did not start within 30 s, twice: .*too busy"), ray_session("local", Resources()):
        pass
    assert len(tries) == 2
    outside.setattr(ray, "init", lambda **kwargs: (_ for _ in ()).throw(ValueError("no such option")))
    with pytest.raises(ValueError, match="no such option"), ray_session("local", Resources()):
        pass
