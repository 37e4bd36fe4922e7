"""How a run stands at one moment: read from its folder alone, while it is written, killed, old or damaged."""

from __future__ import annotations

import datetime
import json
import math
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from optical_ray.errors import OpticalError, RunFolderError
from optical_ray.runs.comparable import group_by_question, judged_on
from optical_ray.runs.folder import RunFolder, TrialFolder, read_object
from optical_ray.runs.labels import UNPLANNED, TrialNames
from optical_ray.runs.locks import is_held
from optical_ray.runs.names import LOSS, STEP_SECONDS
from optical_ray.runs.schemas import SweepRecord, TrialStatus
from optical_ray.runs.tail import last_values

SILENT_SECONDS = 60.0
"""Without a sign of life, until a trial that nobody holds the lock of is called dead."""
UNREADABLE = "unreadable"
"""The state of a trial whose status file is damaged."""


@dataclass(frozen=True, slots=True)
class TrialStanding:
    """One trial that has begun."""

    trial_id: str
    part: str
    label: str
    state: str
    """As in status.json; `pending` without one; `unreadable`."""
    step: int = 0
    max_steps: int = 0
    """0: not known yet, or the untrained control."""
    loss: float | None = None
    """`loss/total` of the last report."""
    objective: float | None = None
    """What searches see: `valid/Success@1` of the last validation."""
    seconds: float = 0.0
    """Wall time so far, over all starts, as far as it is written down."""
    seconds_left: float | None = None
    """Of a running trial, to its end, or to its last step while no trial of the run has been evaluated. An estimate."""
    resources: Mapping[str, Any] | None = None
    silent_seconds: float | None = None
    """Since the last sign of life; None: there was none."""
    dead: bool = False
    """It says running, has long been silent, and neither it nor a driver holds its lock."""
    attempts: int = 0
    verdicts: tuple[str, ...] = ()
    error: str | None = None
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    judged_on: str = ""
    """Trials that share it have an `objective` of the same validation questions."""


@dataclass(frozen=True, slots=True)
class PartStanding:
    """One part of the sweep."""

    name: str
    kind: str
    """grid | search | unplanned"""
    planned: int
    states: Mapping[str, int]
    """Trials by state; those of which nothing is there yet are `planned` less their sum."""


@dataclass(frozen=True, slots=True)
class RunStanding:
    """A run folder at one moment."""

    path: str
    name: str | None
    """None: sweep.json cannot be read."""
    question: str | None
    metric: str | None
    driver: bool | None
    """Whether a driver is at work on it; None: the file system cannot tell."""
    parts: tuple[PartStanding, ...]
    trials: tuple[TrialStanding, ...]
    """By part, then in the order of their start."""
    total: int
    """Planned, or more where more have begun."""
    seconds_left: float | None
    """Of the whole run, at as many trials at a time as run now. An estimate; None: nothing to estimate it from."""
    resume: str | None
    """The command that goes on with it."""
    problems: tuple[str, ...]
    """What cannot be read, in words."""

    def count(self, state: str) -> int:
        return sum(trial.state == state for trial in self.trials)

    @property
    def waiting(self) -> int:
        """Trials of which nothing is there yet."""
        return self.total - len(self.trials)

    def best(self, count: int) -> list[list[TrialStanding]]:
        """Up to `count` finished trials by validation metric, the best first, of each group that was judged on the same questions."""
        scored = [trial for trial in self.trials if trial.state == "finished" and trial.objective is not None]
        groups = group_by_question(scored, lambda trial: trial.judged_on)
        return [sorted(group, key=lambda trial: (-(trial.objective or 0.0), trial.trial_id))[:count] for group in groups]


