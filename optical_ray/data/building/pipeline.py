"""Drives the build: harvest, near-duplicates, settle, number (bitext only), assemble; each stage's tasks mapped here or over a cluster."""

from __future__ import annotations

import collections
import importlib.metadata
import json
import shutil
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store, build_artifact, fingerprint, is_built, whole_file, write_json
from optical_ray.data.building.assemble import AssembleTask, Piece, assemble, plan_parts
from optical_ray.data.building.facts import CorpusFacts, nothing_left
from optical_ray.data.building.harvest import HarvestSummary, harvest
from optical_ray.data.building.near import HARVESTS, band, judge_bucket
from optical_ray.data.building.settle import Group, number, settle
from optical_ray.data.corpus import Corpus, check_rules
from optical_ray.data.corpus_config import SPLITS, CorpusConfig
from optical_ray.data.language_id import identifier_version
from optical_ray.data.layout import BLOCK_ROWS, FORMAT_VERSION, PART_ROWS
from optical_ray.data.reading import SourceFiles, SourcePlan, Tally, find_sources, plan_chunks
from optical_ray.data.reading.places import check_unchanged
from optical_ray.data.tasks import MapTasks, do_once
from optical_ray.data.wheels import Progress
from optical_ray.errors import ArtifactError, DataError

BUCKET_BYTES = 24 * 2**20
"""Text of one bucket, about. A process that settles or judges one peaks at some 15 to 30 times this."""
MOST_BUCKETS = 2048
"""Above about 50 GB of text buckets grow with the corpus."""
DISK_SHARE = 2.5
"""Most of the disk that a build takes while it works, over the text that it reads."""


def corpus_inputs(config: CorpusConfig, sources: Sequence[SourceFiles]) -> dict[str, Any]:
    """What the corpus depends on, as plain data: its fingerprint is made of this.

    Args:
        config: Sources, rules, splits.
        sources: The files of the config's sources.
    """
    kind = ["kind"] if config.kind == "bitext" else []  # bitext is what a corpus was before there was a choice, and keeps its fingerprint
    rules = {name: value for name, value in config.to_dict().items() if name not in ("path", "sources", *kind)}
    tables = {"unicode": unicodedata.unidata_version}  # what a key is depends on it
    if config.cleaning.identify_language:
        tables["language_id"] = identifier_version()  # another model drops other rows
    return {"format_version": FORMAT_VERSION} | tables | rules | {"sources": [source.describe() for source in sources]}


def find_corpus(store: Store, config: CorpusConfig, folder: Path | None = None) -> Corpus | None:
    """The corpus of a config, if it is built in the store or the given folder.

    Raises:
        DataError: a source is missing or cannot be used, or `config.path` holds something else.
        ArtifactError: the folder holds something else, or a corpus of other sources or rules.
    """
    if config.path is not None:
        corpus = Corpus.open(Path(config.path))
        check_rules(corpus, config)
        return corpus
    inputs = corpus_inputs(config, find_sources(config.sources, config.kind))
    target = store.path("corpus", inputs) if folder is None else folder
    return Corpus.open(target) if is_built(target, "corpus", inputs) else None


