"""Is there room for the trials: counted before anything waits, and waited for on a cluster whose nodes are still starting."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence

import ray
from ray.autoscaler.sdk import request_resources

from optical_ray.errors import ResourceError
from optical_ray.recipe import Resources

DRIVER_CPUS = 0.01
"""What a trial's own process reserves when its workers are processes of their own: it waits. Ray refuses a bundle of 0 CPUs."""
DATA_CPUS = 1.0
"""Room that Ray Data needs beside the workers; with 0.99 free a job hung for ever, without a message (Ray 2.60)."""

POLL_SECONDS = 1.0
"""Between two looks at a cluster that is still starting."""

NodeResources = Mapping[str, float]
"""What one node offers: CPU, GPU, memory, ..."""


def required_cpus(resources: Resources, trials: int = 1) -> float:
    """Logical CPUs for `trials` at a time.

    One worker trains in the trial's own process. More workers: driver + workers x threads + what Ray Data needs beside them.
    """
    if resources.workers == 1:
        return float(trials * resources.threads)
    return trials * (DRIVER_CPUS + resources.workers * resources.threads + DATA_CPUS)


def required_gpus(resources: Resources, trials: int = 1) -> float:
    """GPUs for `trials` at a time."""
    return trials * resources.workers * resources.gpus_per_worker


