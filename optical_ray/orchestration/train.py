"""One training on two or more workers: Ray Train V2 holds the group together, Ray Data feeds each rank its part of the plan (`feed`).

The trial's own checkpoints and metrics are the truth: Train's folder is scratch.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import os
import pickle
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray.train
import torch.distributed
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerHealthCheckTimeoutError
from ray.train.v2.api.exceptions import WorkerGroupError

from optical_ray.artifacts import Store
from optical_ray.data.batches import ReadBatches
from optical_ray.distillation import distil_worker
from optical_ray.errors import OpticalError, WorkerDied
from optical_ray.orchestration.feed import read_rank, start_reader
from optical_ray.pretraining.worker import pretrain_worker
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.folder import TrialFolder
from optical_ray.training.loop import Report
from optical_ray.training.parallel import Parallel

GROUP_TIMEOUT_SECONDS = 1800
"""The others wait at the next reduction while the main worker validates."""
SCRATCH, STOP = ".train", "stop"
POLL_SECONDS = 0.25
"""Between two looks for reports."""


Worker = Callable[[Resources, Store, TrialFolder, Report, Parallel, ReadBatches], None]
"""What each data-parallel worker does, from the newest checkpoint in the folder; the main one appends reports to the folder's metrics."""


def distil_with_ray(recipe: Recipe, resources: Resources, store: Store, folder: TrialFolder, report: Report) -> None:
    """The training of a trial on `resources.workers` workers (`run_workers`)."""
    run_workers(functools.partial(distil_worker, recipe), resources, store, folder, report)


def pretrain_with_ray(recipe: Recipe, resources: Resources, store: Store, folder: TrialFolder, report: Report) -> None:
    """A pre-training on `resources.workers` workers (`run_workers`)."""
    run_workers(functools.partial(pretrain_worker, recipe), resources, store, folder, report)


def run_workers(worker: Worker, resources: Resources, store: Store, folder: TrialFolder, report: Report) -> None:
    """Train on `resources.workers` workers, inside a `ray_session`; same global batches and, to rounding, the same losses as one worker.

    Args:
        worker: Travels to every worker: a function of a module, or a `functools.partial` of one with plain data.
        resources: How many workers, their threads and GPUs.
        store: Holds the artifacts; every worker must see it, and the folder.
        folder: Of this training; its newest checkpoint is where the workers start.
        report: Called in this thread for each report that the main worker has written; what it raises ends the training.

    Raises:
        OpticalError: as a worker raised it.
        WorkerDied: a worker died.
    """
    scratch = folder.path.resolve() / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    seen = folder.metrics.stat().st_size if folder.metrics.is_file() else 0
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "worker": pickle.dumps(worker),
            "resources": resources.to_dict(),
            "store": str(store.root.resolve()),
            "folder": str(folder.path.resolve()),
            "cwd": str(Path.cwd()),
        },
        torch_config=TorchConfig(backend="nccl" if resources.device == "cuda" else "gloo", timeout_s=GROUP_TIMEOUT_SECONDS),
        scaling_config=ray.train.ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.device == "cuda",
            resources_per_worker={"CPU": resources.threads} | ({"GPU": resources.gpus_per_worker} if resources.device == "cuda" else {}),
        ),
        run_config=ray.train.RunConfig(name=folder.trial_id.lstrip("."), storage_path=str(scratch)),
    )
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="train") as executor:
            fit: Future[Any] = executor.submit(trainer.fit)
            try:
                while not fit.done():
                    time.sleep(POLL_SECONDS)
                    seen = _pass_on(folder, seen, report)
                _pass_on(folder, seen, report)
            except BaseException:
                (scratch / STOP).touch()  # the main worker looks at its next report; its checkpoint is written by then
                fit.exception()
                raise
            if (error := fit.exception()) is not None:
                raise find_cause(error) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _pass_on(folder: TrialFolder, seen: int, report: Report) -> int:
    """Report what was appended to the metrics beyond byte `seen`, up to the last whole line; returns where that ends."""
    if not folder.metrics.is_file():
        return seen
    with folder.metrics.open("rb") as stream:
        stream.seek(seen)
        text = stream.read()
    text = text[: text.rfind(b"\n") + 1]
    rows = [json.loads(line) for line in text.splitlines()]
    for step, group in itertools.groupby(rows, key=lambda row: row["step"]):
        report(step, {row["name"]: math.nan if row["value"] is None else row["value"] for row in group})
    return seen + len(text)


def find_cause(error: BaseException) -> BaseException:
    """The error that a worker raised, out of what Train wraps around it; its peers fail too, of a lost connection."""
    failures = sorted(error.worker_failures.items()) if isinstance(error, WorkerGroupError) else [(None, error)]
    causes = [(rank, _unwrap(failure)) for rank, failure in failures]
    for _, cause in causes:
        if isinstance(cause, OpticalError):
            return cause
    for rank, cause in causes:
        if isinstance(cause, (RayActorError, OutOfMemoryError, WorkerHealthCheckTimeoutError, WorkerGroupStartupFailedError)):
            return WorkerDied(f"worker {rank} died (killed, out of memory, or crashed); run it again to resume from the last checkpoint")
    others = [cause for _, cause in causes if not _is_lost_connection(cause)]
    if others:
        return others[0]
    ranks = ", ".join(str(rank) for rank, _ in causes)
    return WorkerDied(f"worker {ranks} lost its connection to another one, which died or cannot be reached; run it again to resume")


def _is_lost_connection(error: BaseException) -> bool:
    """Raised by a collective operation whose peer is gone: NCCL has a class for it, gloo names itself."""
    return isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def _unwrap(error: BaseException) -> BaseException:
    while True:
        wrapped = ("_base_exc", "health_check_failure")
        found = (getattr(error, name) for name in wrapped if isinstance(getattr(error, name, None), BaseException))
        inner = error.cause if isinstance(error, RayTaskError) else next(found, None)
        if inner is None:
            return error
        if trace := getattr(error, "_traceback_str", None):
            inner.add_note(trace)
        error = inner


# ---- on a worker


class _Stopped(Exception):
    """The caller asked for the end."""


def _work(config: Mapping[str, Any]) -> None:
    """What one data-parallel worker does."""
    with contextlib.suppress(FileNotFoundError):  # Train moves to a folder of its own; relative paths of a recipe are the driver's
        os.chdir(config["cwd"])
    start_reader(ray.train.get_context().get_world_size())
    worker: Worker = pickle.loads(config["worker"])
    resources = Resources.parse(config["resources"], "resources")
    folder = TrialFolder(Path(config["folder"]))
    context = ray.train.get_context()
    device = str(ray.train.torch.get_device()) if resources.device == "cuda" else "cpu"
    parallel = Parallel(context.get_world_rank(), context.get_world_size(), device)
    assert parallel.workers == resources.workers

    def look_for_stop(step: int, metrics: Mapping[str, float]) -> None:
        if (folder.path / SCRATCH / STOP).exists():
            raise _Stopped(f"at step {step}")

    worker(resources, Store(Path(config["store"])), folder, look_for_stop, parallel, read_rank)