def read_standing(run: RunFolder, now: datetime.datetime | None = None) -> RunStanding:
    """Read a run's folder.

    Args:
        run: Whose.
        now: Ages are counted to here; None: the clock.

    Raises:
        RunFolderError: there is no such folder, or it holds neither sweep.json nor trials. What is in it and cannot be read is a problem.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    problems: list[str] = []
    record = _read_record(run, problems)
    names = TrialNames(record.base if record else {}, record.parts if record else [])
    driver = is_held(run.driver_lock)
    folders = sorted(path for path in (run.path / "trials").glob("*") if path.is_dir())
    found = [_read_trial(TrialFolder(path), names, driver, now, problems) for path in folders]
    done = [status for _, status in found if status is not None and status.state == "finished"]
    evaluate = statistics.median([status.seconds.get("evaluate", 0.0) for status in done] or [0.0])
    trials = [_add_evaluation(trial, evaluate) for trial, _ in found]
    order = {str(part.get("name")): place for place, part in enumerate(record.parts)} if record else {}
    started = {trial.trial_id: (status.started_at if status else None) or "~" for trial, status in found}
    trials.sort(key=lambda trial: (order.get(trial.part, len(order)), started[trial.trial_id], trial.trial_id))
    parts = _read_parts(record, trials)
    total = sum(max(part.planned, sum(part.states.values())) for part in parts)
    stages = ("prepare", "train", "evaluate")
    whole = [sum(status.seconds.get(stage, 0.0) for stage in stages) for status in done if status.max_steps]  # an untrained one is quick
    return RunStanding(
        path=str(run.path),
        name=record.name if record else None,
        question=record.question if record else None,
        metric=record.metric if record else None,
        driver=driver,
        parts=parts,
        trials=tuple(trials),
        total=total,
        seconds_left=estimate_run(trials, total - len(trials), whole),
        resume=_resume_command(record),
        problems=tuple(problems),
    )


def estimate_run(trials: Sequence[TrialStanding], waiting: int, finished_seconds: Sequence[float]) -> float | None:
    """Seconds until everything has run, at as many trials at a time as run now.

    Args:
        trials: Those that have begun.
        waiting: Trials of which nothing is there yet.
        finished_seconds: What each finished trial took.
    """
    running = [trial for trial in trials if trial.state == "running" and not trial.dead]
    again = sum(trial.state in ("pending", "stopped") or trial.dead for trial in trials)
    if not running or any(trial.seconds_left is None for trial in running) or (waiting + again and not finished_seconds):
        return None
    each = statistics.median(finished_seconds) if finished_seconds else 0.0
    return (sum(trial.seconds_left or 0.0 for trial in running) + (waiting + again) * each) / len(running)


def _read_record(run: RunFolder, problems: list[str]) -> SweepRecord | None:
    try:
        return run.read_sweep()
    except OpticalError as error:
        if not (run.path / "trials").is_dir() and not (run.path / "sweep.json").is_file():
            raise
        problems.append(str(error))
        return None


def _read_json(path: Path, problems: list[str]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return read_object(path)
    except RunFolderError as error:
        problems.append(str(error))
        return None


def _read_trial(
    folder: TrialFolder, names: TrialNames, driver: bool | None, now: datetime.datetime, problems: list[str]
) -> tuple[TrialStanding, TrialStatus | None]:
    recipe = _read_json(folder.recipe, problems)
    named = names.name(folder.trial_id, recipe)
    try:
        status = folder.read_status()
    except OpticalError as error:
        problems.append(str(error))
        return TrialStanding(folder.trial_id, named.part, named.label, UNREADABLE), None
    if status is None:
        return TrialStanding(folder.trial_id, named.part, named.label, "pending"), None
    try:
        said = last_values(folder.metrics, (LOSS, STEP_SECONDS))
    except OSError as error:
        problems.append(f"{folder.metrics}: cannot be read ({error.strerror or error})")
        said = {}
    silent = _silence(folder, status, now)
    held = (driver, is_held(folder.lock))
    dead = status.state == "running" and held == (False, False) and silent is not None and silent > SILENT_SECONDS
    seconds = sum(value for stage, value in status.seconds.items() if stage != "validate")
    standing = TrialStanding(
        trial_id=folder.trial_id,
        part=named.part,
        label=named.label,
        state=status.state,
        step=status.step,
        max_steps=status.max_steps,
        loss=said.get(LOSS),
        objective=status.objective,
        seconds=seconds,
        seconds_left=steps_left_seconds(status, said.get(STEP_SECONDS), recipe) if status.state == "running" and not dead else None,
        resources=_read_json(folder.resources, problems),
        silent_seconds=silent,
        dead=dead,
        attempts=status.attempts,
        verdicts=tuple(status.verdicts),
        error=status.error,
        cpu_seconds=status.cpu_seconds,
        gpu_seconds=status.gpu_seconds,
        judged_on=judged_on(recipe),
    )
    return standing, status


def steps_left_seconds(status: TrialStatus, step_seconds: float | None, recipe: Mapping[str, Any] | None) -> float | None:
    """Seconds to a trial's last step: steps at the pace of its last report, validations at that of its earlier ones.

    Args:
        status: The trial's.
        step_seconds: Of its last report; None: it has made no step yet.
        recipe: As plain data; None: the validations to come are left out.
    """
    if status.max_steps == 0 or step_seconds is None:
        return None
    left = max(0, status.max_steps - status.step)
    every = (recipe or {}).get("training", {}).get("validate_every")
    validations = 0.0
    if isinstance(every, int) and every > 0:
        done = 1 + status.step // every  # the first is of the start
        to_come = math.ceil(status.max_steps / every) - status.step // every if left else 0
        validations = to_come * status.seconds.get("validate", 0.0) / done
    return left * step_seconds + validations


def _add_evaluation(trial: TrialStanding, seconds: float) -> TrialStanding:
    return trial if trial.seconds_left is None else replace(trial, seconds_left=trial.seconds_left + seconds)


def _silence(folder: TrialFolder, status: TrialStatus, now: datetime.datetime) -> float | None:
    """Seconds since anything of the trial was written."""
    signs = []
    for text in (status.updated_at, status.started_at):
        try:
            signs.append(datetime.datetime.fromisoformat(text or "").timestamp())
        except ValueError:
            continue
    for path in (folder.metrics, folder.checkpoint):
        try:
            signs.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(0.0, now.timestamp() - max(signs)) if signs else None


def _read_parts(record: SweepRecord | None, trials: Sequence[TrialStanding]) -> tuple[PartStanding, ...]:
    counts: dict[str, dict[str, int]] = {}
    for trial in trials:
        states = counts.setdefault(trial.part, {})
        states[trial.state] = states.get(trial.state, 0) + 1
    parts, taken = [], set[str]()
    for part in record.parts if record else []:
        name = str(part.get("name"))
        ids = {str(trial_id) for trial_id in part.get("trial_ids") or []} - taken  # a recipe of two parts runs once, in the first
        taken |= ids
        planned = len(ids) if part.get("trial_ids") else int(part.get("num_trials") or 0)
        parts.append(PartStanding(name, str(part.get("kind")), planned, counts.pop(name, {})))
    return (*parts, *(PartStanding(name, UNPLANNED, 0, states) for name, states in counts.items()))


def _resume_command(record: SweepRecord | None) -> str | None:
    words = record.provenance.get("command") if record else None
    if not isinstance(words, list) or not words:
        return None
    words = [str(word) for word in words]
    words = words if words[0] == "optical" else ["python", *words]
    trains = words[:2] == ["optical", "train"]  # goes on by itself
    return shlex.join(words if trains or "--resume" in words else [*words, "--resume"])


def to_plain(standing: RunStanding) -> dict[str, Any]:
    """Plain data for JSON, with what is derived."""
    states = {trial.state for trial in standing.trials}
    derived = {"states": {state: standing.count(state) for state in sorted(states)}, "waiting": standing.waiting}
    plain: dict[str, Any] = json.loads(json.dumps(asdict(standing)))
    return plain | derived
