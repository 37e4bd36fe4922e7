"""optical train RECIPE.json"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rich.console import Console

from optical_ray.analysis.other_tasks import measure_of
from optical_ray.analysis.outcomes import MEASURES, index_rows
from optical_ray.analysis.phrases import plural
from optical_ray.artifacts import Store
from optical_ray.cli.progress import make_console, status_line
from optical_ray.cli.record import record
from optical_ray.config import parse_override
from optical_ray.errors import ConfigError
from optical_ray.pretraining.artifact import build_pretrained
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder, TrialFolder
from optical_ray.runs.query_rows import read_query_rows
from optical_ray.stages import prepare
from optical_ray.sweep import GridPart, Sweep
from optical_ray.trial import Distil, run_trial


def train(options: argparse.Namespace) -> None:
    """Prepare, train, evaluate; print what came out."""
    console = make_console()
    recipe, resources = read_recipe(options)
    store = Store(options.store)
    run = RunFolder(options.out / f"train-{recipe.trial_id}")
    folder = run.trial(recipe.trial_id)
    before = folder.read_status()
    if before is not None and before.state != "finished" and before.step:
        console.print(f"Continues trial {recipe.trial_id} (last report at step {before.step})")
    with status_line(console, "prepare") as show_line:
        alone = partial(build_pretrained, resources=resources)
        stages = prepare(recipe, store, show_line, pretrain=alone if resources.workers == 1 else None)
    stages.check_same_data(folder)
    _record(recipe, resources, run)
    size = f"{recipe.batch.pairs} pairs" if recipe.batch.tokens is None else f"at most {recipe.batch.tokens:,} tokens"
    console.print(f"{recipe.arm}, {len(stages.languages)} languages, {recipe.training.max_steps} steps of {size}", highlight=False)

    def show(step: int, metrics: Mapping[str, float]) -> None:
        shown = {"loss": names.LOSS, "plan entropy": names.TRANSPORT_ENTROPY, "valid Success@1": names.VALID_SUCCESS_AT_1}
        values = ", ".join(f"{label} {metrics[name]:.3f}" for label, name in shown.items() if name in metrics)
        console.print(f"step {step:>6}/{recipe.training.max_steps}: {values}", highlight=False)

    if options.workers == 1:
        run_trial(recipe, resources, store, run, show)
    else:
        _run_on_ray(recipe, resources, store, run, options.address, console, show)
    _print_result(console, folder)
    console.print(f"Trial: {folder.path}", soft_wrap=True)


def read_recipe(options: argparse.Namespace) -> tuple[Recipe, Resources]:
    """The recipe that the command line names, and where it runs.

    Raises:
        ConfigError: it cannot be read, or an option is out of range.
        ResourceError: its batches do not suit the workers.
    """
    file, overrides = _choose_recipe(options)
    recipe = Recipe.read(file).override(dict(parse_override(text) for text in overrides))
    if options.workers < 1:
        raise ConfigError(f"--workers {options.workers}: expected at least 1")
    threads = max(1, (os.cpu_count() or 1) // options.workers) if options.threads is None else options.threads
    gpus = 1.0 if options.device == "cuda" else 0.0
    resources = Resources.parse(
        {"workers": options.workers, "threads": threads, "device": options.device, "gpus_per_worker": gpus}, "--workers, --threads"
    )
    resources.check(recipe)
    return recipe, resources


def _choose_recipe(options: argparse.Namespace) -> tuple[Path, list[str]]:
    """The recipe's file, and the fields to replace."""
    words = [*([] if options.recipe is None else [options.recipe]), *options.overrides]
    from_trial = getattr(options, "from_trial", None)  # `optical pretrain` has no such option
    if from_trial is not None:
        run, trial_id = from_trial.parent, from_trial.name
        places = (from_trial / "recipe.json", run / "trials" / trial_id / "recipe.json")
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise ConfigError(f"--from {from_trial}: no trial there (looked for {places[1]}); expected RUN/TRIAL")
        if strange := [word for word in words if "=" not in word]:
            raise ConfigError(f"{strange[0]}: with --from the recipe is the trial's; expected FIELD=VALUE")
        return found, words
    if not words or ("=" in words[0] and not Path(words[0]).exists()):
        raise ConfigError(
            f"{words[0] if words else 'optical train'}: expected a recipe's file first, then FIELD=VALUE; write one with "
            "`optical recipe show > my.json`, or name a trial with --from RUN/TRIAL"
        )
    return Path(words[0]), words[1:]


def _record(recipe: Recipe, resources: Resources, run: RunFolder) -> None:
    if (run.path / "sweep.json").is_file():
        run.read_sweep()  # refuses a folder of another format before anything runs
        return
    single = (GridPart("single"),)
    run.write_sweep(record(Sweep("train", "One distillation: what does this recipe reach?", "None was stated.", recipe, single, resources)))


def _run_on_ray(
    recipe: Recipe, resources: Resources, store: Store, run: RunFolder, address: str | None, console: Console, show: object
) -> None:
    from optical_ray.orchestration.session import ray_session
    from optical_ray.orchestration.train import distil_with_ray, pretrain_with_ray

    distil: Distil = distil_with_ray
    with ray_session(address, resources) as session:
        if session.notice:
            console.print(session.notice, soft_wrap=True)
        if recipe.pretraining.training.max_steps > 0:
            with status_line(console, "prepare") as show_line:
                build_pretrained(recipe, store, show_line, resources=resources, train=pretrain_with_ray)
        run_trial(recipe, resources, store, run, show, distil, pretrain_with_ray)  # type: ignore[arg-type]


def _print_result(console: Console, folder: TrialFolder) -> None:
    shown = None
    for system, languages in sorted(index_rows(read_query_rows(folder.queries)).items()):
        measure = measure_of(system.task)
        if system.task != shown:
            console.print(f"Test {measure} of {system.task}, mean over {plural(len(languages), 'language')}:", highlight=False)
            shown = system.task
        mean = sum(outcomes.at(MEASURES.index(measure)).mean() for outcomes in languages.values()) / len(languages)
        console.print(f"  {system.name:<13} {system.scorer:<17} {mean:.3f}", highlight=False)
    status = folder.read_status()
    if status is not None and status.verdicts:
        console.print(f"Verdict: {', '.join(status.verdicts)}", style="red")
