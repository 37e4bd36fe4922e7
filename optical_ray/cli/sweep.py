"""optical sweep FILE, and python FILE"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import shlex
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from optical_ray.artifacts import Store
from optical_ray.cli.progress import SweepView, make_console, minutes, status_line
from optical_ray.cli.record import record
from optical_ray.cli.report import print_report
from optical_ray.config import dotted_changes, parse_override
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.errors import ConfigError, OpticalError
from optical_ray.languages.sets import choose_languages, order_pool
from optical_ray.pretraining.prepare import prepare_pretraining
from optical_ray.recipe import Recipe
from optical_ray.retrieval.tasks import build_tasks
from optical_ray.runs.folder import RunFolder
from optical_ray.stages import prepare
from optical_ray.sweep import Choice, GridPart, Part, SearchPart, Sweep, describe_part


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
        return {*part.changes, *part.space}
    fields = set(part.changes)
    for name, values in part.axes.items():
        chosen = [set(value.changes) if isinstance(value, Choice) else {name} for value in values]
        fields |= set.intersection(*chosen)
    return fields


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


def run_sweep_options(sweep: Sweep, options: argparse.Namespace, file: str) -> int:
    """Everything the command does; returns the exit status."""
    console = make_console()
    sweep = with_base(sweep, options.overrides)
    run = RunFolder(options.out / sweep.folder_name)
    chosen = with_trials(sweep, options.trials)
    if options.dry_run:
        _print_trials(console, chosen, run)
        return 0
    if options.concurrent is not None and options.concurrent < 1:
        raise ConfigError(f"--concurrent {options.concurrent}: expected at least 1")
    command = shlex.join(["optical", "sweep", file, *options.overrides, *_same_options(options)])
    if _is_finished(run, chosen):
        console.print(f"All {chosen.num_trials} trials are finished already.")
        print_report(run.path)
        return 0
    _check_begun(sweep, chosen, run, options, command)
    from optical_ray.orchestration.session import ray_session
    from optical_ray.orchestration.tune import run_sweep

    store = Store(options.store)
    concurrent = options.concurrent or chosen.concurrent_trials
    console.print(f"{sweep.question}\n{chosen.num_trials} trials, {concurrent} at a time, in {run.path}", soft_wrap=True, highlight=False)

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True, highlight=False)

    with ray_session(options.address, chosen.resources, concurrent, options.wait, tell) as session:
        if session.notice:
            console.print(session.notice, soft_wrap=True)
        _prepare(console, chosen, store)
        if not (run.path / "sweep.json").is_file():
            run.write_sweep(record(sweep))
        with SweepView(console) as view:
            outcome = run_sweep(chosen, run, store, concurrent_trials=concurrent, progress=view.show)
    print_report(run.path)
    console.print(f"Trials took {minutes(outcome.seconds)}.")
    for trial_id, line in outcome.failed:
        console.print(f"Failed: {trial_id}: {line}", style="red", soft_wrap=True, highlight=False)
    if outcome.invalid:
        point, reason = outcome.invalid[0]
        console.print(f"{len(outcome.invalid)} searched points gave no recipe, first {point}: {reason}", soft_wrap=True, highlight=False)
    if outcome.unfinished:
        console.print(f"{len(outcome.unfinished)} trials are not finished. To finish them: {command} --resume", soft_wrap=True)
    if outcome.interrupted:
        return 130
    return 1 if outcome.failed or outcome.unfinished else 0


def _same_options(options: argparse.Namespace) -> list[str]:
    """The options that a second call needs to mean the same run."""
    names = ("trials", "concurrent", "address", "out", "store")
    defaults = {"out": Path("runs"), "store": Path("artifacts")}
    given = {name: getattr(options, name) for name in names if getattr(options, name) != defaults.get(name)}
    return [word for name, value in given.items() for word in (f"--{name}", str(value))]


def _is_finished(run: RunFolder, sweep: Sweep) -> bool:
    """True when every grid trial and as many others as the searches ask for have finished."""
    if not (run.path / "sweep.json").is_file():
        return False
    run.read_sweep()
    finished = {trial.trial_id for trial in run.trials() if (status := trial.read_status()) is not None and status.state == "finished"}
    planned = sweep.planned().keys()
    searched = sum(part.num_trials for part in sweep.parts if isinstance(part, SearchPart))
    return planned <= finished and len(finished - planned) >= searched


def _check_begun(sweep: Sweep, chosen: Sweep, run: RunFolder, options: argparse.Namespace, command: str) -> None:
    """Refuse to resume what was not begun, and to begin again what was.

    Raises:
        ConfigError: with the command that does what was probably meant.
    """
    begun = any(run.trials())
    if options.resume and not begun:
        others = sorted(path.name for path in options.out.glob(f"{sweep.name}-*") if (path / "sweep.json").is_file() and path != run.path)
        found = (
            f"; there is {', '.join(others)}, of another version of the file: {_differences(sweep, options.out / others[-1])}"
            if others
            else ""
        )
        raise ConfigError(f"{run.path}: no such run to resume{found}; run without --resume to start it")
    if begun and not options.resume:
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
    return [{key: value for key, value in part.items() if key != "trial_ids"} for part in json.loads(json.dumps(parts))]


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, dict):
        return {
            name: leaf for key, child in value.items() for name, leaf in _flat(child, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    if isinstance(value, list) and any(isinstance(child, dict | list) for child in value):
        return {name: leaf for i, child in enumerate(value) for name, leaf in _flat(child, f"{prefix}.{i}").items()}
    return {prefix: value}


def _prepare(console: Console, sweep: Sweep, store: Store) -> None:
    """Build what all trials share before the first one starts: the corpus as a Ray Data job, tokenizers, teacher tokens.

    Pre-trained encoders are not among it: each is built by the first trial that wants it, so that several are built at a time.
    """
    from optical_ray.orchestration.data_job import map_tasks
    from optical_ray.orchestration.encode_job import ActorPool

    encoders = ActorPool.fill_cluster(sweep.resources)
    recipes = [sweep.base, *sweep.planned().values()]
    shared: dict[str, Recipe] = {}
    for recipe in recipes:
        plain = recipe.to_dict()
        text = {name: plain["pretraining"][name] for name in ("corpus", "languages", "mixing")}
        key = json.dumps(
            [plain["corpus"], plain["tokenizer"], plain["teacher"], plain["student"]["init"], sorted(plain["languages"]["pool"]), text]
        )
        shared.setdefault(key, recipe)
    pretrainings = {
        json.dumps(
            [*(recipe.to_dict()[name] for name in ("corpus", "tokenizer", "student", "languages")), recipe.pretraining.to_dict()]
        ): recipe
        for recipe in recipes
        if recipe.pretraining.training.max_steps > 0
    }
    with status_line(console, "prepare") as show_line:
        for recipe in shared.values():
            prepare(recipe, store, show_line, map_tasks, encoders, pretrain=None)
        for recipe in pretrainings.values():
            prepare_pretraining(recipe, store, show_line, map_tasks)
        for recipe in recipes:  # a set larger than its pool is found now, not in the middle of the night
            corpus = build_corpus(store, recipe.corpus)
            build_tasks(
                corpus, recipe.evaluation.languages or order_pool(recipe.languages, corpus.pairs("train")), recipe.evaluation, "valid"
            )
            choose_languages(recipe.languages, corpus.pairs("train"))


def _print_trials(console: Console, sweep: Sweep, run: RunFolder) -> None:
    from optical_ray.orchestration.planned import grid_trials

    console.print(f"{sweep.question}\nExpectation: {sweep.expectation}", soft_wrap=True, highlight=False)
    table = Table("part", "trial", "what", "steps", title=f"{run.path}: {sweep.num_trials} trials", title_justify="left")
    for part in sweep.parts:
        if isinstance(part, GridPart):
            for trial in grid_trials(part, sweep.base):
                table.add_row(part.name, trial.trial_id, trial.label, str(trial.recipe.training.max_steps))
        else:
            space = ", ".join(f"{name} in {_range(row)}" for name, row in describe_part(part)["space"].items())
            steps = str(sweep.base.override(part.changes).training.max_steps)
            table.add_row(part.name, f"{part.num_trials} by {part.sampler}", space, steps)
    console.print(table)


def _range(row: dict[str, object]) -> str:
    return str(row["values"]) if "values" in row else f"{row['low']}..{row['high']}{' (log)' if row['kind'] == 'LogUniform' else ''}"
