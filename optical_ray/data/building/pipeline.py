"""Drives the build: harvest, near-duplicates, settle, number, assemble; each stage's tasks mapped here or over a cluster."""

from __future__ import annotations

import importlib.metadata
import shutil
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store, build_artifact
from optical_ray.data.building.assemble import AssembleTask, Piece, assemble, plan_parts
from optical_ray.data.building.harvest import HarvestSummary, HarvestTask, harvest
from optical_ray.data.building.near import NearTask, band, judge_bucket
from optical_ray.data.building.settle import NumberTask, SettleSummary, SettleTask, number, settle
from optical_ray.data.corpus import Corpus, CorpusConfig, check_rules
from optical_ray.data.layout import FORMAT_VERSION
from optical_ray.data.reading import SourceFiles, SourcePlan, Tally, find_sources, plan_chunks
from optical_ray.data.splits import SPLITS
from optical_ray.data.tasks import MapTasks, do_once
from optical_ray.data.wheels import Progress
from optical_ray.errors import ArtifactError, DataError
from optical_ray.languages.codes import describe_language

BUCKET_BYTES = 48 * 2**20
"""Text of one bucket, about: what one task holds at a time."""
MOST_BUCKETS = 2048


def corpus_inputs(config: CorpusConfig, sources: Sequence[SourceFiles]) -> dict[str, Any]:
    """What the corpus depends on, as plain data: its fingerprint is made of this.

    Args:
        config: Sources, rules, splits.
        sources: The files of the config's sources.
    """
    rules = {name: value for name, value in config.to_dict().items() if name not in ("path", "sources")}
    return {"format_version": FORMAT_VERSION} | rules | {"sources": [source.describe() for source in sources]}


def find_corpus(store: Store, config: CorpusConfig) -> Corpus | None:
    """The corpus of a config, if it is built.

    Raises:
        DataError: a source is missing or cannot be used, or `config.path` holds something else.
    """
    if config.path is not None:
        corpus = Corpus.open(Path(config.path))
        check_rules(corpus, config)
        return corpus
    inputs = corpus_inputs(config, find_sources(config.sources))
    return Corpus.open(store.path("corpus", inputs)) if store.has("corpus", inputs) else None


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
    sources = find_sources(config.sources)
    inputs = corpus_inputs(config, sources)
    target = store.path("corpus", inputs) if folder is None else folder

    def fill(scratch: Path) -> dict[str, Any]:
        plan = plan_chunks(
            sources, on_bad_row=config.on_bad_row, unknown_languages=config.unknown_languages, store=store, progress=progress
        )
        done, scratch = scratch / "facts.json", scratch.absolute()
        facts = do_once(done, lambda: _fill(scratch, config, plan, map_tasks or map, progress or (lambda line: None)))
        shutil.rmtree(scratch / "work", ignore_errors=True)
        done.unlink()
        return facts

    return Corpus.open(build_artifact(target, "corpus", inputs, fill, resume=True))


def _fill(scratch: Path, config: CorpusConfig, plan: SourcePlan, map_tasks: MapTasks, progress: Progress) -> dict[str, Any]:
    _check_room(scratch, plan)
    work = scratch / "work"
    buckets = _count_buckets(plan)

    def run(function: Callable[[Any], Any], tasks: Sequence[Any], what: str) -> list[Any]:
        done: list[Any] = []
        for summary in map_tasks(function, tasks):
            done.append(summary)
            progress(f"{what} {len(done):,}/{len(tasks):,}")
        assert len(done) == len(tasks), "map_tasks lost or invented a task"
        return done

    harvest_tasks: list[HarvestTask] = [
        {
            "chunk": chunk,
            "cleaning": config.cleaning.to_dict(),
            "split": config.split.to_dict(),
            "on_bad_row": config.on_bad_row,
            "buckets": buckets,
            "folder": str(work),
        }
        for chunk in plan.chunks
    ]
    summaries: list[HarvestSummary] = sorted(run(harvest, harvest_tasks, "read and cleaned, chunk"), key=lambda summary: summary["file"])
    harvests = [(summary["file"], summary["runs"]) for summary in summaries]
    if config.cleaning.near_duplicates != "off":
        near_tasks: list[NearTask] = [
            {"bucket": bucket, "buckets": buckets, "harvests": harvests, "cleaning": config.cleaning.to_dict(), "folder": str(work)}
            for bucket in range(buckets)
        ]
        run(band, near_tasks, "near-duplicates sought, bucket")
        run(judge_bucket, near_tasks, "near-duplicates judged, bucket")
    settle_tasks: list[SettleTask] = [
        {"bucket": bucket, "buckets": buckets, "harvests": harvests, "duplicates": config.cleaning.duplicates, "folder": str(work)}
        for bucket in range(buckets)
    ]
    # Results come in any order; a summary says by its groups what it holds, not which bucket it is of: read them back by number.
    run(settle, settle_tasks, "duplicates removed, bucket")
    settled: list[SettleSummary] = [settle(task) for task in settle_tasks]
    languages = _summarise(summaries, settled)
    left_out = sorted(tag for tag, facts in languages.items() if facts["kept"] < config.min_pairs)
    if len(left_out) == len(languages):
        raise DataError(_nothing_left(config, languages))
    number_tasks: list[NumberTask] = [
        {"bucket": bucket, "groups": summary["groups"], "left_out": left_out, "folder": str(work)} for bucket, summary in enumerate(settled)
    ]
    run(number, number_tasks, "English sentences collected, bucket")
    english = [number(task)["splits"] for task in number_tasks]
    tasks = _assembly(settled, english, [tag for tag in sorted(languages) if tag not in left_out], work)
    files = sorted(run(assemble, tasks, "written, file"), key=lambda file: str(file["file"]))
    tally = plan.tally
    for summary in summaries:
        tally.merge(Tally.from_dict(summary["tally"]))
    skipped = dict(plan.skipped)
    for (code, reason), count in sorted(tally.skipped.items()):
        skipped[code] = f"{reason}, {count:,} rows"
    return {
        "format_version": FORMAT_VERSION,
        "languages": {tag: facts for tag, facts in sorted(languages.items()) if tag not in left_out},
        "left_out": {tag: languages[tag] for tag in left_out},
        "skipped": skipped,
        "bad_rows": {"count": tally.bad.total(), "kinds": dict(sorted(tally.bad.items())), "first": tally.examples},
        "licences": plan.licences,
        "english": {split: sum(counts[split] for counts in english) for split in SPLITS},
        "files": {file["file"]: {name: file[name] for name in ("rows", "bytes", "sha256")} for file in files},
        "versions": {name: importlib.metadata.version(name) for name in ("langcodes", "numpy", "pyarrow", "regex")}
        | {"unicode": unicodedata.unidata_version},
    }


