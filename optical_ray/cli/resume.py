"""What a second start of a sweep does: go on, add trials, run failed ones again, or refuse in a line that says what to do."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
from pathlib import Path

from optical_ray.cli.record import record
from optical_ray.errors import ConfigError
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import GridPart, Part, SearchPart, Sweep


def choose_trials(sweep: Sweep, run: RunFolder, options: argparse.Namespace) -> Sweep:
    """The sweep with as many trials as the options ask for: `--trials`, else the file's or an earlier `--extend`'s, and `--extend` more.

    Raises:
        ConfigError: both options, fewer than one trial, or no search part to extend.
    """
    if options.trials is not None and options.extend is not None:
        raise ConfigError(
            f"--trials {options.trials} --extend {options.extend}: one says how many in all, the other how many more; give one"
        )
    if options.trials is not None:
        return with_trials(sweep, options.trials)
    if (run.path / "sweep.json").is_file():
        asked = {part["name"]: part.get("num_trials", 0) for part in run.read_sweep().parts}
        parts = tuple(_with_number(part, max(part.num_trials, asked.get(part.name, 0))) for part in sweep.parts)
        sweep = dataclasses.replace(sweep, parts=parts)
    if options.extend is None:
        return sweep
    if options.extend < 1:
        raise ConfigError(f"--extend {options.extend}: expected at least 1")
    last = max((i for i, part in enumerate(sweep.parts) if isinstance(part, SearchPart)), default=None)
    if last is None:
        raise ConfigError(f"--extend {options.extend}: the sweep has no search part to extend; a grid is extended by editing the file")
    parts = tuple(_with_number(part, part.num_trials + options.extend) if i == last else part for i, part in enumerate(sweep.parts))
    return dataclasses.replace(sweep, parts=parts)


def _with_number(part: Part, num_trials: int) -> Part:
    return dataclasses.replace(part, num_trials=num_trials) if isinstance(part, SearchPart) else part


def with_trials(sweep: Sweep, trials: int | None) -> Sweep:
    """The sweep cut or extended to `trials` in all: grid trials first, the last search part takes what is left.

    Raises:
        ConfigError: fewer than one, or more than a sweep without a search part holds.
    """
    if trials is None:
        return sweep
    if trials < 1:
        raise ConfigError(f"--trials {trials}: expected at least 1")
    left = trials
    parts: list[Part] = []
    last_search = max((i for i, part in enumerate(sweep.parts) if isinstance(part, SearchPart)), default=-1)
    for index, part in enumerate(sweep.parts):
        if isinstance(part, GridPart):
            if part.num_trials > left:
                raise ConfigError(
                    f"--trials {trials}: the grid part {part.name!r} holds {part.num_trials} trials and is not cut "
                    f"({trials - left} stand before it); give at least {trials - left + part.num_trials}, or edit the file"
                )
            left -= part.num_trials
            parts.append(part)
        else:
            count = left if index == last_search else min(left, part.num_trials)
            left -= count
            if count:
                parts.append(dataclasses.replace(part, num_trials=count))
    if left:
        raise ConfigError(f"--trials {trials}: the sweep holds {trials - left} and has no search part to extend")
    return dataclasses.replace(sweep, parts=tuple(parts))


def write_record(run: RunFolder, sweep: Sweep, chosen: Sweep, extended: bool) -> None:
    """sweep.json at the first start; where a search was extended, its new number of trials, so that `--resume` and the report know it."""
    if not (run.path / "sweep.json").is_file():
        run.write_sweep(record(sweep))
    if extended:
        known = run.read_sweep()
        numbers = {part.name: part.num_trials for part in chosen.parts}
        parts = [part | {"num_trials": numbers.get(part["name"], part.get("num_trials"))} for part in known.parts]
        run.write_sweep(known.model_copy(update={"parts": parts}))


def describe_end(run: RunFolder, sweep: Sweep, retry_failed: bool) -> str | None:
    """How all trials ended, in words; None where the sweep was not begun, or trials are left that this start would run."""
    if not (run.path / "sweep.json").is_file():
        return None
    run.read_sweep()
    states: dict[str, str] = {trial.trial_id: status.state for trial in run.trials() if (status := trial.read_status()) is not None}
    planned = sweep.planned().keys()
    ended = {"finished"} | (set() if retry_failed else {"failed"})
    searched = [trial_id for trial_id, state in states.items() if trial_id not in planned and state in (*ended, "pruned")]
    if any(states.get(trial_id) not in ended for trial_id in planned) or (retry_failed and "failed" in states.values()):
        return None
    if len(searched) < sum(part.num_trials for part in sweep.parts if isinstance(part, SearchPart)):
        return None
    count = collections.Counter(states.values())
    if not count["failed"] and not count["pruned"]:
        return f"All {sweep.num_trials} trials are finished already."
    words = {"finished": "finished", "pruned": "stopped early", "failed": "failed (--retry-failed runs those again)"}
    return f"All trials have ended: {', '.join(f'{count[state]} {text}' for state, text in words.items() if count[state])}."


def check_begun(sweep: Sweep, chosen: Sweep, run: RunFolder, options: argparse.Namespace, command: str) -> None:
    """Refuse to go on with what was not begun, and to begin again what was.

    Raises:
        ConfigError: with the command that does what was probably meant.
    """
    begun = any(run.trials())
    goes_on = options.resume or options.retry_failed or options.extend is not None
    if goes_on and not begun and not (run.path / "sweep.json").is_file():
        others = sorted(path.name for path in options.out.glob(f"{sweep.name}-*") if (path / "sweep.json").is_file() and path != run.path)
        found = (
            f"; there is {', '.join(others)}, of another version of the file: {_differences(sweep, options.out / others[-1])}"
            if others
            else ""
        )
        raise ConfigError(f"{run.path}: no such run to resume{found}; run without --resume, --extend and --retry-failed to start it")
    if begun and not goes_on:
        finished = sum(1 for trial in run.trials() if (status := trial.read_status()) is not None and status.state == "finished")
        raise ConfigError(
            f"{run.path}: this sweep was begun, {finished} of {chosen.num_trials} trials are finished; "
            f"to go on: {command} --resume (make sweep RESUME=1 for the shipped one); to start over: delete the folder"
        )


def _differences(sweep: Sweep, other: Path) -> str:
    """Which fields of base and parts differ from another run's."""
    record = RunFolder(other).read_sweep()
    old, new = (
        _flat({"base": record.base, "parts": _comparable(record.parts)}),
        _flat({"base": sweep.base.to_dict(), "parts": _comparable(sweep.describe())}),
    )
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {old.get(name)} -> {new.get(name)}" for name in names[:6]) + (
        f" and {len(names) - 6} more" if len(names) > 6 else ""
    )


def _comparable(parts: list[dict[str, object]]) -> list[dict[str, object]]:
    """But for what does not make another run of it."""
    left_out = {"grid": {"trial_ids"}, "search": {"trial_ids", "num_trials"}}
    plain = json.loads(json.dumps(parts))
    return [{key: value for key, value in part.items() if key not in left_out[part["kind"]]} for part in plain]


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        return {
            name: leaf for key, child in value.items() for name, leaf in _flat(child, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    if isinstance(value, list) and any(isinstance(child, dict | list) for child in value):
        return {name: leaf for i, child in enumerate(value) for name, leaf in _flat(child, f"{prefix}.{i}").items()}
    return {prefix: value}
