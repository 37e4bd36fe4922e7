"""A sweep on Ray: Tune runs `run_trial` in actors that are used again, Optuna's study lies on disk, files say what is done.

Started again over the same run folder, the same call resumes, extends and retries; `Tuner.restore` is not used (DESIGN.md, decision 13).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from filelock import FileLock, Timeout
from ray import tune
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError, RayError, RayTaskError

from optical_ray.artifacts import Store, explain_full_disk
from optical_ray.errors import ConfigError, ResourceError
from optical_ray.orchestration.actor import RunTrial, work
from optical_ray.orchestration.progress import ProgressClock, SweepProgress
from optical_ray.orchestration.room import DRIVER_CPUS, trials_of_cluster
from optical_ray.orchestration.scheduler import HalvingScheduler, WallTime, close_pruned
from optical_ray.orchestration.search import SweepSearch
from optical_ray.orchestration.watcher import Watcher, trial_id_of
from optical_ray.recipe import Resources
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import SearchPart, Sweep


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """Where a sweep stands when Tune has returned. The results themselves are in the run folder."""

    finished: tuple[str, ...]
    """Trial ids, in order of part and point."""
    failed: tuple[tuple[str, str], ...]
    """(trial id, one line) of trials whose status is failed."""
    unfinished: tuple[str, ...]
    """Trials that were planned or begun and are none of these."""
    pruned: tuple[str, ...]
    """Trial ids that a scheduler ended: they have curves, no test rows."""
    invalid: tuple[tuple[str, str], ...]
    """(part and point, reason) of points, each once, that a search drew in any start and that give no recipe; it drew others for them."""
    interrupted: bool
    """True after SIGINT: the same call finishes the rest."""
    stopped: tuple[str, ...]
    """Stop rules that ended the sweep, or a part of it, before its last trial; a line each."""
    seconds: float


def run_sweep(
    sweep: Sweep,
    run: RunFolder,
    store: Store,
    *,
    resources: Resources | None = None,
    concurrent_trials: int | None = None,
    num_trials: Mapping[str, int] | None = None,
    retry_failed: bool = False,
    progress: Callable[[SweepProgress], None] | None = None,
    progress_seconds: float = 1.0,
    run_trial: RunTrial | None = None,
    trackers: Sequence[tune.Callback] = (),
    begin: Callable[[], None] | None = None,
) -> SweepOutcome:
    """Run every trial of the sweep that is not finished yet, inside a `ray_session`.

    Grid points run in their order, then the search parts. A trial that fails leaves the others alone. SIGINT once ends the sweep cleanly.

    Args:
        sweep: What to run.
        run: Its folder, new or begun; on a cluster every node must see it, and the store.
        store: Artifacts, shared by the trials.
        resources: Of each trial; None: the sweep's.
        concurrent_trials: Trials at a time; None: the sweep's, and where that has none either, as many as the cluster has room for.
        num_trials: By search part, in place of the part's own number: how a finished search is extended.
        retry_failed: Also run trials again whose status is failed; else they stay as they are.
        progress: Told how far the sweep is, about every `progress_seconds`, from the driver's main loop.
        progress_seconds: See above.
        run_trial: Stands in for `optical_ray.trial.run_trial`.
        trackers: Further callbacks of Tune (`trackers.make_trackers`).
        begin: Called first, once the run is this process's alone: whatever changes its files belongs there.

    Raises:
        ConfigError: `num_trials` names no search part; or a search drew nothing but invalid points, which is told when all else has run.
        ResourceError: another process is running this sweep.
        ArtifactError: the run's disk is full, or read-only.
    """
    started = time.monotonic()
    sweep = _with_trials(sweep, num_trials or {})
    resources = resources or sweep.resources
    concurrent = concurrent_trials or sweep.concurrent_trials or trials_of_cluster(resources)
    run = RunFolder(run.path.resolve())
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _only_driver(run), explain_full_disk(run.path):
        if begin is not None:
            begin()
        search = SweepSearch(sweep, run, concurrent, retry_failed)
        _close_pruned(search, run)  # what a killed driver left open
        before = _standing(search, run)
        done_before = len(before.finished) + len(before.pruned)
        clock = ProgressClock(run, done_before + search.remaining, done_before, concurrent)
        watcher = Watcher(run, clock, progress, progress_seconds, trackers, search.is_restarted)
        try:
            if search.remaining:
                with _quiet_tune(), lost_processes_are_deaths():
                    _fit(_tuner(sweep, run, store, resources, concurrent, search, watcher, run_trial))
        finally:
            watcher.mark_stopped()
            search.settle()
            _close_pruned(search, run)  # a worker of a group may have written once more before it ended
        if progress is not None:
            progress(clock.read())
        now = _standing(search, run)
        if search.given_up is not None:
            raise search.given_up
        interrupted = search.outstanding > 0 and not search.stopped.keys() & {"max_minutes", "max_failed"}
        lines = tuple(search.stopped.values())
        seconds = time.monotonic() - started
        invalid = tuple(search.invalid())
        return SweepOutcome(now.finished, now.failed, now.unfinished, now.pruned, invalid, interrupted, lines, seconds)


def _close_pruned(search: SweepSearch, run: RunFolder) -> None:
    for trial_id in search.pruned():
        close_pruned(run.trial(trial_id))


def _with_trials(sweep: Sweep, num_trials: Mapping[str, int]) -> Sweep:
    known = [part.name for part in sweep.parts if isinstance(part, SearchPart)]
    for name in num_trials:
        if name not in known:
            raise ConfigError(
                f"sweep {sweep.name!r}: no search part {name!r} whose number of trials could be set; it has {', '.join(known) or 'none'}"
            )
    parts = tuple(
        dataclasses.replace(part, num_trials=num_trials.get(part.name, part.num_trials)) if isinstance(part, SearchPart) else part
        for part in sweep.parts
    )
    return dataclasses.replace(sweep, parts=parts)


@contextlib.contextmanager
def _only_driver(run: RunFolder) -> Iterator[None]:
    run.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run.driver_lock)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ResourceError(f"{run.path}: another process is running this sweep; wait for it, or stop it first") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _quiet_tune() -> Iterator[None]:
    """Tune tells every failure three times over; the watcher logs it once, and error.txt keeps the traceback."""
    logger = logging.getLogger("ray.tune")
    level, output = logger.level, os.environ.get("RAY_AIR_NEW_OUTPUT")
    logger.setLevel(logging.CRITICAL)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output prints failures even at verbose=0
    try:
        yield
    finally:
        logger.setLevel(level)
        if output is None:
            del os.environ["RAY_AIR_NEW_OUTPUT"]
        else:
            os.environ["RAY_AIR_NEW_OUTPUT"] = output


@contextlib.contextmanager
def lost_processes_are_deaths() -> Iterator[None]:
    """Have Tune take a process that Ray's memory monitor killed for one that died.

    Ray 2.60 tells of it by an OutOfMemoryError, which is no RayActorError, and Tune then ends the whole sweep with "Caught unexpected
    exception" (`ray/air/execution/_internal/actor_manager.py`), as by any other error of Ray that is no death and not what a task raised.
    """
    original = RayActorManager._actor_task_failed

    def task_failed(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayActorError | RayTaskError):
            exception = RayActorError(error_msg=str(exception))
        original(manager, tracked_actor_task, exception)

    RayActorManager._actor_task_failed = task_failed
    try:
        yield
    finally:
        RayActorManager._actor_task_failed = original


def _tuner(
    sweep: Sweep,
    run: RunFolder,
    store: Store,
    resources: Resources,
    concurrent: int,
    search: SweepSearch,
    watcher: Watcher,
    run_trial: RunTrial | None,
) -> tune.Tuner:
    def trial(config: dict[str, Any]) -> None:
        work(config, run_trial)

    alone = {"CPU": float(resources.threads), "GPU": resources.gpus_per_worker}
    bundle = alone if resources.workers == 1 else {"CPU": DRIVER_CPUS}
    return tune.Tuner(
        tune.with_resources(trial, tune.PlacementGroupFactory([bundle])),
        param_space={
            "run": str(run.path),
            "store": str(store.root.resolve()),
            "cwd": str(Path.cwd()),
            "resources": resources.to_dict(),
            "metric": sweep.metric,
            "hang_seconds": None if sweep.hang_minutes is None else 60 * sweep.hang_minutes,
        },
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=HalvingScheduler(search) if search.halves else None,
            num_samples=search.remaining * (1 + sweep.restarts),
            max_concurrent_trials=concurrent,
            reuse_actors=True,
            trial_name_creator=trial_id_of,
            trial_dirname_creator=trial_id_of,
        ),
        run_config=tune.RunConfig(
            name=run.ray.name,
            storage_path=str(run.ray.parent),
            stop=None if sweep.stop.max_minutes is None else WallTime(search),
            verbose=0,
            callbacks=[watcher, *watcher.loggers],
        ),
    )


def _fit(tuner: tune.Tuner) -> None:
    """Run it. Tune makes a text of what a callback of ours raises, a full disk say: that error itself is raised here."""
    try:
        tuner.fit()
    except tune.TuneError as error:
        cause = error.__context__
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__context__
        raise cause or error from None


class _Standing(NamedTuple):
    """Trial ids by what their status files say."""

    finished: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    pruned: tuple[str, ...]
    unfinished: tuple[str, ...]
    """None of these."""


def _standing(search: SweepSearch, run: RunFolder) -> _Standing:
    found: dict[str, list[str]] = {"finished": [], "pruned": [], "unfinished": []}
    failed = []
    for trial_id in dict.fromkeys(trial.trial_id for trial in search.trials()):
        status = run.trial(trial_id).read_status()
        if status is not None and status.state == "failed":
            failed.append((trial_id, status.error or ""))
        else:
            state = status.state if status is not None and status.state in found else "unfinished"
            found[state].append(trial_id)
    return _Standing(tuple(found["finished"]), tuple(failed), tuple(found["pruned"]), tuple(found["unfinished"]))
