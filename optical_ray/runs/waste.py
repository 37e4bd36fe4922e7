"""What a run could do without, and what is lost with it. Found first, removed on demand; never of a trial that some process works on."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from optical_ray.errors import OpticalError
from optical_ray.runs.comparable import group_by_question, judged_on
from optical_ray.runs.disk import tree_bytes
from optical_ray.runs.folder import OPTIMIZER, RunFolder, TrialFolder, read_object
from optical_ray.runs.locks import is_held

DROPPED = ".dropped-"
"""How the name of a folder begins that is being removed: renamed first, so that no reader ever meets a part of it."""
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Waste:
    """Something that can go."""

    path: Path
    bytes: int
    what: str
    """`optimizer state`, `student`, ...: the same word for all of a kind."""
    lost: str
    """What cannot be done without it."""
    trial: TrialFolder | None = None
    """Whose it is; it is removed under that trial's lock."""


def find_waste(run: RunFolder, keep_best: int | None = None) -> list[Waste]:
    """What of a run can go: by default only what nothing will ever read again.

    Args:
        run: Whose.
        keep_best: Also the students of finished trials beyond this many, the best by validation being kept, of those that were judged on
            the same languages; and the checkpoints of trials that a scheduler has ended. Metrics, test rows and report stay; a student
            whose test rows are not there, whole, stays too.

    Raises:
        RunFolderError: no such run.
    """
    run.read_sweep()
    idle = is_held(run.driver_lock) is False
    found: list[Waste] = []
    finished: list[tuple[float, TrialFolder, str]] = []
    for path in sorted((run.path / "trials").glob("*")):
        trial = TrialFolder(path)
        try:
            status = trial.read_status()
        except OpticalError:
            continue  # whose state is not known, keeps all it has
        if status is None or is_held(trial.lock) is not False:
            continue
        if status.state in ("finished", "pruned"):
            found += _optimizers(trial)
        if status.state == "finished":
            finished.append((-float("inf") if status.objective is None else status.objective, trial, _question(trial)))
        if status.state == "pruned" and keep_best is not None:
            found += _students(trial, "checkpoint of a pruned trial", "its student, as it was when the scheduler ended it")
        if idle:
            found += _leftovers(trial.path, trial)
            found += _leftovers(trial.checkpoint, trial)
    if keep_best is not None:
        finished.sort(key=lambda each: (-each[0], each[1].trial_id))
        for group in group_by_question(finished, lambda each: each[2]):
            for _, trial, _ in group[keep_best:]:
                if _has_rows(trial):
                    found += _students(trial, "student", "exporting it, and judging it on other tasks")
    if idle:
        found += [*_leftovers(run.path, None), *_leftovers(run.tasks, None)]
    return _without_inner(found)


def remove(waste: Waste) -> bool:
    """Remove it; False: some process works on the trial by now, and it stays."""
    with contextlib.ExitStack() as stack:
        if waste.trial is not None:
            lock = FileLock(waste.trial.lock)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
            stack.callback(lock.release)
        remove_tree(waste.path)
    return True


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder so that nobody ever finds a part of it under its name."""
    if path.is_dir() and not path.is_symlink():
        aside = path if path.name.startswith(DROPPED) else path.with_name(f"{DROPPED}{path.name}-{os.getpid()}")
        if aside != path:
            os.replace(path, aside)
        shutil.rmtree(aside)
    else:
        path.unlink(missing_ok=True)


def _optimizers(trial: TrialFolder) -> Iterator[Waste]:
    for path in sorted(trial.checkpoint.glob(f"*/{OPTIMIZER}")):
        yield Waste(path, tree_bytes(path), "optimizer state", NOTHING, trial)


def _students(trial: TrialFolder, what: str, lost: str) -> Iterator[Waste]:
    for path in sorted(trial.checkpoint.glob("*")):
        if path.is_dir() and not path.name.startswith("."):
            yield Waste(path, tree_bytes(path), what, lost, trial)


def _leftovers(folder: Path, trial: TrialFolder | None) -> Iterator[Waste]:
    """Files and folders that a killed process was writing: all of ours are named `.<target>.<something>` until they are whole."""
    for path in sorted(folder.glob(".*")):
        named_after = path.name.startswith(DROPPED) or path.suffix == ".scratch" or path.name.rpartition(".")[2].isdigit()
        if named_after:
            yield Waste(path, tree_bytes(path), "left half-written", NOTHING, trial)


def _question(trial: TrialFolder) -> str:
    """What it was judged on; of a trial whose recipe cannot be read, a question of its own."""
    try:
        return judged_on(read_object(trial.recipe))
    except (OSError, OpticalError):
        return trial.trial_id


def _has_rows(trial: TrialFolder) -> bool:
    try:
        return bool(pq.read_metadata(trial.queries).num_rows)
    except (OSError, pa.ArrowInvalid):
        return False


def _without_inner(found: list[Waste]) -> list[Waste]:
    """Without what lies in a folder that goes as a whole."""
    whole = {waste.path for waste in found}
    return [waste for waste in found if not whole & set(waste.path.parents)]
