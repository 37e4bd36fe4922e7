"""Whether a cluster can run a sweep: what its nodes reported, judged. Plain data and plain functions; Ray is asked by `doctor`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from optical_ray.errors import ResourceError
from optical_ray.orchestration.room import check_room, worker_places
from optical_ray.recipe import Resources
from optical_ray.runs.disk import describe_bytes

State = Literal["ok", "warn", "fail"]
LOW_DISK_BYTES = 2e9
"""Free on a disk that nothing was forecast for, below which it is worth a word."""


@dataclass(frozen=True, slots=True)
class Check:
    """One question, answered with numbers."""

    name: str
    state: State
    found: str
    advice: str = ""
    """What to do; empty where all is well."""


@dataclass(frozen=True, slots=True)
class Node:
    """What Ray says of a node."""

    node_id: str
    address: str
    cpus: float
    gpus: float

    def __str__(self) -> str:
        return f"{self.address} ({self.node_id[:8]})"


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a process on a node found."""

    versions: Mapping[str, str | None] = field(default_factory=dict)
    """Of python, ray, torch and optical_ray, and `code`: the digest of optical_ray's own files."""
    places: Mapping[str, str] = field(default_factory=dict)
    """By folder (run folders, store): empty where a file of the driver could be read there, and one be written, read and deleted; else why
    not."""
    free: Mapping[str, int] = field(default_factory=dict)
    """By folder: bytes."""
    missing: tuple[str, ...] = ()
    """Paths of the recipe that are not there."""
    token_auth: bool = False
    error: str = ""
    """The process never answered, and why."""


Reports = Mapping[Node, NodeReport]


def judge_room(resources: Resources, trials: int, nodes: Sequence[Node]) -> Check:
    """Is there room for the trials that run at a time, in all and on single nodes?"""
    name = "room for the trials"
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    try:
        check_room(resources, trials, cpus, gpus, "the cluster")
    except ResourceError as error:
        return Check(name, "fail", *_split(str(error)))
    places = worker_places(resources, [{"CPU": node.cpus, "GPU": node.gpus} for node in nodes])
    needed = trials * resources.workers
    each = f"{resources.threads} CPUs" + (f" and {resources.gpus_per_worker:g} GPUs" if resources.gpus_per_worker else "")
    if places < needed:
        largest = max(nodes, key=lambda node: (node.gpus, node.cpus)) if nodes else None
        having = f"; the largest, {largest}, has {largest.cpus:g} CPUs and {largest.gpus:g} GPUs" if largest else ""
        return Check(
            name,
            "fail",
            f"{trials} trials at a time x {resources.workers} workers need {needed} places of {each}, each on one node; "
            f"{len(nodes)} nodes have {places}{having}",
            "lower the trials at a time, workers or threads, or add nodes: a trial without a place would wait for ever",
        )
    return Check(name, "ok", f"{cpus:g} CPUs and {gpus:g} GPUs on {len(nodes)} nodes; {needed} of {places} places of {each} are used")


def judge_storage(reports: Reports) -> list[Check]:
    """Are the folders shared by all nodes, and writable from each?"""
    advice = "see that it runs and has the same environment"
    checks = [Check(f"node {node}", "fail", report.error, advice) for node, report in reports.items() if report.error]
    answered = {node: report for node, report in reports.items() if not report.error}
    for place in dict.fromkeys(place for report in answered.values() for place in report.places):
        broken = {node: why for node, report in answered.items() if (why := report.places.get(place, ""))}
        if broken:
            named = "; ".join(f"{node}: {why}" for node, why in broken.items())
            advice = "put it on a disk that every node mounts at the same path (--out, --store), writable by the user that runs Ray"
            checks.append(Check(f"shared: {place}", "fail", f"not from {len(broken)} of {len(answered)} nodes: {named}", advice))
        else:
            checks.append(Check(f"shared: {place}", "ok", f"written, read and deleted from {len(answered)} of {len(answered)} nodes"))
    return checks


def judge_versions(here: Mapping[str, str | None], reports: Reports) -> Check:
    """Does every node run what the driver runs?"""
    other = {
        node: ", ".join(f"{name} {found.get(name)}, here {value}" for name, value in here.items() if found.get(name) != value)
        for node, found in ((node, report.versions) for node, report in reports.items() if not report.error)
    }
    other = {node: text for node, text in other.items() if text}
    if other:
        return Check(
            "same versions",
            "fail",
            "; ".join(f"{node}: {text}" for node, text in other.items()),
            "install the locked environment and the same checkout on every node, then restart Ray there",
        )
    shown = ", ".join(f"{name} {value}" for name, value in here.items())
    return Check("same versions", "ok", f"{shown} on {len(reports)} nodes")


def judge_paths(paths: Sequence[str], reports: Reports) -> Check:
    """Are the models and data that the recipe names where the workers run?"""
    missing = {node: report.missing for node, report in reports.items() if report.missing}
    if missing:
        return Check(
            "models and data",
            "fail",
            "; ".join(f"{node} has no {', '.join(names)}" for node, names in missing.items()),
            "copy them there, to the same path, or name a path on the shared disk",
        )
    return Check("models and data", "ok", f"{len(paths)} paths of the recipe on {len(reports)} nodes" if paths else "no path is named")


def judge_disk(needed: Mapping[str, int], reports: Reports) -> list[Check]:
    """Is there room on the disks, as each node sees them?

    Args:
        needed: Bytes by folder; 0: nothing was forecast.
        reports: Of the nodes.
    """
    checks = []
    for place, wanted in needed.items():
        free = {node: report.free[place] for node, report in reports.items() if place in report.free}
        if not free:
            continue
        node, least = min(free.items(), key=lambda item: item[1])
        found = f"{describe_bytes(least)} free" + (f" on {node}" if len(free) > 1 else "")
        found += f", up to {describe_bytes(wanted)} needed" if wanted else ""
        if wanted > least:
            checks.append(Check(f"disk: {place}", "fail", found, "make room (`optical clean`), keep fewer students (--keep-best N)"))
        elif least < LOW_DISK_BYTES and not wanted:
            checks.append(Check(f"disk: {place}", "warn", found, "give a sweep file (--sweep FILE) to learn what it will take"))
        else:
            checks.append(Check(f"disk: {place}", "ok", found))
    return checks


def judge_authentication(here: bool, reports: Reports) -> Check:
    """Does the cluster ask for its token?"""
    open_nodes = [str(node) for node, report in reports.items() if not report.error and not report.token_auth]
    if open_nodes or not here:
        where = f"off on {', '.join(open_nodes)}" if open_nodes else "off in this process"
        return Check(
            "token authentication",
            "warn",
            where,
            "whoever reaches Ray's ports can run code there: set RAY_AUTH_MODE=token on every node and client, and share one token",
        )
    return Check("token authentication", "ok", f"on, here and on {len(reports)} nodes")


def refuse(checks: Sequence[Check]) -> None:
    """Raise what fails.

    Raises:
        ResourceError: the failed checks in one line, with their numbers and what to do.
    """
    failed = [check for check in checks if check.state == "fail"]
    if failed:
        told = "; ".join(f"{check.name}: {check.found}{f' ({check.advice})' if check.advice else ''}" for check in failed)
        raise ResourceError(f"this sweep cannot run here: {told}")


def _split(message: str) -> tuple[str, str]:
    """What was found, and what to do, of a message that says both."""
    found, _, advice = message.partition("; ")
    return found, advice
