"""What a sweep does for its user around the trials: checks and what they share before the first, room made after each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console

from optical_ray.artifacts import Store
from optical_ray.cli.dry_run import check_forecast, forecast
from optical_ray.cli.progress import status_line
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.forecast.disk import bytes_by_place
from optical_ray.languages.sets import choose_languages, order_pool
from optical_ray.pretraining.prepare import prepare_pretraining
from optical_ray.recipe import Recipe
from optical_ray.retrieval.tasks import build_tasks
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.waste import find_waste, remove
from optical_ray.stages import prepare
from optical_ray.sweep import Sweep

if TYPE_CHECKING:
    from optical_ray.orchestration.progress import SweepProgress
    from optical_ray.orchestration.session import Session

Progress = Callable[["SweepProgress"], None]


def check_start(console: Console, sweep: Sweep, run: RunFolder, store: Store, session: Session, keep_best: int | None) -> None:
    """Refuse a sweep that cannot run, before it waits for something that never comes, or fills a disk in the middle of the night.

    A cluster of others is asked what `optical doctor` asks: a process on each node tries the shared folders. A private one is this machine.

    Raises:
        ResourceError: with the numbers.
    """
    found = forecast(sweep, run, store, session.trials, keep_best)
    check_forecast(found, run, store)
    if session.started:
        return
    from optical_ray.orchestration.doctor import check_cluster, local_paths
    from optical_ray.orchestration.health import refuse

    needed = bytes_by_place(run.path.parent, store.root, found.disk.peak, found.store.bytes)
    paths = sorted({path for recipe in (sweep.base, *sweep.planned().values()) for path in local_paths(recipe)})
    checks = check_cluster(sweep.resources, session.trials, needed, paths)
    for check in checks:
        if check.state == "warn":
            console.print(f"{check.name}: {check.found}; {check.advice}", style="yellow", soft_wrap=True, highlight=False)
    refuse(checks)


def keep_best_students(run: RunFolder, count: int | None, show: Progress) -> Progress:
    """A listener that hands on to `show`, and removes the students beyond the best as trials finish; None: of none."""
    if count is None:
        return show
    finished = -1

    def listen(progress: SweepProgress) -> None:
        nonlocal finished
        show(progress)
        if progress.finished != finished:
            finished = progress.finished
            for waste in find_waste(run, count):
                remove(waste)

    return listen


def prepare_shared(console: Console, sweep: Sweep, store: Store) -> None:
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
