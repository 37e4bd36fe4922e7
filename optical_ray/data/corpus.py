"""The corpus on disk: every language's rows in Parquet parts, the unique English sentences, a manifest. Read by blocks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.artifacts import fingerprint, list_differences, read_manifest
from optical_ray.data.corpus_config import SPLITS, CorpusConfig, Split
from optical_ray.data.layout import BLOCK_ROWS, ENGLISH_TABLE, FORMAT_VERSION, PART_ROWS, SHARD, english_part, shard_part
from optical_ray.data.reading.chunks import Kind
from optical_ray.errors import DataError, LanguageError
from optical_ray.languages.metadata import language_metadata

TEXT_ALONE = "holds text alone (kind=text); distillation needs bitext, so build or name a corpus of pairs"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A finished corpus. Rows are in the order of a hash of their English (text alone: of the text): any stretch is a random sample."""

    folder: Path
    manifest: dict[str, Any] = field(repr=False, compare=False)
    """manifest.json: `inputs` (what the fingerprint names) and `facts` (languages, skipped, english, licences, files, ...)."""

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
    def kind(self) -> Kind:
        """What its rows are. Text alone has an empty English side, and -1 for its number."""
        kind: Kind = self.manifest["inputs"].get("kind", "bitext")
        return kind

    @property
    def unit(self) -> str:
        """What its rows are called in texts."""
        return "pairs" if self.kind == "bitext" else "rows"

    def require_bitext(self) -> None:
        """Refuse a corpus of text alone.

        Raises:
            DataError: it is one.
        """
        if self.kind == "text":
            raise DataError(f"{self.folder}: {TEXT_ALONE}")

    @property
    def languages(self) -> tuple[str, ...]:
        """Canonical tags, sorted."""
        return tuple(self.manifest["facts"]["languages"])

    def pairs(self, split: Split) -> dict[str, int]:
        """Rows of one split, by language; a language without any has 0."""
        return {tag: sum(facts["pairs"][split].values()) for tag, facts in self.manifest["facts"]["languages"].items()}

    def sources(self, tags: Sequence[str]) -> tuple[str, ...]:
        """Names of the sources that the training rows of some languages come from, sorted."""
        facts = self.manifest["facts"]["languages"]
        return tuple(sorted({source for tag in tags for source, count in facts[tag]["pairs"]["train"].items() if count}))

    @property
    def num_english(self) -> int:
        """English strings of the corpus: english_id runs from 0 to this; 0 where it holds text alone."""
        return int(sum(self.manifest["facts"]["english"].values()))

    def rows(self, tag: str, split: Split, columns: Sequence[str] = ("id", "english_id", "english", "text")) -> pa.Table:
        """All rows of one language and split in stored order, in memory. For small splits; training reads `block` by block.

        Raises:
            LanguageError: the corpus has no such language.
            DataError: a file cannot be read.
        """
        count = self._count(tag, split)
        return self._read(lambda part: shard_part(tag, split, part), -(-count // PART_ROWS), SHARD, columns)

    def head(self, tag: str, split: Split, rows: int, columns: Sequence[str] = ("id", "english_id", "english", "text")) -> pa.Table:
        """The first rows of one language and split in stored order, which is as good as a random sample of them."""
        blocks = -(-min(rows, self._count(tag, split)) // BLOCK_ROWS)
        tables = [self.block(tag, split, index, columns) for index in range(blocks)]
        return pa.concat_tables([SHARD.empty_table().select(list(columns)), *tables]).slice(0, rows).combine_chunks()

    def english(self) -> pa.Table:
        """Every English string once, in memory: english_id (int32, dense), english, split, key. The newest two tables are kept.

        Raises:
            DataError: the corpus holds text alone, or a file cannot be read.
        """
        self.require_bitext()
        return _read_english(self)

    def block(self, tag: str, split: Split, index: int, columns: Sequence[str] = SHARD.names) -> pa.Table:
        """Rows [index * BLOCK_ROWS, (index + 1) * BLOCK_ROWS) of one language and split, read alone; the last block is shorter.

        Raises:
            LanguageError: the corpus has no such language.
            DataError: there is no such block, or its file cannot be read.
        """
        return self._read_block(lambda part: shard_part(tag, split, part), self._count(tag, split), index, columns)

    def english_block(self, index: int, columns: Sequence[str] = ENGLISH_TABLE.names) -> pa.Table:
        """Rows [index * BLOCK_ROWS, (index + 1) * BLOCK_ROWS) of `english()`, read alone. Raises as it does."""
        self.require_bitext()
        return self._read_block(english_part, self.num_english, index, columns)

    def require_intact(self, beginning: str) -> None:
        """Refuse files that were changed since the corpus was built: what is made of them would stand in the store under its name.

        Args:
            beginning: How the names of the files begin that are about to be read.

        Raises:
            DataError: which one.
        """
        if damaged := self.damaged_files(beginning):
            raise DataError(
                f"{self.folder / damaged[0]}: not as it was written when the corpus was built (its checksum in manifest.json differs); "
                "build the corpus again"
            )

    def damaged_files(self, beginning: str = "") -> list[str]:
        """Files that are missing, or whose bytes are not those that were written. Reads all whose names begin so."""
        found = []
        for name, facts in self.manifest["facts"]["files"].items():
            if not name.startswith(beginning):
                continue
            try:
                with (self.folder / name).open("rb") as stream:
                    if hashlib.file_digest(stream, "sha256").hexdigest() == facts["sha256"]:
                        continue
            except OSError:
                pass
            found.append(name)
        return found

    def _count(self, tag: str, split: Split) -> int:
        languages = self.manifest["facts"]["languages"]
        if tag not in languages:
            raise LanguageError(f"{self.folder}: no language {tag!r} in this corpus, which has {', '.join(self.languages) or 'none'}")
        return int(sum(languages[tag]["pairs"][split].values()))

    def _read(self, name: Any, parts: int, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
        tables = [schema.empty_table().select(list(columns))]
        for part in range(parts):
            path = self.folder / name(part)
            try:
                with pq.ParquetFile(path) as file:
                    tables.append(file.read(columns=list(columns)))
            except (pa.ArrowException, OSError, KeyError) as error:
                raise _damaged(path, error) from None
        return pa.concat_tables(tables).combine_chunks()

    def _read_block(self, name: Any, count: int, index: int, columns: Sequence[str]) -> pa.Table:
        if not 0 <= index * BLOCK_ROWS < count:
            raise DataError(f"{self.folder}: no block {index} in {name(0)}; {count} rows are {-(-count // BLOCK_ROWS)} blocks")
        part, group = divmod(index, PART_ROWS // BLOCK_ROWS)
        path = self.folder / name(part)
        try:
            state = path.stat()
            return _open_part(path, os.getpid(), state.st_ino, state.st_mtime_ns).read_row_group(group, columns=list(columns))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _damaged(path, error) from None


@lru_cache(maxsize=256)
def _open_part(path: Path, process: int, inode: int, changed_ns: int) -> pq.ParquetFile:
    """`process` is in the key because a fork shares the file's position with its parent, the others because a folder may be built again."""
    return pq.ParquetFile(path)


@lru_cache(maxsize=2)
def _read_english_table(folder: Path, fingerprint: str) -> pa.Table:
    corpus = Corpus.open(folder)
    return corpus._read(english_part, -(-corpus.num_english // PART_ROWS), ENGLISH_TABLE, ENGLISH_TABLE.names)


def _read_english(corpus: Corpus) -> pa.Table:
    return _read_english_table(corpus.folder, corpus.fingerprint)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read ({str(error).partition(chr(10))[0]}); delete the corpus folder and build it again")


def check_rules(corpus: Corpus, config: CorpusConfig) -> None:
    """Refuse a corpus that was built by other rules than a config asks for; what the config leaves at its default asks for nothing.

    Raises:
        DataError: which rules differ.
    """
    default, asked, built = (
        {name: value for name, value in values.items() if name not in ("path", "sources")}
        for values in (CorpusConfig().to_dict(), config.to_dict(), {**corpus.manifest["inputs"], "kind": corpus.kind})
    )
    named = list_differences(default, asked)
    wrong = [text for place, text in list_differences({name: built.get(name) for name in asked}, asked).items() if place in named]
    if wrong:
        raise DataError(
            f"{corpus.folder}: was built by other rules ({'; '.join(wrong)}); leave those fields of `corpus` out, or build it again"
        )


def describe_corpus(corpus: Corpus) -> list[dict[str, Any]]:
    """One row for each language, by tag: what `optical data show` prints."""
    licences, side = corpus.manifest["facts"]["licences"], "english" if corpus.kind == "bitext" else "text"
    rows: list[dict[str, Any]] = []
    for tag, facts in corpus.manifest["facts"]["languages"].items():
        sources: dict[str, int] = {}
        for by_source in facts["pairs"].values():
            for source, count in by_source.items():
                sources[source] = sources.get(source, 0) + count
        rows.append(
            {
                "language": tag,
                "name": facts["name"],
                "family": language_metadata(tag).family or "unknown",
                "script": facts["script"],
                **{split: sum(facts["pairs"][split].values()) for split in SPLITS},
                "read": sum(facts["read"].values()),
                "dropped": dict(facts["dropped"]),
                "median words": facts["medians"][f"{side}_words"],
                "words": facts["totals"]["text_words"],
                "characters": facts["totals"]["text_chars"],
                "sources": ", ".join(f"{source} {count}" for source, count in sorted(sources.items(), key=lambda item: -item[1])),
                "licences": ", ".join(sorted({licences.get(source) or "not stated" for source in sources})),
            }
        )
    return rows
