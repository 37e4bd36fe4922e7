"""Which Ray cluster a command uses: chosen, checked for room, joined or started, and ended only when it was started here."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private.authentication import authentication_token_setup as authentication

from optical_ray.errors import ConfigError, ResourceError
from optical_ray.orchestration.room import await_room, check_nodes, check_room, live_nodes, required_cpus, trials_of_cluster
from optical_ray.recipe import Resources

log = logging.getLogger(__name__)

THREADS_PER_CORE = 4
"""As many as a private cluster starts: its logical CPUs are what was asked for, so Ray itself would start any number."""

CONNECT_SECONDS = 5.0
"""How long an address may take to answer."""

ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""What any client may ask a head node; without a token, where that is asked for, it is refused in milliseconds."""

_HOST_PORT = re.compile(r"[A-Za-z0-9._\-\[\]:]+:[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to go, and who said so."""

    value: str
    """`local`, `auto` or HOST:PORT."""
    source: str
    """`--address`, `RAY_ADDRESS` or `default`."""


def choose_address(option: str | None, environment: Mapping[str, str] = os.environ) -> Address:
    """`--address`, else RAY_ADDRESS, else `local`: a private cluster on this machine.

    Raises:
        ConfigError: not `local`, `auto` or HOST:PORT.
    """
    if option:
        address = Address(option, "--address")
    elif environment.get("RAY_ADDRESS"):
        address = Address(environment["RAY_ADDRESS"], "RAY_ADDRESS")
    else:
        return Address("local", "default")
    if address.value.startswith("ray://"):
        raise ConfigError(
            f"{address.source} {address.value}: Ray Client runs the sweep in a remote actor, so its run folder lands on another machine; "
            "expected local, auto or HOST:PORT. From outside a cluster: "
            "ray job submit --address http://HOST:8265 -- optical sweep FILE --address auto"
        )
    if address.value not in ("local", "auto") and not _HOST_PORT.fullmatch(address.value):
        raise ConfigError(f"{address.source} {address.value}: expected local, auto or HOST:PORT")
    return address


def check_cores(resources: Resources, trials: int, cores: int) -> None:
    """Refuse more threads than this machine's cores can share, before a private cluster starts a process for each worker.

    Args:
        resources: Of one trial.
        trials: At a time.
        cores: Of this machine.

    Raises:
        ResourceError: with the numbers.
    """
    threads = trials * resources.workers * resources.threads
    if threads > THREADS_PER_CORE * cores:
        raise ResourceError(
            f"this machine has {cores} cores, but {trials} trials at a time x {resources.workers} workers x {resources.threads} threads "
            f"would run {threads} threads, and a private cluster takes at most {THREADS_PER_CORE} a core ({THREADS_PER_CORE * cores}); "
            "lower the trials at a time, workers or threads, or use a larger cluster (--address)"
        )


@dataclass(frozen=True, slots=True)
class Session:
    """A connection to a cluster."""

    address: str
    """HOST:PORT of the cluster."""
    started: bool
    """True: private, and ended with the session."""
    cpus: float
    gpus: float
    trials: int
    """Trials at a time: as asked for, or what fits."""
    logs: Path | None
    """Ray's own logs, where what a worker printed is kept; None on a cluster of others."""
    notice: str | None
    """One line for the user, when `local` was only the default and a cluster is running here."""


@contextlib.contextmanager
def ray_session(
    address: str | None,
    resources: Resources,
    trials: int | None = 1,
    most: int | None = None,
    wait_seconds: float | None = None,
    tell: Callable[[str], None] | None = None,
    meanwhile: Sequence[str] = (),
) -> Iterator[Session]:
    """Join or start the cluster for a command; at the end shut down only what was started here.

    A private cluster gets as many logical CPUs as the trials ask for, up to a few times the machine's (see `check_cores`): threads then
    share cores, nothing hangs.
    Nothing of Ray is printed: what workers print stays in Ray's logs, what they raise (or died of) comes back as exceptions.

    Args:
        address: The option of the command line; see `choose_address`.
        resources: Of one trial.
        trials: At a time; None: as many as there is room for.
        most: Of those, where there is room for more.
        wait_seconds: How long to wait for a cluster of others to have room for the trials (for one, where `trials` is None); 0: refuse at
            once, and point to `--wait`; None: refuse at once, the command cannot wait.
        tell: Told in one line what is waited for.
        meanwhile: Modules that the command needs next, imported while the cluster starts.

    Raises:
        ConfigError: the address is not one.
        ResourceError: no cluster answers there, or it (or this machine) has too little room.
    """
    chosen = choose_address(address)
    if ray.is_initialized():  # a script that called ray.init itself, or a session around this one
        yield _join(resources, trials, most, logs=None, notice=None)
        return
    running = _running_cluster() if chosen.source == "default" else None
    notice = None
    if running is not None:
        notice = (
            f"A Ray cluster is running on this machine ({running}); this command starts a private one beside it. "
            "To use the running one: --address auto. To keep a private one without this line: --address local"
        )
    try:
        waited = 0.0
        if chosen.value == "local":
            logs: Path | None = _start_private(resources, trials, most, meanwhile)
        else:
            logs = None
            _connect(chosen, meanwhile)
            waited = await_room(resources, trials or 1, wait_seconds or 0.0, tell)
        # Ray prints some messages of a raylet (a worker died, with its whole traceback) whatever log_to_driver says.
        ray._private.worker._worker_logs_enabled = False
        yield _join(resources, trials, most, logs, notice, waited, may_wait=wait_seconds == 0)
    finally:
        ray.shutdown()
        ray._private.worker._worker_logs_enabled = True


@contextlib.contextmanager
def _importing(modules: Sequence[str]) -> Iterator[None]:
    """Import them in a thread: a start of Ray is 8 s of waiting for its processes, and torch and Tune are 10 s of work.

    What cannot be imported is left to whoever imports it next, and so told where it is needed.
    """

    def work() -> None:
        for name in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    thread = threading.Thread(target=work, name="import", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()  # an interpreter that ends in the middle of an import may crash


def _start_private(resources: Resources, trials: int | None, most: int | None, meanwhile: Sequence[str]) -> Path:
    cores = os.cpu_count() or 1
    if trials is None:  # without sharing cores, which only a number that was asked for does
        trials = _at_most(most, resources.trials_on(cores))
    check_cores(resources, trials, cores)
    # Train's watchdog, which frees the workers of a dead run, asks the dashboard's process whether the run lives (and fills the logs with
    # complaints when there is none); trials of one worker need no dashboard, and 60 MB less without it.
    with _importing(meanwhile):
        context = _start_node(
            num_cpus=max(cores, -int(-required_cpus(resources, trials) // 1)),
            include_dashboard=resources.workers > 1,
            dashboard_host="127.0.0.1",
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    return Path(context.address_info["session_dir"]) / "logs"


def _start_node(**options: Any) -> Any:
    """`ray.init`, once more where a machine was too busy for the 30 s that Ray 2.60 gives its node to start, which no option changes."""
    for attempt in (1, 2):
        try:
            return ray.init(address="local", **options)
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            log.warning("ray state=timed-out attempt=%d of 2", attempt)
    raise ResourceError(
        "Ray did not start within 30 s, twice: this machine is too busy, or short of memory; end other work, or use a running cluster "
        "(--address)"
    )


def _connect(chosen: Address, meanwhile: Sequence[str]) -> None:
    where = f"{chosen.source} {chosen.value}"
    found = ray._private.services.find_bootstrap_address(None) if chosen.value == "auto" else None
    address = found or chosen.value
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
        except OSError as error:  # Ray itself would try for minutes
            raise ResourceError(f"{where}: nothing answers there ({error}); check the address, or use --address local") from None
        _agree_on_token(address, where)
    try:
        with _importing(meanwhile):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ResourceError(
            f"{where}: no Ray cluster to be had there ({reason}). Check the address and the token (that of the cluster, in "
            "~/.ray/auth_token or RAY_AUTH_TOKEN, with RAY_AUTH_MODE=token), or use --address local"
        ) from None


def _agree_on_token(address: str, where: str) -> None:
    """Bring the token where the cluster asks for one, and only there.

    With an explicit address Ray 2.60 does not look for a token by itself, and is refused by a cluster that has one. Where a process brings
    one that is not asked for (that of an earlier private cluster lies in every home), it is let in, and every actor that it starts dies
    before it runs. Setting RAY_AUTH_MODE here would be too late: Ray has read it when it was imported.

    Raises:
        ResourceError: this process has token authentication on, the cluster has not.
    """
    if asks_for_token(address):
        logging.getLogger(authentication.__name__).setLevel(logging.ERROR)
        authentication.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    elif os.environ.get(authentication.AUTH_MODE_ENV_VAR, "").lower() == "token":
        raise ResourceError(
            f"{where}: that cluster has token authentication off, and here it is on ({authentication.AUTH_MODE_ENV_VAR}=token), so none "
            "of its actors would start; start the cluster with it, or unset it here"
        )


def asks_for_token(address: str) -> bool:
    """Whether a cluster refuses who brings no token. True, too, where it cannot be told (TLS, another version of Ray)."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(ALIVE)(b"", timeout=CONNECT_SECONDS)
        except grpc.RpcError:
            return True
    return False


def _join(
    resources: Resources,
    trials: int | None,
    most: int | None,
    logs: Path | None,
    notice: str | None,
    waited: float = 0.0,
    may_wait: bool = False,
) -> Session:
    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    address = ray.get_runtime_context().gcs_address
    trials = _at_most(most, trials_of_cluster(resources)) if trials is None else trials
    if logs is not None:
        check_room(resources, trials, cpus, gpus, "this machine's private cluster")
    else:
        where = f"the cluster at {address}" + (f", after {waited:.0f} s of waiting," if waited >= 1 else "")
        starting = "wait for nodes that are still starting or start on demand (--wait SECONDS), or " if may_wait else ""
        check_room(resources, trials, cpus, gpus, where, f"{starting}use a larger cluster")
        check_nodes(resources, trials, live_nodes(), where, f"{starting}use larger nodes")
    return Session(address, logs is not None, cpus, gpus, trials, logs, notice)


def _at_most(most: int | None, trials: int) -> int:
    return trials if most is None else max(1, min(most, trials))


def _running_cluster() -> str | None:
    """HOST:PORT of a cluster that `ray start` (not another private session) left running on this machine."""
    address = ray._private.services.find_bootstrap_address(None)
    return address if address is not None and address in ray._private.services.find_gcs_addresses() else None
