"""Asks every node of a cluster what `health` judges: a process pinned to each, which reads, writes, and looks around."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from optical_ray.orchestration.health import (
    Check,
    Node,
    NodeReport,
    Reports,
    judge_authentication,
    judge_disk,
    judge_paths,
    judge_room,
    judge_storage,
    judge_versions,
)
from optical_ray.orchestration.probe import FROM_DRIVER, own_versions, probe, why_unseen
from optical_ray.recipe import Recipe, Resources

PROBE_SECONDS = 60.0
"""For all nodes to answer; a process that has to import everything takes some seconds."""


def list_nodes() -> list[Node]:
    """The nodes that are alive now."""
    return [
        Node(node["NodeID"], node["NodeManagerAddress"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    ]


def check_cluster(
    resources: Resources, trials: int, needed: Mapping[str, int], paths: Sequence[str], seconds: float = PROBE_SECONDS
) -> list[Check]:
    """Everything that can be told of the cluster of the open session.

    Args:
        resources: Of one trial.
        trials: At a time.
        needed: The folders that all nodes must share, and the bytes that will be written to each; 0: not known.
        paths: Files and folders that must be there where workers run.
        seconds: To wait for the nodes' answers.
    """
    nodes = list_nodes()
    reports = probe_nodes(nodes, list(needed), paths, seconds)
    return [
        judge_room(resources, trials, nodes),
        *judge_storage(reports),
        *judge_disk(needed, reports),
        judge_paths(paths, reports),
        judge_versions(own_versions(), reports),
        judge_authentication(is_token_auth_enabled(), reports),
    ]


def local_paths(recipe: Recipe) -> list[str]:
    """Absolute paths of the models and data that a recipe names; hub ids, catalogs and URIs are none."""
    named = [
        recipe.corpus.path,
        recipe.teacher.path,
        recipe.student.init,
        *recipe.corpus.sources,
        *(task.path for task in recipe.evaluation.tasks),
    ]
    found = [Path(str(name).partition(",")[0]).expanduser() for name in named if name and "://" not in str(name)]
    return list(dict.fromkeys(str(path.absolute()) for path in found if path.exists()))


def probe_nodes(nodes: Sequence[Node], places: Sequence[str], paths: Sequence[str], seconds: float = PROBE_SECONDS) -> Reports:
    """Let a process on each node try the places; a node that does not answer in time has an error for a report."""
    with _probe_folders(places) as folders:
        written = {place: "" for place in places} | {place: folder for place, folder in folders.items() if not isinstance(folder, Path)}
        open_folders = {place: str(folder) for place, folder in folders.items() if isinstance(folder, Path)}
        references = {
            node: ray.remote(probe)
            .options(num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False))
            .remote(node.node_id, open_folders, list(paths))
            for node in nodes
        }
        ray.wait(list(references.values()), num_returns=len(references), timeout=seconds)
        reports = {}
        for node, reference in references.items():
            try:
                answer = ray.get(reference, timeout=0)
            except (RayError, TimeoutError) as error:
                if isinstance(error, TimeoutError):
                    ray.cancel(reference, force=True)
                    reason = f"no answer within {seconds:g} s"
                else:
                    reason = " ".join(str(error).split())[-200:] or type(error).__name__
                reports[node] = NodeReport(error=reason)
                continue
            tried = {place: answer["places"][place] or why_unseen(Path(folder) / node.node_id) for place, folder in open_folders.items()}
            reports[node] = NodeReport(
                versions=answer["versions"],
                places={place: tried.get(place, written[place]) for place in places},
                free=answer["free"],
                missing=tuple(answer["missing"]),
                token_auth=answer["token_auth"],
            )
        return reports


@contextlib.contextmanager
def _probe_folders(places: Sequence[str]) -> Iterator[dict[str, Path | str]]:
    """A fresh folder in each place, with a file of the driver in it; the reason, where there can be none. All is gone at the end."""
    folders: dict[str, Path | str] = {}
    made: list[Path] = []
    try:
        for place in places:
            made += [path for path in (Path(place), *Path(place).parents) if not path.exists()]
            folder = Path(place) / f".doctor-{secrets.token_hex(8)}"
            try:
                folder.mkdir(parents=True)
                (folder / FROM_DRIVER).write_text(folder.name, encoding="utf-8")
                folders[place] = folder
            except OSError as error:
                folders[place] = f"not writable from the driver ({error.strerror or error})"
        yield folders
    finally:
        for found in folders.values():
            if isinstance(found, Path):
                shutil.rmtree(found, ignore_errors=True)
        for path in made:  # innermost first
            with contextlib.suppress(OSError):
                path.rmdir()