def trials_that_fit(resources: Resources, nodes: Sequence[tuple[float, float]]) -> int:
    """Trials at a time that a cluster has room for by the CPU rule and by GPUs; at least 1, for `check_room` to judge.

    Args:
        resources: Of one trial.
        nodes: Logical CPUs and GPUs of each. A trial of one worker lies on one node; the workers of a larger one may lie apart.
    """
    if resources.workers > 1:
        nodes = [(sum(cpus for cpus, _ in nodes), sum(gpus for _, gpus in nodes))]
    of_gpus = required_gpus(resources)
    fits = [min(cpus // required_cpus(resources), gpus // of_gpus if of_gpus else math.inf) for cpus, gpus in nodes]
    return max(1, int(sum(fits)))


def trials_of_cluster(resources: Resources) -> int:
    """`trials_that_fit` the cluster of this session, as it is now."""
    return trials_that_fit(resources, [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in live_nodes()])


def check_room(resources: Resources, trials: int, cpus: float, gpus: float, where: str, remedy: str = "use a larger cluster") -> None:
    """Refuse what the cluster can never give, before a trial waits for it for ever.

    Args:
        resources: Of one trial.
        trials: At a time.
        cpus: Logical CPUs of the cluster.
        gpus: GPUs of the cluster.
        where: Names the cluster in the message.
        remedy: What to do beside asking for less.

    Raises:
        ResourceError: with the numbers.
    """
    needed = required_cpus(resources, trials)
    if needed > cpus:
        each = f"{resources.threads} threads"
        if resources.workers > 1:
            each = f"{DRIVER_CPUS:g} driver + {resources.workers} workers x {resources.threads} threads + {DATA_CPUS:g} for Ray Data"
        raise ResourceError(
            f"{where} has {cpus:g} logical CPUs, but {trials} trials at a time x ({each}) need {needed:g}; "
            f"lower the trials at a time, workers or threads, or {remedy}"
        )
    if resources.device == "cuda" and resources.gpus_per_worker == 0:
        raise ResourceError(
            "device cuda with gpus_per_worker=0: Ray hides every GPU from such a worker; set gpus_per_worker, for example to 1"
        )
    if (needed := required_gpus(resources, trials)) > gpus:
        raise ResourceError(
            f"{where} has {gpus:g} GPUs, but {trials} trials at a time x {resources.workers} workers x {resources.gpus_per_worker:g} "
            f"GPUs need {needed:g}; lower the trials at a time, workers or gpus_per_worker, or {remedy}"
        )


def worker_places(resources: Resources, nodes: Sequence[NodeResources]) -> int:
    """How many workers fit at a time, when each must fit on one node whole. Totals alone hide that 3 + 3 CPUs hold no worker of 4."""
    places = 0
    for node in nodes:
        here = int(node.get("CPU", 0.0) // resources.threads)
        if (share := resources.gpus_per_worker) > 0:
            # A share of a GPU lies on one GPU, so what is left over on each of them is lost; whole GPUs are taken together.
            gpus = int(node.get("GPU", 0.0))
            here = min(here, gpus * int(1 / share + 1e-9) if share < 1 else int(gpus // share))
        places += here
    return places


def check_nodes(resources: Resources, trials: int, nodes: Sequence[NodeResources], where: str, remedy: str = "use larger nodes") -> None:
    """Refuse workers that the nodes hold in sum but not one by one: their trials would wait for ever.

    Raises:
        ResourceError: with the numbers.
    """
    needed = trials * resources.workers
    if (places := worker_places(resources, nodes)) < needed:
        each = f"{resources.threads} CPUs" + (f" and {resources.gpus_per_worker:g} GPUs" if resources.gpus_per_worker else "")
        raise ResourceError(
            f"{where} has {len(nodes)} nodes ({_sizes(nodes)}) that hold {places} workers of {each} whole, but {trials} trials at a time x "
            f"{resources.workers} workers need {needed}; lower the trials at a time, workers, threads or gpus_per_worker, or {remedy}"
        )


def live_nodes() -> list[NodeResources]:
    """What each node of the joined cluster offers."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def pieces(resources: Resources, trials: int) -> list[dict[str, float]]:
    """What the trials reserve, in parts that must each fit on one node: what an autoscaler is asked for."""
    worker = {"CPU": float(resources.threads)} | ({"GPU": resources.gpus_per_worker} if resources.gpus_per_worker else {})
    beside = [] if resources.workers == 1 else [{"CPU": DRIVER_CPUS}, {"CPU": DATA_CPUS}]
    return [dict(part) for _ in range(trials) for part in [*[worker] * resources.workers, *beside]]


def await_room(
    resources: Resources,
    trials: int,
    seconds: float,
    tell: Callable[[str], None] | None = None,
    nodes: Callable[[], Sequence[NodeResources]] = live_nodes,
) -> float:
    """Wait until the joined cluster has room for the trials, or until the time is over; which of the two it is, the checks say.

    `ray submit`, `ray job submit` and Slurm start a driver when the head is up, not when its workers are. An autoscaling cluster is
    asked for the nodes too: without a demand it would never start them, and no trial is started before there is room for it.

    Args:
        resources: Of one trial.
        trials: At a time.
        seconds: At most.
        tell: Told what is there and what is needed, whenever that changes.
        nodes: What each node offers.

    Returns:
        Seconds waited.
    """
    started = time.monotonic()
    told = None
    asked = False
    try:
        while True:
            there = nodes()
            cpus, gpus = (sum(node.get(name, 0.0) for node in there) for name in ("CPU", "GPU"))
            enough = cpus >= required_cpus(resources, trials) and gpus >= required_gpus(resources, trials)
            waited = time.monotonic() - started
            if (enough and worker_places(resources, there) >= trials * resources.workers) or waited >= seconds:
                return waited
            if not asked:
                request_resources(bundles=pieces(resources, trials))
                asked = True
            line = (
                f"Waiting for room, at most {seconds:g} s: {required_cpus(resources, trials):g} CPUs and "
                f"{required_gpus(resources, trials):g} GPUs are needed; {len(there)} nodes are there ({_sizes(there)})"
            )
            if tell is not None and line != told:
                tell(line)
                told = line
            time.sleep(min(POLL_SECONDS, seconds - waited))
    finally:
        if asked:  # what is asked for stays asked for after the driver has gone, and a cloud goes on costing money
            request_resources(bundles=[])


def _sizes(nodes: Sequence[NodeResources]) -> str:
    """`4 CPUs + 1 GPUs, 2 CPUs`."""
    sizes = [f"{node.get('CPU', 0.0):g} CPUs" + (f" + {node['GPU']:g} GPUs" if node.get("GPU") else "") for node in nodes]
    return ", ".join(sizes[:8]) + (f" and {len(sizes) - 8} more" if len(sizes) > 8 else "") or "none"
