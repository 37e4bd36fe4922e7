"""optical train-teacher [RECIPE.json] --data SOURCE --out DIR"""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from optical_ray.artifacts import Store, is_built
from optical_ray.cli.progress import make_console, status_line
from optical_ray.config import parse_override
from optical_ray.data.relevance.table import RelevanceData
from optical_ray.errors import ConfigError
from optical_ray.recipe import Resources
from optical_ray.retrieval.relevance import MEASURES
from optical_ray.runs import names
from optical_ray.runs.folder import TrialFolder
from optical_ray.teaching.recipe import TeacherRecipe
from optical_ray.teaching.teach import (
    KIND,
    RunTraining,
    prepare_teacher,
    read_verdict,
    teach,
    teacher_inputs,
    train_in_process,
)
from optical_ray.teaching.verdict import DECIDES, TEACHER, ZERO_SHOT
from optical_ray.teaching.worker import TeacherStages, teach_worker
from optical_ray.training.loop import Report

SHOWN = {
    "loss": names.LOSS,
    "valid Success@1": names.VALID_SUCCESS_AT_1,
    "MRR@10": names.VALID_MRR_AT_10,
    "nDCG@10": names.VALID_NDCG_AT_10,
}
BAD_ROWS_SHOWN = 5
TABLE_COLUMNS = 112  # of the result in a log file


def train_teacher(options: argparse.Namespace) -> None:
    """Prepare, train, evaluate; print what came out and how to use it."""
    console = make_console(TABLE_COLUMNS)
    recipe = _recipe(options)
    resources = _resources(options)
    recipe.check(resources)
    store = Store(options.store)
    with status_line(console, "prepare") as show_line:
        stages = prepare_teacher(recipe, store, show_line)
    if is_built(options.out, KIND, teacher_inputs(stages)):
        console.print(f"{options.out}: trained already, by this recipe on these data", soft_wrap=True)
        _print_result(console, read_verdict(options.out), options.out)
        return
    _print_data(console, stages)

    def show(step: int, metrics: Mapping[str, float]) -> None:
        values = ", ".join(f"{label} {metrics[name]:.3f}" for label, name in SHOWN.items() if name in metrics)
        console.print(f"step {step:>6}/{recipe.training.max_steps}: {values}", highlight=False)

    def go(run_training: RunTraining) -> dict[str, Any]:
        return teach(stages, resources, store, options.out, show, run_training, functools.partial(console.print, highlight=False))

    found = go(train_in_process) if resources.workers == 1 else _on_ray(resources, options.address, console, go)
    _print_result(console, found, options.out)


def _recipe(options: argparse.Namespace) -> TeacherRecipe:
    files = [text for text in options.arguments if "=" not in text or (text.endswith(".json") and Path(text).is_file())]
    if len(files) > 1:
        raise ConfigError(
            f"{files[1]!r}: a second recipe beside {files[0]!r}; expected one RECIPE.json, then FIELD=VALUE; data go behind --data"
        )
    recipe = TeacherRecipe.read(Path(files[0])) if files else TeacherRecipe()
    changes = dict(parse_override(text) for text in options.arguments if text not in files)
    if options.data:
        changes["data.sources"] = options.data
    if options.on_bad_row is not None:
        changes["data.on_bad_row"] = options.on_bad_row
    return recipe.override(changes)


def _resources(options: argparse.Namespace) -> Resources:
    if options.workers < 1:
        raise ConfigError(f"--workers {options.workers}: expected at least 1")
    threads = max(1, (os.cpu_count() or 1) // options.workers) if options.threads is None else options.threads
    gpus = 1.0 if options.device == "cuda" else 0.0
    values = {"workers": options.workers, "threads": threads, "device": options.device, "gpus_per_worker": gpus}
    return Resources.parse(values, "--workers, --threads")


def _on_ray(resources: Resources, address: str | None, console: Console, go: Any) -> dict[str, Any]:
    from optical_ray.orchestration.session import ray_session
    from optical_ray.orchestration.train import run_workers

    def train_with_ray(stages: TeacherStages, resources: Resources, store: Store, folder: TrialFolder, report: Report) -> None:
        run_workers(functools.partial(teach_worker, stages), resources, store, folder, report)

    with ray_session(address, resources) as session:
        if session.notice:
            console.print(session.notice, soft_wrap=True)
        found: dict[str, Any] = go(train_with_ray)
        return found


def _print_data(console: Console, stages: TeacherStages) -> None:
    facts, recipe = RelevanceData.open(stages.data).facts(), stages.recipe
    counts = facts["queries"]
    console.print(
        f"{counts['train']:,} training queries, {counts['valid']:,} held out, {facts['documents']:,} documents; "
        f"{recipe.training.max_steps} steps of {recipe.batch.queries} queries",
        highlight=False,
    )
    for reason, rows in facts["dropped"].items():
        console.print(f"Left out: {rows:,} {reason}", highlight=False)
    for source, tally in facts["sources"].items():
        if tally["bad"]:
            kinds = ", ".join(f"{rows} {kind}" for kind, rows in tally["bad"].items())
            console.print(f"Bad rows of {source}, skipped: {kinds}", soft_wrap=True, highlight=False)
            for example in tally["examples"][:BAD_ROWS_SHOWN]:
                console.print(f"  {example}", soft_wrap=True, highlight=False)


def _print_result(console: Console, found: Mapping[str, Any], out: Path) -> None:
    for split, result in found["splits"].items():
        table = Table(
            "system",
            *MEASURES,
            title=f"{split}: {result['queries']} queries, {result['candidates']} candidates; mean [95 % interval over queries]",
            title_justify="left",
        )
        for system, values in result["systems"].items():
            label = {"lexical": "TF-IDF floor"}.get(system, system)
            table.add_row(label, *(_show(values[measure], "{:.3f}") for measure in MEASURES))
        for difference, values in result["differences"].items():
            table.add_row(difference.replace("lexical", "TF-IDF floor"), *(_show(values[measure], "{:+.3f}") for measure in MEASURES))
        console.print(table)
    if found["verdict"] == names.UNDECIDED:
        console.print(
            f"UNDECIDED: whether this teacher beats TF-IDF of characters was not shown ({found['reason']}). "
            "Give more queries, or raise data.valid_share or evaluation.valid_queries, before it teaches.",
            style="bold red",
            soft_wrap=True,
        )
    elif found["verdict"] == names.BELOW_FLOOR:
        console.print(
            f"BELOW THE FLOOR: this teacher was not shown to beat TF-IDF of characters ({found['reason']}). "
            "A student can only learn what its teacher knows: train on more or other data before it teaches.",
            style="bold red",
            soft_wrap=True,
        )
    else:
        console.print(f"Verdict: {found['verdict']} ({found['reason']})", soft_wrap=True, highlight=False)
    gain = found["splits"]["valid"]["differences"][f"{TEACHER} - {ZERO_SHOT}"][DECIDES]
    if gain["low"] <= 0:
        console.print(f"No gain over the encoder as it was could be shown ({DECIDES} {_show(gain, '{:+.3f}')})", highlight=False)
    console.print(f"To distil from it: optical train RECIPE.json teacher.path={out}", soft_wrap=True, highlight=False)


def _show(interval: Mapping[str, float], form: str) -> str:
    return f"{form.format(interval['estimate'])} [{interval['low']:.3f}, {interval['high']:.3f}]"
