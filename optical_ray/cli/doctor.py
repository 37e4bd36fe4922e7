"""optical doctor: can this machine, or cluster, run that? Each question answered with numbers, and what to do."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from optical_ray.artifacts import Store
from optical_ray.cli.dry_run import Forecast, describe_forecast, forecast
from optical_ray.cli.progress import make_console
from optical_ray.cli.sweep import load_sweep, with_base
from optical_ray.errors import ConfigError, OpticalError
from optical_ray.forecast.disk import bytes_by_place
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.folder import RunFolder
from optical_ray.sweep import Sweep

if TYPE_CHECKING:
    from optical_ray.orchestration.health import Check
    from optical_ray.orchestration.session import Session

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor(options: argparse.Namespace) -> int:
    """Check everything that can be checked before a sweep; the exit status is 1 where something fails."""
    from optical_ray.orchestration.health import Check
    from optical_ray.orchestration.session import ray_session

    sweep = with_base(load_sweep(options.sweep), options.overrides) if options.sweep is not None else None
    if sweep is None and options.overrides:
        raise ConfigError(f"{' '.join(options.overrides)}: fields are of a sweep's base recipe; give it with --sweep FILE")
    store = Store(options.store)
    run = RunFolder(options.out / sweep.folder_name if sweep else options.out)
    checks: list[Check] = []
    found = None
    if sweep is not None:
        concurrent = options.concurrent or sweep.concurrent_trials or sweep.resources.trials_on(os.cpu_count() or 1)
        found = forecast(sweep, run, store, concurrent)
        checks.append(_time(found, sweep, run, store, concurrent))
    try:
        with ray_session(options.address, Resources()) as session:
            checks = [*check_session(session, sweep, options, found), *checks]
    except OpticalError as error:
        checks.insert(0, Check("cluster", "fail", str(error)))
    if options.json:
        print(json.dumps([asdict(check) for check in checks], indent=2, ensure_ascii=False))
    else:
        _print(make_console(), checks)
    return 1 if any(check.state == "fail" for check in checks) else 0


def check_session(session: Session, sweep: Sweep | None, options: argparse.Namespace, found: Forecast | None) -> list[Check]:
    """What the nodes of an open session say of a sweep, or in general."""
    from optical_ray.orchestration.doctor import check_cluster, local_paths
    from optical_ray.orchestration.health import Check

    resources = sweep.resources if sweep else Resources()
    trials = options.concurrent or (sweep.concurrent_trials if sweep else None) or resources.trials_on(os.cpu_count() or 1)
    paths = sorted({path for recipe in _recipes(sweep) for path in local_paths(recipe)})
    where = "this machine, on a private cluster" if session.started else f"the cluster at {session.address}"
    needed = bytes_by_place(options.out, options.store, found.disk.peak if found else 0, found.store.bytes if found else 0)
    checks = check_cluster(resources, trials, needed, paths)
    if session.started:
        checks[0] = _private_room(resources, trials, session)
    return [Check("cluster", "ok", where), *checks]


def _private_room(resources: Resources, trials: int, session: Session) -> Check:
    """A private cluster is given the CPUs that trials ask for; what counts are the machine's cores and GPUs."""
    from optical_ray.orchestration.health import Check
    from optical_ray.orchestration.room import check_room, required_cpus
    from optical_ray.orchestration.session import check_cores

    cores = os.cpu_count() or 1
    name = "room for the trials"
    try:
        check_cores(resources, trials, cores)
        check_room(resources, trials, max(float(cores), required_cpus(resources, trials)), session.gpus, "this machine")
    except OpticalError as error:
        found, _, advice = str(error).partition("; ")
        return Check(name, "fail", found, advice)
    threads = trials * resources.workers * resources.threads
    found = f"{threads} threads of {trials} trials at a time on {cores} cores, {session.gpus:g} GPUs"
    return Check(name, "ok" if threads <= cores else "warn", found, "" if threads <= cores else "trials will share cores and take longer")


def _recipes(sweep: Sweep | None) -> Sequence[Recipe]:
    return [sweep.base, *sweep.planned().values()] if sweep else []


def _time(found: Forecast, sweep: Sweep, run: RunFolder, store: Store, concurrent: int) -> Check:
    from optical_ray.orchestration.health import Check

    line = describe_forecast(found, sweep, run, store, concurrent)[0].removeprefix("Time: ")
    told, _, advice = line.partition("; ")
    return Check("time", "ok" if found.duration else "warn", told, advice)


def _print(console: Console, checks: Sequence[Check]) -> None:
    table = Table("", "check", "found", "what to do")
    for check in checks:
        table.add_row(check.state, check.name, check.found, check.advice, style=None if check.state == "ok" else COLOURS[check.state])
    console.print(table)
    failed = sum(check.state == "fail" for check in checks)
    console.print(f"{failed} of {len(checks)} checks fail." if failed else "Nothing stands in the way.", highlight=False)
