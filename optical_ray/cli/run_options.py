"""The options of the verbs that look after runs: status, clean, doctor; and those that `sweep` has for the same ends."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

AddOptions = Callable[[argparse.ArgumentParser], None]
Verbs = argparse._SubParsersAction


def add_run_verbs(verbs: Verbs[argparse.ArgumentParser], address: AddOptions, out: AddOptions, store: AddOptions) -> None:
    """`optical status`, `optical clean`, `optical doctor`."""
    status = verbs.add_parser(
        "status",
        help="how a run stands, from another terminal",
        description="Trials by state, the running ones, failures, the best so far, disk; read from the run folder alone, while it is "
        "written, killed or finished.",
    )
    status.set_defaults(run="status:status")
    status.add_argument("folder", type=Path, metavar="RUN", help="a run folder, such as runs/quickstart-0123456789ab")
    status.add_argument("--watch", action="store_true", help="again every 2 s, until interrupted")
    status.add_argument("--json", action="store_true", help="everything as JSON")

    clean = verbs.add_parser(
        "clean",
        help="free the disk that runs no longer need",
        description="List what runs could do without, and what is lost with it; remove it with --yes. What a process is using stays.",
    )
    clean.set_defaults(run="clean:clean")
    clean.add_argument("folders", type=Path, nargs="+", metavar="RUN", help="run folders")
    clean.add_argument(
        "--keep-best",
        type=int,
        default=None,
        metavar="N",
        help="of each run, only the students of the N best finished trials by validation among those judged on the same languages; "
        "metrics, test rows and report stay",
    )
    clean.add_argument(
        "--store", type=Path, default=None, metavar="DIR", help="also artifacts of this store that no trial of the given runs stands on"
    )
    clean.add_argument("--yes", action="store_true", help="remove it (default: only list it)")

    doctor = verbs.add_parser(
        "doctor",
        help="can this machine, or cluster, run that?",
        description="Room for the trials, shared and writable storage, models and data, versions, token authentication and disk on every "
        "node; with a sweep file, also what it will take. Exit status 1 where something fails.",
    )
    doctor.set_defaults(run="doctor:doctor")
    doctor.add_argument("--sweep", type=Path, default=None, metavar="FILE", help="check for this sweep (default: in general)")
    doctor.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="fields of the file's base recipe to replace, as for `sweep`")
    doctor.add_argument("--concurrent", type=int, default=None, metavar="N", help="trials at a time (default: the file's)")
    doctor.add_argument("--json", action="store_true", help="the checks as JSON")
    address(doctor)
    out(doctor)
    store(doctor)


def add_upkeep(sweep: argparse.ArgumentParser) -> None:
    """What `sweep` takes beside what it runs: cost, room, trackers."""
    sweep.add_argument(
        "--calibrate",
        action="store_true",
        help="first time a few real steps of the base recipe here, and keep them in the store: what --dry-run then tells the time from",
    )
    sweep.add_argument(
        "--keep-best",
        type=int,
        default=None,
        metavar="N",
        help="as trials finish, remove the students beyond the N best by validation among those judged on the same languages",
    )
    sweep.add_argument("--wandb", default=None, metavar="PROJECT", help="also log to Weights & Biases (pip install 'optical-ray[wandb]')")
    sweep.add_argument("--mlflow", default=None, metavar="URI", help="also log to MLflow (pip install 'optical-ray[mlflow]')")
