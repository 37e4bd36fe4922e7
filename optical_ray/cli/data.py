"""optical data build | show"""

from __future__ import annotations

import argparse
import contextlib
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from optical_ray.artifacts import Store
from optical_ray.cli.progress import make_console, status_line
from optical_ray.config import parse_override
from optical_ray.data.corpus import Corpus, CorpusConfig, MapTasks, build_corpus, corpus_inputs, describe_corpus
from optical_ray.data.splits import SPLITS
from optical_ray.errors import DataError
from optical_ray.recipe import Resources

TABLE_COLUMNS = ("language", "name", "script", *SPLITS, "median words")


def _config(options: argparse.Namespace) -> CorpusConfig:
    overrides = list(options.overrides)
    if "=" in options.source:  # `optical data build min_pairs=500`: the source was left out
        overrides.insert(0, options.source)
        options.source = "catalogs"
    return CorpusConfig(source=options.source).override(dict(parse_override(text.removeprefix("corpus.")) for text in overrides))


@contextlib.contextmanager
def _ray_tasks(options: argparse.Namespace, console: Console) -> Iterator[MapTasks | None]:
    if options.in_process:
        yield None
        return
    from optical_ray.orchestration.data_job import map_tasks
    from optical_ray.orchestration.session import ray_session

    with ray_session(options.address, Resources()) as session:
        if session.notice:
            console.print(session.notice, soft_wrap=True)
        yield map_tasks


def build(options: argparse.Namespace) -> None:
    """Build the corpus into the store; one that is there is left as it is."""
    console = make_console()
    config, store = _config(options), Store(options.store)
    if store.has("corpus", corpus_inputs(config)):
        console.print(f"Built already: {store.path('corpus', corpus_inputs(config))}", soft_wrap=True)
        return
    with _ray_tasks(options, console) as map_tasks, status_line(console, "bitext") as show_line:
        corpus = build_corpus(store, config, map_tasks, show_line)
    _summarise(console, corpus)


def show(options: argparse.Namespace) -> None:
    """A table of the corpus, language by language."""
    console = make_console()
    config, store = _config(options), Store(options.store)
    inputs = corpus_inputs(config)
    if not store.has("corpus", inputs):
        raise DataError(
            f"{store.root}: no corpus of source {config.source!r} with these settings; build it with `optical data build {options.source}`"
        )
    corpus = Corpus.open(store.path("corpus", inputs))
    rows = describe_corpus(corpus)
    table = Table(*TABLE_COLUMNS, "kept of read", box=None, title_justify="left")
    for row in rows:
        kept = sum(int(row[split]) for split in SPLITS)
        shares = f"{kept / max(int(row['read']), 1):.0%} of {row['read']:,}"
        table.add_row(*(f"{row[name]:,}" if isinstance(row[name], int) else f"{row[name]}" for name in TABLE_COLUMNS), shares)
    console.print(table)
    facts = corpus.manifest["facts"]
    dropped = Counter[str]()
    for language in [*facts["languages"].values(), *facts["left_out"].values()]:
        dropped.update(language["dropped"])
    console.print("Dropped: " + ", ".join(f"{rule} {count:,}" for rule, count in dropped.most_common()), soft_wrap=True)
    console.print(
        "Licences: " + ", ".join(f"{source} {licence or 'not stated'}" for source, licence in facts["licences"].items()), soft_wrap=True
    )
    _summarise(console, corpus)


def _summarise(console: Console, corpus: Corpus) -> None:
    facts = corpus.manifest["facts"]
    least = corpus.manifest["inputs"]["min_pairs"]
    left_out = ", ".join(f"{tag} {language['kept']}" for tag, language in facts["left_out"].items())
    console.print(f"Left out (fewer than {least} pairs): {left_out or 'none'}", soft_wrap=True)
    if facts["skipped"]:
        console.print("Skipped: " + ", ".join(f"{code} ({reason})" for code, reason in facts["skipped"].items()), soft_wrap=True)
    merged = [f"{tag} ({', '.join(language['codes'])})" for tag, language in facts["languages"].items() if len(language["codes"]) > 1]
    if merged:
        console.print("One language under several codes: " + ", ".join(merged), soft_wrap=True)
    splits = {split: sum(corpus.pairs(split).values()) for split in SPLITS}
    text = ", ".join(f"{count:,} {split}" for split, count in splits.items())
    console.print(
        f"{len(corpus.languages)} languages, {sum(splits.values()):,} pairs ({text}), {len(corpus.english()):,} English sentences",
        soft_wrap=True,
    )
    console.print(f"Corpus: {corpus.folder}", soft_wrap=True)
