"""optical evaluate MODEL --task NAME --data PATH --out DIR"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from rich.console import Console

from optical_ray.analysis.averages import Average, average_rows, write_averages
from optical_ray.artifacts import Store, explain_full_disk, fingerprint, write_json
from optical_ray.cli.bias_table import BiasRow, print_biases, write_biases
from optical_ray.cli.evaluated import make_lineup
from optical_ray.cli.evaluation_tables import print_averages
from optical_ray.cli.progress import make_console, status_line
from optical_ray.config import parse_override
from optical_ray.errors import ConfigError, ResourceError, RunFolderError
from optical_ray.languages.codes import ENGLISH
from optical_ray.recipe import Resources
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.evaluation import (
    FORMAT_VERSION,
    RULES,
    describe_collection,
    describe_lineup,
    evaluate,
    identify,
)
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.read import read_collections
from optical_ray.retrieval.language_bias import language_bias
from optical_ray.retrieval.ranking import Progress, Sweep, check_collection, sweep_in_process
from optical_ray.retrieval.system import System
from optical_ray.retrieval.systems.lineup import Lineup
from optical_ray.retrieval.systems.seq2seq import translate_with, write_translations
from optical_ray.retrieval.systems.translation import read_translations, translate
from optical_ray.retrieval.trec import check_files, write_qrels, write_run
from optical_ray.runs.folder import utc_now
from optical_ray.runs.provenance import describe_provenance
from optical_ray.runs.schemas import QUERIES

EVALUATION = "evaluation.json"
ROWS = "queries.parquet"
BIAS = "language_bias.csv"
SUMMARY = "summary.csv"
RUNS = "runs"
TRANSLATIONS = "translations.tsv"
TABLE_COLUMNS = 132  # of the result in a log file


@dataclass(frozen=True, slots=True)
class Written:
    """What writing the rows of an evaluation told."""

    seconds: dict[str, float]
    """By system."""
    unscored: dict[str, int]
    """Queries that `system.scorer` gives no number for; those with none are left out."""
    agreed: int | None
    """Values of the TREC files that trec_eval's code agrees on; None without files."""


def evaluate_model(options: argparse.Namespace) -> None:
    """Read the task, rank with every system, write what was found whole or not at all, and print it."""
    console = make_console(TABLE_COLUMNS)
    started = time.monotonic()
    resources = _resources(options)
    torch.set_num_threads(resources.threads)
    store, out = Store(options.store), options.out.resolve()  # a link stays one: what it points to is written
    _check_out(out)
    with status_line(console, "read") as show:
        lineup = make_lineup(options, store, show)
        collections = read_collections(options.task, options.data, _format_options(options))
        for collection in collections:
            check_collection(collection)
        lineup = _with_translations(options, lineup, collections, show)
        lineup.names(options.systems)
        data = {collection.name: describe_collection(collection) for collection in collections}
        show(f"{options.task}: {_count(data)}")
    _print_skipped(console, data)
    if options.keep_encodings and options.candidates is None:
        lineup = replace(lineup, store=store)
    systems = lineup.build(options.systems)
    described = describe_lineup(lineup, systems)
    for line in (_describe_sides(described["sides"]), _describe_languages(data, options)):
        console.print(line, soft_wrap=True, highlight=False)
    of_models = identify(data, described, options.depth)
    identity = fingerprint({"task": options.task, "split": _format_options(options).split, "of_models": of_models})
    if _is_there(out, identity, options.force, options.run_files):
        console.print(f"{out}: evaluated already, with these models on these data", soft_wrap=True)
        _print(console, out, average_rows(out / ROWS))
        return
    scratch = out.with_name(f".{out.name}.{os.getpid()}")
    scratch.mkdir(parents=True)
    try:
        with explain_full_disk(scratch):
            with _sweep(options, resources, console) as (sweep, each):
                systems = replace(lineup, each=each).build(options.systems)
                with status_line(console, "evaluate") as show:
                    written = _write_rows(scratch, collections, systems, options, sweep, show)
                averages = average_rows(scratch / ROWS)
            write_averages(scratch / SUMMARY, averages)
            if lineup.translations is not None:
                write_translations(scratch / TRANSLATIONS, lineup.translations)
            facts = {
                "format_version": FORMAT_VERSION,
                "fingerprint": identity,
                "created_at": utc_now(),
                "task": options.task,
                "data": str(options.data),
                "options": _format_options(options).to_dict(),
                "model": options.model,
                "collections": data,
                **described,
                "depth": options.depth,
                "rules": RULES,
                "resources": resources.to_dict(),
                "agreed_with_trec_eval": written.agreed,
                "queries_without_scores": written.unscored,
                "seconds": {"all": round(time.monotonic() - started, 3), **written.seconds},
                "provenance": describe_provenance(),
            }
            write_json(scratch / EVALUATION, facts)
        _replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _print(console, out, averages)
    for system, count in written.unscored.items():
        console.print(
            f"{system}: {count:,} queries for which no document's score is a number, counted as not found; an encoder gives NaN, or they "
            "hold no token",
            style="bold red",
            soft_wrap=True,
            highlight=False,
        )
    if written.agreed is not None:
        console.print(f"TREC files: {out / RUNS}; trec_eval's code agrees on {written.agreed:,} values", soft_wrap=True, highlight=False)
    console.print(f"Evaluation: {out}", soft_wrap=True, highlight=False)