def build_corpus(
    store: Store,
    config: CorpusConfig,
    map_tasks: MapTasks | None = None,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> Corpus:
    """The corpus of a config: opened when it is there, else built. Killed half-way and called again, it goes on where it stopped.

    Args:
        store: Where corpora and wheels live.
        config: Sources, cleaning, splits; or the path of a corpus that is built already.
        map_tasks: Runs a function over tasks; None: here, one after the other. The corpus is the same either way.
        progress: Told one short line at a time.
        folder: Where to build instead of in the store.

    Raises:
        DownloadError: a wheel cannot be fetched.
        DataError: a source cannot be used, or no language has `min_pairs` rows after cleaning.
        ArtifactError: the folder holds something else or a corpus of other sources or rules, cannot be written, or its disk is full.
    """
    if config.path is not None:
        corpus = find_corpus(store, config)
        assert corpus is not None
        return corpus
    sources = find_sources(config.sources, config.kind)
    inputs = corpus_inputs(config, sources)
    target = store.path("corpus", inputs) if folder is None else folder

    def fill(scratch: Path) -> dict[str, Any]:
        plan = plan_chunks(
            sources, on_bad_row=config.on_bad_row, unknown_languages=config.unknown_languages, store=store, progress=progress
        )
        done, scratch = scratch / "facts.json", scratch.absolute()
        facts = do_once(done, lambda: _fill(scratch, config, plan, map_tasks or map, progress or (lambda line: None)))
        _remove_strays(scratch, facts["files"])
        done.unlink()
        return facts

    return Corpus.open(build_artifact(target, "corpus", inputs, fill, resume=True))


def _fill(scratch: Path, config: CorpusConfig, plan: SourcePlan, map_tasks: MapTasks, progress: Progress) -> dict[str, Any]:
    work, buckets = scratch / "work", _count_buckets(plan)
    _keep_if_same(scratch, plan, buckets)
    _check_room(scratch, plan)

    def run(function: Callable[[Any], Any], tasks: Sequence[Any], what: str) -> Iterator[Any]:
        done = 0
        for summary in map_tasks(function, tasks):
            done += 1
            progress(f"{what} {done:,}/{len(tasks):,}")
            yield summary
        assert done == len(tasks), "map_tasks lost or invented a task"

    rules, folder = {"cleaning": config.cleaning.to_dict(), "split": config.split.to_dict()}, {"folder": str(work)}
    harvest_tasks = [{"chunk": chunk, "on_bad_row": config.on_bad_row, "buckets": buckets} | rules | folder for chunk in plan.chunks]
    summaries: list[HarvestSummary] = sorted(
        run(harvest, harvest_tasks, "read and cleaned, chunk"), key=lambda summary: str(summary["file"])
    )
    try:
        check_unchanged(file for source in plan.sources for file in source.files)
    except DataError:
        shutil.rmtree(work)  # nothing of it may be taken for rows of the files as they were
        raise
    write_json(work / HARVESTS, [[summary["file"], summary["runs"]] for summary in summaries])
    facts, tally = CorpusFacts(), plan.tally
    for summary in summaries:
        facts.add_harvest(summary)
        tally.merge(Tally.from_dict(summary["tally"]))

    near_tasks = [{"bucket": bucket, "buckets": buckets} | rules | folder for bucket in range(buckets)]
    if config.cleaning.near_duplicates != "off":
        collections.deque(run(band, near_tasks, "near-duplicates sought, bucket"), maxlen=0)
        collections.deque(run(judge_bucket, near_tasks, "near-duplicates judged, bucket"), maxlen=0)
        _forget(work / "near", "bands-*.arrow")
    settle_tasks = [{"bucket": bucket, "buckets": buckets, "duplicates": config.cleaning.duplicates} | folder for bucket in range(buckets)]
    groups: dict[int, list[Group]] = {}
    for settled in run(settle, settle_tasks, "duplicates removed, bucket"):
        facts.add_settled(settled)
        groups[settled["bucket"]] = [tuple(group) for group in settled["groups"]]
    _forget(work / "harvest", "*.arrow")

    languages = facts.describe()
    left_out = sorted(tag for tag, found in languages.items() if found["kept"] < config.min_pairs)
    if len(left_out) == len(languages):
        raise DataError(nothing_left(config.sources, config.min_pairs, languages, tally.examples))
    english: dict[int, dict[str, int]] = {}  # of text alone it stays empty
    if config.kind == "bitext":
        number_tasks = [{"bucket": bucket, "groups": groups[bucket], "left_out": left_out} | folder for bucket in range(buckets)]
        english = {numbered["bucket"]: numbered["splits"] for numbered in run(number, number_tasks, "English sentences collected, bucket")}
    tasks = _assembly(groups, english, [tag for tag in languages if tag not in left_out], work)
    files = sorted(run(assemble, tasks, "written, file"), key=lambda file: str(file["file"]))
    skipped: dict[str, list[str]] = {code: [reason] for code, reason in plan.skipped.items()}
    for (code, reason), count in sorted(tally.skipped.items()):
        skipped.setdefault(code, []).append(f"{reason}, {count:,} rows")
    return {
        "format_version": FORMAT_VERSION,
        "languages": {tag: found for tag, found in languages.items() if tag not in left_out},
        "left_out": {tag: languages[tag] for tag in left_out},
        "skipped": {code: "; ".join(reasons) for code, reasons in skipped.items()},
        "bad_rows": {"count": tally.bad.total(), "kinds": dict(sorted(tally.bad.items())), "first": tally.examples},
        "licences": plan.licences,
        "english": {split: sum(counts[split] for counts in english.values()) for split in SPLITS},
        "files": {file["file"]: {name: file[name] for name in ("rows", "bytes", "sha256")} for file in files},
        "versions": {name: importlib.metadata.version(name) for name in ("optical-ray", "langcodes", "numba", "numpy", "pyarrow", "regex")}
        | {"unicode": unicodedata.unidata_version}
        | ({"language_id": identifier_version()} if config.cleaning.identify_language else {}),
    }


def _keep_if_same(scratch: Path, plan: SourcePlan, buckets: int) -> None:
    """Begin anew unless what an earlier build left was cut and dealt out in the same way, from files that nobody has written to since.

    Another release may cut otherwise, and a file that has its old bytes back may have had others when a killed build read it.
    """
    way = {
        "version": importlib.metadata.version("optical-ray"),
        "buckets": buckets,
        "rows": [BLOCK_ROWS, PART_ROWS],
        "chunks": fingerprint(plan.chunks),
        "files": fingerprint([[file.path, file.size, file.changed_ns] for source in plan.sources for file in source.files]),
    }
    kept = scratch / "work" / "plan.json"
    if kept.is_file() and kept.read_text(encoding="utf-8") == json.dumps(way):
        return
    for path in scratch.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    with whole_file(kept) as file:
        file.write_text(json.dumps(way), encoding="utf-8")


def _forget(folder: Path, pattern: str) -> None:
    """Delete what every later stage can do without; the summaries stay and say that it was done."""
    for path in folder.glob(pattern):
        path.unlink()


def _remove_strays(scratch: Path, files: Mapping[str, Any]) -> None:
    """Delete whatever is not of the corpus: the working folder, and parts that a killed process left unfinished."""
    shutil.rmtree(scratch / "work", ignore_errors=True)
    for path in [path for path in scratch.rglob("*") if path.is_file() and path.parent != scratch]:
        if str(path.relative_to(scratch)) not in files:
            path.unlink()


def _count_buckets(plan: SourcePlan) -> int:
    wanted, buckets = plan.estimated_bytes / BUCKET_BYTES, 1
    while buckets < min(wanted, MOST_BUCKETS):
        buckets *= 2
    return buckets


def _check_room(scratch: Path, plan: SourcePlan) -> None:
    there = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
    free, needed = shutil.disk_usage(scratch).free, DISK_SHARE * plan.estimated_bytes - there
    if free < needed:
        raise ArtifactError(
            f"{scratch.parent}: {free / 1e9:,.1f} GB free, the build needs up to {needed / 1e9:,.1f} GB while it works; "
            "make room, or choose another place with --out or --store"
        )


def _assembly(
    groups: Mapping[int, list[Group]], english: Mapping[int, dict[str, int]], tags: Sequence[str], work: Path
) -> list[AssembleTask]:
    starts, total = {}, 0
    for bucket in sorted(english):
        starts[bucket] = total
        total += sum(english[bucket].values())
    pieces: dict[tuple[str, int], list[Piece]] = {}
    for bucket in sorted(groups):
        for batch, (tag, split, rows) in enumerate(groups[bucket]):
            pieces.setdefault((tag, split), []).append((bucket, batch, rows, starts.get(bucket)))
    table: list[Piece] = [(bucket, 0, count, starts[bucket]) for bucket in sorted(english) if (count := sum(english[bucket].values()))]
    tasks = plan_parts(None, 0, table, work)
    for tag in tags:
        for split in range(len(SPLITS)):
            tasks += plan_parts(tag, split, pieces.get((tag, split), []), work)
    for place, task in enumerate(tasks):
        task["number"] = place
    return tasks
