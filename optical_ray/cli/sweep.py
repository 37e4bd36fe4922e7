"""optical sweep FILE, and python FILE"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import math
import os
import shlex
import traceback
from collections.abc import Sequence
from pathlib import Path

from optical_ray.artifacts import Store
from optical_ray.cli.progress import SweepView, make_console, minutes, status_line
from optical_ray.cli.resume import check_begun, choose_trials, describe_end, write_record
from optical_ray.config import dotted_changes, parse_override
from optical_ray.errors import ConfigError, OpticalError
from optical_ray.runs.folder import RunFolder
from optical_ray.space import Conditional
from optical_ray.sweep import Choice, Part, SearchPart, Sweep

NEEDED = ("optical_ray.cli.start", "optical_ray.orchestration.tune")
"""What a sweep imports while Ray starts."""


def load_sweep(path: Path) -> Sweep:
    """The SWEEP of a Python file.

    Raises:
        ConfigError: no such file, the file raises (with its line), or it has no SWEEP.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a sweep file, such as sweeps/quickstart.py")
    spec = importlib.util.spec_from_file_location(f"optical_sweep_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = (error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else 1) or 1
        reason = str(error).replace("\n", " ")
        raise ConfigError(
            f"{path}, line {line}: {reason if isinstance(error, OpticalError) else f'{type(error).__name__}: {reason}'}"
        ) from error
    sweep = getattr(module, "SWEEP", None)
    if not isinstance(sweep, Sweep):
        raise ConfigError(f"{path}: has no SWEEP = Sweep(...); found {type(sweep).__name__}")
    return sweep


def sweep_file(options: argparse.Namespace) -> int:
    """Run the file's sweep."""
    return run_sweep_options(load_sweep(options.file), options, str(options.file))


def with_base(sweep: Sweep, overrides: Sequence[str]) -> Sweep:
    """The sweep with fields of its base recipe replaced: the same question asked of other data, in a run folder of its own.

    Args:
        overrides: `FIELD=VALUE` each. What a part sets itself stays as the part says.

    Raises:
        ConfigError: no such field, or every trial of the sweep sets it itself, so that it would be replaced in vain.
    """
    changes = dotted_changes(type(sweep.base), dict(parse_override(text) for text in overrides))
    if vain := sorted(changes.keys() & set.intersection(*(_set_by(part) for part in sweep.parts))):
        raise ConfigError(f"{', '.join(vain)}: every part of the sweep sets it itself; edit the file, or leave it out")
    return dataclasses.replace(sweep, base=sweep.base.override(changes)) if changes else sweep


def _set_by(part: Part) -> set[str]:
    """The fields that every trial of a part sets itself."""
    if isinstance(part, SearchPart):
        return {*part.changes, *(name for name, dimension in part.space.items() if not isinstance(dimension, Conditional))}
    fields = set(part.changes)
    for name, values in part.axes.items():
        chosen = [set(value.changes) if isinstance(value, Choice) else {name} for value in values]
        fields |= set.intersection(*chosen)
    return fields


def run_sweep_options(sweep: Sweep, options: argparse.Namespace, file: str) -> int:
    """Everything the command does; returns the exit status."""
    console = make_console()
    sweep = with_base(sweep, options.overrides)
    run = RunFolder(options.out / sweep.folder_name)
    chosen = choose_trials(sweep, run, options)
    for name in ("concurrent", "keep_best"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {value}: expected at least 1")
    if not 0 <= options.wait < math.inf:
        raise ConfigError(f"--wait {options.wait:g}: expected seconds, 0 or more")
    for name in ("out", "store"):
        if (place := getattr(options, name)).exists() and not place.is_dir():
            raise ConfigError(f"--{name} {place}: a file is there; expected a folder, or a path where one can be made")
    store = Store(options.store)
    concurrent = options.concurrent or chosen.concurrent_trials
    if options.calibrate:
        from optical_ray.forecast.calibration import calibrate  # here, as below: seconds to import, and mistakes are told without

        with status_line(console, "calibrate") as show_line:
            calibrate(chosen.base, chosen.resources, store, show_line)
    if options.dry_run:
        from optical_ray.cli.dry_run import print_trials

        print_trials(console, chosen, run, store, concurrent or chosen.resources.trials_on(os.cpu_count() or 1), options.keep_best)
        return 0
    command = shlex.join(["optical", "sweep", file, *options.overrides, *_same_options(options)])
    if (end := describe_end(run, chosen, options.retry_failed)) is not None:
        console.print(end, soft_wrap=True, highlight=False)
        _print_report(run)
        return 1 if "failed" in end else 0
    check_begun(sweep, chosen, run, options, command)
    from optical_ray.orchestration.session import ray_session

    trackers = []
    if options.wandb or options.mlflow:
        from optical_ray.orchestration.trackers import make_trackers

        trackers = make_trackers(run.path.name, options.wandb, options.mlflow)

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    session_of = ray_session(options.address, chosen.resources, concurrent, chosen.num_trials, options.wait, tell, NEEDED)
    with store.in_use(), session_of as session:
        from optical_ray.cli.start import check_start, keep_best_students, prepare_shared
        from optical_ray.orchestration.tune import run_sweep

        tell(f"{sweep.question}\n{chosen.num_trials} trials, {session.trials} at a time, in {run.path}")
        if session.notice:
            console.print(session.notice, soft_wrap=True)
        check_start(console, chosen, run, store, session, options.keep_best)
        prepare_shared(console, chosen, store)
        with SweepView(console) as view:
            outcome = run_sweep(
                chosen,
                run,
                store,
                concurrent_trials=session.trials,
                retry_failed=options.retry_failed,
                progress=keep_best_students(run, options.keep_best, view.show),
                trackers=trackers,
                begin=lambda: write_record(run, sweep, chosen, extended=options.extend is not None),
            )
    _print_report(run)
    console.print(f"Trials took {minutes(outcome.seconds)}.")
    if outcome.pruned:
        console.print(f"{len(outcome.pruned)} trials were stopped early by their scheduler.", soft_wrap=True)
    for trial_id, line in outcome.failed:
        console.print(f"Failed: {trial_id}: {line}", style="red", soft_wrap=True, highlight=False)
    if outcome.invalid:
        point, reason = outcome.invalid[0]
        console.print(f"{len(outcome.invalid)} searched points gave no recipe, first {point}: {reason}", soft_wrap=True, highlight=False)
    for line in outcome.stopped:
        console.print(f"Stopped: {line}", soft_wrap=True, highlight=False)
    if outcome.unfinished:
        console.print(f"{len(outcome.unfinished)} trials are not finished. To finish them: {command} --resume", soft_wrap=True)
    if outcome.failed:
        console.print(f"To run the failed ones again: {command} --retry-failed", soft_wrap=True)
    if outcome.interrupted:
        return 130
    return 1 if outcome.failed or outcome.unfinished else 0


def _print_report(run: RunFolder) -> None:
    from optical_ray.cli.report import print_report

    print_report(run.path)


def _same_options(options: argparse.Namespace) -> list[str]:
    """The options that a second call needs to mean the same run."""
    names = ("trials", "concurrent", "wait", "keep_best", "wandb", "mlflow", "address", "out", "store")
    defaults = {"wait": 0.0, "out": Path("runs"), "store": Path("artifacts")}
    given = {name: getattr(options, name) for name in names if getattr(options, name) != defaults.get(name)}
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]
