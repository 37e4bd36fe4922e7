"""optical clean RUN..."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from optical_ray.artifacts import Store
from optical_ray.cli.progress import make_console
from optical_ray.errors import ConfigError
from optical_ray.runs.disk import describe_bytes
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.unused import find_unused, remove_unused
from optical_ray.runs.waste import Waste, find_waste, remove


def clean(options: argparse.Namespace) -> None:
    """Show what the runs (and their store) could do without; with `--yes`, remove it."""
    console = make_console()
    if options.keep_best is not None and options.keep_best < 1:
        raise ConfigError(f"--keep-best {options.keep_best}: expected at least 1")
    runs = [RunFolder(path) for path in options.folders]
    found = [waste for run in runs for waste in find_waste(run, options.keep_best)]
    unused: list[Waste] = []
    if options.store is not None:
        store = Store(options.store)
        if not store.root.is_dir():
            raise ConfigError(f"--store {store.root}: no such folder")
        unused, reasons = find_unused(store, runs)
        for reason in reasons:
            console.print(f"Store: {reason}", soft_wrap=True, highlight=False, style="yellow")
        _name_others(console, options.folders)
    if not found and not unused:
        console.print("Nothing to free.")
        return
    _print_waste(console, [*found, *unused])
    total = describe_bytes(sum(waste.bytes for waste in [*found, *unused]))
    if not options.yes:
        console.print(f"{total} would be freed. Nothing was removed: add --yes to remove it.", highlight=False)
        return
    kept = [waste for waste in found if not remove(waste)]
    if unused:
        remove_unused(store, unused)
    freed = sum(waste.bytes for waste in [*found, *unused]) - sum(waste.bytes for waste in kept)
    console.print(f"{describe_bytes(freed)} freed.", highlight=False)
    if kept:
        console.print(f"{len(kept)} stayed, since their trials are being worked on.", highlight=False)


def _print_waste(console: Console, found: Sequence[Waste]) -> None:
    """One row for each kind of thing in each run or store; what is lost is said once for each."""
    groups: dict[tuple[str, str, str], list[Waste]] = {}
    for waste in found:
        place = waste.trial.path.parent.parent if waste.trial is not None else waste.path.parent
        groups.setdefault((str(place), waste.what, waste.lost), []).append(waste)
    table = Table("where", "what", "count", "disk", "what is lost with it")
    for (where, what, lost), members in groups.items():
        whose = sorted({waste.trial.trial_id for waste in members if waste.trial is not None})
        named = f" of {', '.join(whose[:3])}{f' and {len(whose) - 3} more' if len(whose) > 3 else ''}" if whose else ""
        table.add_row(where, f"{what}{named}", str(len(members)), describe_bytes(sum(waste.bytes for waste in members)), lost)
    console.print(table)


def _name_others(console: Console, folders: Sequence[Path]) -> None:
    """Runs that lie beside the given ones and were not given: what only they stand on counts as unused."""
    given = {path.resolve() for path in folders}
    beside = {run.parent for path in folders for run in path.resolve().parent.glob("*/sweep.json") if run.parent not in given}
    if beside:
        names = sorted(path.name for path in beside)
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        console.print(
            f"Store: not given, so what only they stand on counts as unused: {shown}", soft_wrap=True, highlight=False, style="yellow"
        )
