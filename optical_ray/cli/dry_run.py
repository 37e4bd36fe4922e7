"""optical sweep FILE --dry-run: the trials and what they will cost. Without Ray, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from optical_ray.artifacts import Store
from optical_ray.cli.progress import minutes
from optical_ray.forecast.disk import SweepDisk, TrialDisk, check_disk, forecast_sweep, forecast_trial, free_bytes
from optical_ray.forecast.duration import Duration, find_duration
from optical_ray.forecast.shards import StoreDisk, forecast_store
from optical_ray.recipe import Recipe
from optical_ray.runs.disk import describe_bytes
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import GridPart, Sweep, describe_part

HOW_TO_TIME = (
    "not known: no trial of this run has finished and no calibration was made; `optical sweep FILE --calibrate` times a few real steps "
    "of the base recipe (it builds what they need first)"
)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the trials of a sweep that are still to run will cost."""

    duration: Duration | None
    """None: not known."""
    seconds: float | None
    disk: SweepDisk
    store: StoreDisk


def forecast(sweep: Sweep, run: RunFolder, store: Store, concurrent: int, keep_best: int | None = None) -> Forecast:
    """Cost of what is open. A search's trials are taken to be as large as its part's recipe before anything is drawn."""
    trials = open_trials(sweep, run)
    duration = find_duration(sweep.base, sweep.resources, store, run)
    seconds = None if duration is None else duration.of_sweep(trials, concurrent)
    recipes = [recipe for recipe, _ in trials]
    return Forecast(duration, seconds, forecast_sweep(trials, concurrent, keep_best), forecast_store(recipes, store))


def open_trials(sweep: Sweep, run: RunFolder) -> list[tuple[Recipe, int]]:
    """Recipes that have not ended, and how many trials each stands for."""
    states = {trial.trial_id: status.state for trial in run.trials() if (status := trial.read_status()) is not None}
    planned = sweep.planned()
    found = [(recipe, 1) for trial_id, recipe in planned.items() if states.get(trial_id) != "finished"]
    searched = sum(state in ("finished", "pruned") for trial_id, state in states.items() if trial_id not in planned)
    for part in sweep.parts:
        if not isinstance(part, GridPart):
            done = min(searched, part.num_trials)
            searched -= done
            if part.num_trials > done:
                found.append((sweep.base.override(part.changes), part.num_trials - done))
    return found


def check_forecast(found: Forecast, run: RunFolder, store: Store) -> None:
    """Refuse a sweep that the disks cannot hold.

    Raises:
        ResourceError: with the numbers.
    """
    check_disk(run.path, store.root, found.disk.peak, found.store.bytes)


def print_trials(console: Console, sweep: Sweep, run: RunFolder, store: Store, concurrent: int, keep_best: int | None = None) -> None:
    """The trials, their cost in time and disk, and what is free."""
    from optical_ray.orchestration.planned import grid_trials

    console.print(f"{sweep.question}\nExpectation: {sweep.expectation}", soft_wrap=True, highlight=False)
    found = forecast(sweep, run, store, concurrent, keep_best)
    table = Table("part", "trial", "what", "steps", "time", "disk", title=f"{run.path}: {sweep.num_trials} trials", title_justify="left")
    for part in sweep.parts:
        if isinstance(part, GridPart):
            for trial in grid_trials(part, sweep.base):
                table.add_row(part.name, trial.trial_id, trial.label, *_cost(trial.recipe, found.duration))
        else:
            space = ", ".join(f"{name} in {_range(row)}" for name, row in describe_part(part)["space"].items())
            recipe = sweep.base.override(part.changes)
            how = f"{part.num_trials} by {part.sampler}" + (" and ASHA" if part.scheduler is not None else "")
            table.add_row(part.name, how, space, *_cost(recipe, found.duration))
    console.print(table)
    for line in describe_forecast(found, sweep, run, store, concurrent, keep_best):
        console.print(line, soft_wrap=True, highlight=False)


def describe_forecast(
    found: Forecast, sweep: Sweep, run: RunFolder, store: Store, concurrent: int, keep_best: int | None = None
) -> list[str]:
    """The cost of what is open, in a line each for time, trials and store."""
    if found.duration is None or found.seconds is None:
        time = HOW_TO_TIME
    else:
        time = f"about {minutes(found.seconds)} for what is open, {concurrent} at a time; from {found.duration.source}"
    to_build = describe_bytes(found.store.bytes) if found.store.bytes or not found.store.unknown else "not known how much"
    students = "the students of all trials" if keep_best is None else f"the best {keep_best} students of those judged on the same languages"
    lines = [
        f"Time: {time}",
        f"Disk of the run: {describe_bytes(found.disk.kept)} in the end ({students}), {describe_bytes(found.disk.peak)} at most while it "
        f"runs; {describe_bytes(free_bytes(run.path))} free",
        f"Disk of the store: {to_build} still to be built; {describe_bytes(free_bytes(store.root))} free",
    ]
    if found.disk.unknown:
        lines.append(f"Not counted: {found.disk.unknown} trials whose student or teacher is a hub id that is not on this machine")
    lines += [f"Not counted: {what}" for what in found.store.unknown]
    pretrained = {str(recipe.pretraining.to_dict()) for recipe, _ in open_trials(sweep, run) if recipe.pretraining.training.max_steps}
    if pretrained:
        lines.append(f"Not counted, in time or disk: {len(pretrained)} pre-trainings, each built once by the first trial that wants it")
    return lines


def _cost(recipe: Recipe, duration: Duration | None) -> Sequence[str]:
    disk: TrialDisk | None = forecast_trial(recipe)
    return (
        str(recipe.training.max_steps),
        "?" if duration is None else minutes(duration.of(recipe)),
        "?" if disk is None else describe_bytes(disk.finished),
    )


def _range(row: dict[str, Any]) -> str:
    ends = str(row["values"]) if "values" in row else f"{row['low']}..{row['high']}{' (log)' if row['kind'] == 'LogUniform' else ''}"
    when = row.get("when")
    return ends + (f" where {', '.join(f'{name} in {values}' for name, values in when.items())}" if isinstance(when, dict) else "")