def _count_buckets(plan: SourcePlan) -> int:
    wanted, buckets = plan.estimated_bytes / BUCKET_BYTES, 1
    while buckets < min(wanted, MOST_BUCKETS):
        buckets *= 2
    return buckets


def _check_room(scratch: Path, plan: SourcePlan) -> None:
    free = shutil.disk_usage(scratch).free
    if free < plan.estimated_bytes:
        raise ArtifactError(
            f"{scratch.parent}: {free / 1e9:,.1f} GB free, the build needs about {plan.estimated_bytes / 1e9:,.1f} GB while it works; "
            "make room, or choose another place with --out or --store"
        )


def _summarise(harvested: Sequence[HarvestSummary], settled: Sequence[SettleSummary]) -> dict[str, dict[str, Any]]:
    """The manifest's facts of each language, sorted by tag."""
    tags = sorted({tag for summary in harvested for tag in summary["languages"]})
    facts: dict[str, dict[str, Any]] = {}
    for tag in tags:
        parts = [summary["languages"][tag] for summary in harvested if tag in summary["languages"]]
        dropped, read = Counter[str](), Counter[str]()
        for part in parts:
            dropped.update(part["dropped"])
            read.update(part["read"])
        pairs = {split: Counter[str]() for split in SPLITS}
        lengths: dict[str, Counter[int]] = {}
        for bucket in settled:
            dropped.update(bucket["dropped"].get(tag, {}))
            for split, sources in bucket["sources"].get(tag, {}).items():
                pairs[split].update(sources)  # type: ignore[index]
            for name, counts in bucket["lengths"].get(tag, {}).items():
                lengths.setdefault(name, Counter()).update({int(length): count for length, count in counts.items()})
        language = describe_language(tag)
        facts[tag] = {
            "name": language.name,
            "script": language.script,
            "codes": list(dict.fromkeys(code for part in parts for code in part["codes"])),
            "read": dict(sorted(read.items())),
            "kept": sum(sum(counts.values()) for counts in pairs.values()),
            "pairs": {split: dict(sorted(counts.items())) for split, counts in pairs.items()},
            "dropped": {rule: count for rule, count in sorted(dropped.items()) if count},
            "totals": {name: sum(length * count for length, count in lengths.get(name, {}).items()) for name in LENGTHS},
            "medians": {name: _median(lengths.get(name, Counter())) for name in LENGTHS},
        }
    return facts


LENGTHS = ("english_words", "english_chars", "text_words", "text_chars")
"""What is counted of every row: whitespace-separated words and characters of both sides."""


def _median(counts: Mapping[int, int]) -> float:
    """Median of lengths given as length -> rows; 0 of none."""
    total, seen, middle = sum(counts.values()), 0, []
    for length in sorted(counts):
        for place in {(total - 1) // 2, total // 2}:
            if seen <= place < seen + counts[length]:
                middle.append(length)
        seen += counts[length]
    return sum(middle) / len(middle) if middle else 0.0


def _assembly(settled: Sequence[SettleSummary], english: Sequence[dict[str, int]], tags: Sequence[str], work: Path) -> list[AssembleTask]:
    starts, total = [], 0
    for counts in english:
        starts.append(total)
        total += sum(counts.values())
    pieces: dict[tuple[str, int], list[Piece]] = {}
    for bucket, summary in enumerate(settled):
        for batch, (tag, split, rows) in enumerate(summary["groups"]):
            pieces.setdefault((tag, split), []).append((bucket, batch, rows, starts[bucket]))
    table: list[Piece] = [
        (bucket, 0, sum(counts.values()), starts[bucket]) for bucket, counts in enumerate(english) if sum(counts.values())
    ]
    tasks = plan_parts(None, 0, table, work)
    for tag in tags:
        for split in range(len(SPLITS)):
            tasks += plan_parts(tag, split, pieces.get((tag, split), []), work)
    for place, task in enumerate(tasks):
        task["number"] = place
    return tasks


def _nothing_left(config: CorpusConfig, languages: Mapping[str, Mapping[str, Any]]) -> str:
    read = sum(sum(facts["read"].values()) for facts in languages.values())
    most = max((facts["kept"] for facts in languages.values()), default=0)
    dropped = Counter[str]()
    for facts in languages.values():
        dropped.update(facts["dropped"])
    rules = ", ".join(f"{rule} dropped {count}" for rule, count in dropped.most_common(3)) or "no rule dropped any"
    return (
        f"{', '.join(config.sources)}: nothing left after cleaning: {read} rows of {len(languages)} languages read, "
        f"at most {most} of one kept, min_pairs is {config.min_pairs}; lower min_pairs or switch off a rule ({rules})"
    )
