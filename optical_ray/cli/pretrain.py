"""optical pretrain RECIPE.json"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from optical_ray.artifacts import MANIFEST, Store, build_artifact, is_built, read_manifest
from optical_ray.cli.progress import make_console, status_line
from optical_ray.cli.train import read_recipe
from optical_ray.pretraining.artifact import DESCRIPTION, KIND, Train, build_pretrained
from optical_ray.pretraining.prepare import prepare_pretraining
from optical_ray.runs import names


def pretrain(options: argparse.Namespace) -> None:
    """Pre-train what the recipe's student starts from; print what it knows of each language, and how to use it."""
    console = make_console()
    recipe, resources = read_recipe(options)
    store = Store(options.store)
    with status_line(console, "prepare") as show_line:
        prepared = prepare_pretraining(recipe, store, show_line)
    config = recipe.pretraining
    if options.out is not None:
        is_built(options.out, KIND, prepared.inputs)  # refuses a folder that holds something else, before hours of training
    if not store.has(KIND, prepared.inputs):
        size = f"{config.batch.pairs} texts" if config.batch.tokens is None else f"at most {config.batch.tokens:,} tokens"
        console.print(
            f"Masked-LM on {len(prepared.languages)} of {len(prepared.pool)} languages, {config.training.max_steps} steps of {size}",
            highlight=False,
        )

    def show(step: int, metrics: Mapping[str, float]) -> None:
        shown = {"loss": names.LOSS, "validation": names.VALID_MASKED_LM, "unseen": names.VALID_MASKED_LM_UNSEEN}
        values = ", ".join(f"{label} {metrics[name]:.3f}" for label, name in shown.items() if name in metrics)
        console.print(f"step {step:>6}/{config.training.max_steps}: {values}", highlight=False)

    if resources.workers == 1:
        path = build_pretrained(recipe, store, resources=resources, on_report=show)
    else:
        from optical_ray.orchestration.session import ray_session
        from optical_ray.orchestration.train import pretrain_with_ray

        with ray_session(options.address, resources) as session:
            if session.notice:
                console.print(session.notice, soft_wrap=True)
            train: Train = pretrain_with_ray
            path = build_pretrained(recipe, store, resources=resources, train=train, on_report=show)
    if options.out is not None:
        inputs = read_manifest(path)["inputs"]
        path = build_artifact(options.out, KIND, inputs, lambda scratch: _copy(path, scratch))
    _print_languages(console, path)
    console.print(f"Encoder: {path}", soft_wrap=True, highlight=False)
    console.print(
        f"Trials of this recipe start from it by themselves. In any other: student.init={path} (with pretraining.training.max_steps=0)",
        soft_wrap=True,
        highlight=False,
    )


def _copy(source: Path, target: Path) -> dict[str, object]:
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))
    facts: dict[str, object] = read_manifest(source)["facts"]
    return facts


def _print_languages(console: Console, path: Path) -> None:
    facts = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
    table = Table("language", "seen", "tokens", "start", "validation", "unigram", title="Nats per masked token", title_justify="left")
    for tag, row in sorted(facts["validation"].items(), key=lambda item: (not item[1]["seen"], item[0])):
        numbers = ["" if row[name] is None else f"{row[name]:.3f}" for name in ("start", "end", "unigram")]
        table.add_row(tag, "yes" if row["seen"] else "", f"{facts['tokens'].get(tag, 0):,}" if row["seen"] else "", *numbers)
    console.print(table)
    known = [tag for tag, row in facts["validation"].items() if row["seen"] and row["unigram"] is not None]
    below = [tag for tag in known if facts["validation"][tag]["end"] < facts["validation"][tag]["unigram"]]
    console.print(
        f"{len(below)} of {len(known)} languages in it are below their unigram entropy; above it, a model has learnt at most how often "
        "pieces occur",
        soft_wrap=True,
        highlight=False,
    )