def _print(console: Console, out: Path, averages: Sequence[Average]) -> None:
    print_averages(console, averages)
    if (out / BIAS).is_file():
        print_biases(console, out / BIAS)


def _format_options(options: argparse.Namespace) -> FormatOptions:
    """The options that have a name of their own, and FIELD=VALUE for the others."""
    changes: dict[str, Any] = dict(parse_override(text) for text in options.overrides)
    named = {
        "languages": options.languages,
        "directions": options.directions,
        "pairs": options.pairs,
        "candidates": options.candidates,
        "max_queries": options.limit,
        "on_bad": options.on_bad_row,
        "split": options.split,
    }
    return FormatOptions().override(changes | {name: value for name, value in named.items() if value not in (None, ())})


def _resources(options: argparse.Namespace) -> Resources:
    if options.workers < 1 or options.depth < 1:
        raise ConfigError(f"--workers {options.workers}, --depth {options.depth}: expected at least 1")
    threads = max(1, (os.cpu_count() or 1) // options.workers) if options.threads is None else options.threads
    gpus = 1.0 if options.device == "cuda" else 0.0
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ResourceError("device cuda: this machine has no CUDA device that torch can use; use --device cpu")
    values = {"workers": options.workers, "threads": threads, "device": options.device, "gpus_per_worker": gpus}
    return Resources.parse(values, "--workers, --threads")


def _with_translations(options: argparse.Namespace, lineup: Lineup, collections: Sequence[Collection], show: Progress) -> Lineup:
    """With translations of every query that needs one, or one line that says which has none."""
    if options.translations is not None and options.translator is not None:
        raise ConfigError("--translations and --translator: both give translations; choose one")
    if options.translations is not None:
        translations, source = read_translations(options.translations), str(options.translations)
        for collection in collections:
            if ENGLISH in collection.documents.languages:
                translate(collection.queries, translations, source)
        return replace(lineup, translations=translations, translated_by=source)
    if options.translator is not None:
        found = translate_with(options.translator, [collection.queries for collection in collections], options.device, show)
        return replace(lineup, translations=found, translated_by=options.translator)
    return lineup


@contextlib.contextmanager
def _sweep(options: argparse.Namespace, resources: Resources, console: Console) -> Iterator[tuple[Sweep, Any]]:
    """Who goes through the blocks: this process, or workers of Ray."""
    from optical_ray.retrieval.search.index import one_after_another

    if resources.workers == 1:
        yield sweep_in_process, one_after_another
        return
    from optical_ray.orchestration.evaluate import RaySweep, encode_on_ray
    from optical_ray.orchestration.session import ray_session

    with ray_session(options.address, resources) as session:
        if session.notice:
            console.print(session.notice, soft_wrap=True)
        yield RaySweep(resources), partial(encode_on_ray, resources)


def _write_rows(
    folder: Path, collections: Sequence[Collection], systems: Sequence[System], options: argparse.Namespace, sweep: Sweep, show: Progress
) -> Written:
    """Rows and, where they are asked for, TREC files as rankings come."""
    seconds: dict[str, float] = {}
    unscored: dict[str, int] = {}
    biases: list[BiasRow] = []
    agreed = 0
    if options.run_files:
        for collection in collections:
            write_qrels(folder / RUNS / f"{collection.name}.qrels", collection)
    with pq.ParquetWriter(folder / ROWS, QUERIES, compression="zstd") as writer:
        for outcome in evaluate(collections, systems, options.depth, sweep, show):
            rows = outcome.rows()
            writer.write_table(rows)
            seconds[outcome.system.name] = round(seconds.get(outcome.system.name, 0.0) + outcome.seconds, 3)
            tag = f"{outcome.system.name}.{outcome.scorer}"
            if count := outcome.ranked.num_unscored:
                unscored[tag] = unscored.get(tag, 0) + count
            if options.run_files:
                run = folder / RUNS / f"{outcome.collection.name}.{tag}.run"
                write_run(run, outcome.collection, outcome.ranked, tag, outcome.judge.names)
                show(f"{tag}: compared with trec_eval")
                agreed += check_files(run, folder / RUNS / f"{outcome.collection.name}.qrels", rows)
            if len(outcome.collection.documents.languages) > 1:
                found = language_bias(outcome.judge, outcome.ranked)
                biases += [BiasRow(outcome.collection.name, outcome.system.name, outcome.scorer, bias) for bias in found]
    if biases:
        write_biases(folder / BIAS, biases)
    return Written(seconds, unscored, agreed if options.run_files else None)


def _check_out(out: Path) -> None:
    """Only what an evaluation wrote, or an empty folder, is ever replaced."""
    if out.exists() and not (out / EVALUATION).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise RunFolderError(f"{out}: is there and is no evaluation; choose another --out")


def _is_there(out: Path, identity: str, force: bool, run_files: bool) -> bool:
    """Whether this very evaluation is there and may be used again.

    Raises:
        RunFolderError: another evaluation is there, or a part of this one only, and may not be replaced.
    """
    if not (out / EVALUATION).is_file() or force:
        return False
    try:
        found = json.loads((out / EVALUATION).read_text(encoding="utf-8")).get("fingerprint")
    except (OSError, ValueError, AttributeError):
        found = None
    if found == identity and (missing := [name for name in (ROWS, SUMMARY) if not (out / name).is_file()]):
        raise RunFolderError(f"{out}: evaluated already, but {', '.join(missing)} is not there; evaluate again with --force")
    if found == identity and run_files and not (out / RUNS).is_dir():
        raise RunFolderError(
            f"{out}: evaluated already, without TREC files; evaluate again with --run-files --force, or into another --out"
        )
    if found != identity:
        raise RunFolderError(f"{out}: holds another evaluation (other models, data, systems or options); choose another --out, or --force")
    return True


def _replace(scratch: Path, out: Path) -> None:
    aside = out.with_name(f".{out.name}.{os.getpid()}.old")
    if out.exists():
        os.replace(out, aside)
    os.replace(scratch, out)
    shutil.rmtree(aside, ignore_errors=True)


def _describe_sides(sides: dict[str, Any]) -> str:
    """How texts are read: the first thing to look at where a model does worse than it should."""
    if not sides:
        return "No model: references alone"
    told = []
    for kind in ("queries", "documents"):
        side = sides[kind]
        told.append(
            f"{kind}: {side['model']}, prefix {side['prefix']!r}, cut to {side['max_tokens']} tokens"
            if side["prefix"]
            else f"{kind}: {side['model']}, no prefix, cut to {side['max_tokens']} tokens"
        )
    return "; ".join(told)


def _describe_languages(data: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    found = {kind: sorted({tag for each in data.values() for tag in each[f"{kind}_languages"]}) for kind in ("query", "document")}
    told = "; ".join(f"{name} in {', '.join(found[kind])}" for kind, name in (("query", "queries"), ("document", "documents")))
    unsaid = found["query"] == found["document"] == [ENGLISH] and _format_options(options).query_language is None
    return told + (" (taken where no file says it; else query_language=CODE, document_language=CODE)" if unsaid else "")


def _count(data: dict[str, dict[str, Any]]) -> str:
    queries = sum(found["queries"] for found in data.values())
    documents = sum({found["fingerprint"]: found["documents"] for found in data.values()}.values())
    return f"{len(data)} search{'' if len(data) == 1 else 'es'}, {queries:,} queries, {documents:,} documents"


def _print_skipped(console: Console, data: dict[str, dict[str, Any]]) -> None:
    """What was left out: of each search, since searches that share documents or judgements count the same ones."""
    for reason in dict.fromkeys(reason for found in data.values() for reason in found["skipped"]):
        counts = [found["skipped"][reason] for found in data.values() if reason in found["skipped"]]
        least, most = min(counts), max(counts)
        count = f"{most:,}" if least == most else f"{least:,} to {most:,}"
        where = "" if len(data) == 1 else f", in {'each' if len(counts) == len(data) else len(counts)} of {len(data)} searches"
        console.print(f"Left out: {count} x {reason}{where}", highlight=False)
    if missing := sum(found["without_candidates"] for found in data.values()):
        asked = sum(found["queries"] for found in data.values())
        console.print(
            f"Counted as not found: {missing:,} of {asked:,} queries, which the run to re-rank has no document for", highlight=False
        )
