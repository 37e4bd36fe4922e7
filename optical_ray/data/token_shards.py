"""Token shards: one side of the bitext as token ids, made once for each (corpus, language, tokenizer), read block by block.

    tokens-<fingerprint>/part-00000.arrow    uncompressed Arrow IPC, one record batch for each block of BLOCK_ROWS rows

A part appears whole or not at all, and is found again when its build was killed. Reading on the fly gives the same blocks without shards.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from optical_ray.artifacts import Store, file_sha256, list_differences, read_manifest, whole_file
from optical_ray.data.corpus import Corpus
from optical_ray.data.layout import BLOCK_ROWS, shard_parts
from optical_ray.data.tasks import MapTasks
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.tokenizer import TokenTable, tokenize
from optical_ray.errors import ArtifactError, DataError

FORMAT_VERSION = 1
"""Part of every shard's fingerprint: raised when the layout or the meaning of a column changes."""
PART_BLOCKS = 16
"""Blocks of one part: what one task tokenises, some seconds' work."""
KIND = "tokens"
TOKENIZER_FILES = ("tokenizer", "vocab", "merges", "special_tokens", "added_tokens", "sentencepiece", "spiece")
"""How the names of the files that make a tokenizer begin; the others of a model's folder change no token."""

Side = Literal["text", "english"]

SCHEMA = pa.schema(
    [
        pa.field("english_id", pa.int32(), nullable=False),
        pa.field("ids", pa.list_(pa.field("item", pa.int32(), nullable=False)), nullable=False),
        pa.field("content", pa.list_(pa.field("item", pa.uint8(), nullable=False)), nullable=False),  # bytes: bits would be unpacked
    ]
)


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What turns one side of a corpus into tokens. Plain data."""

    corpus: Path
    side: Side
    tokenizer: str
    """A folder or a hub id."""
    revision: str | None
    prefix: str
    max_tokens: int

    def inputs(self) -> dict[str, Any]:
        """What names the tokens in fingerprints: contents, never a path."""
        return {
            "format_version": FORMAT_VERSION,
            "corpus": _corpus(self.corpus).fingerprint,
            "side": self.side,
            "tokenizer": identify_tokenizer(self.tokenizer, self.revision),
            "prefix": self.prefix,
            "max_tokens": self.max_tokens,
        }


@dataclass(frozen=True, slots=True)
class TokenBlock:
    """At most BLOCK_ROWS rows of one language, in stored order."""

    tokens: TokenTable
    english_id: NDArray[np.int32]
    """Which English sentence each row translates."""


class TokenTask(TypedDict):
    """One part to write. Plain data."""

    rules: dict[str, Any]
    language: str
    first_block: int
    blocks: int
    path: str


class TokenSummary(TypedDict):
    """What a part holds."""

    rows: int
    tokens: int


def identify_tokenizer(folder: str, revision: str | None) -> dict[str, Any]:
    """What names a tokenizer in fingerprints: the digests of its files, or hub id and revision."""
    path = Path(folder)
    if not path.is_dir():
        return {"hub": folder, "revision": revision}
    files = sorted(file for file in path.rglob("*") if file.name.startswith(TOKENIZER_FILES) and file.is_file())
    return {"files": {str(file.relative_to(path)): file_sha256(file) for file in files}}


def build_token_shards(
    store: Store,
    rules: TokenRules,
    rows: Mapping[str, int],
    map_tasks: MapTasks | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Path]:
    """The shards of some languages, one artifact each, so that every set of languages finds those that another set has built.

    Args:
        store: Where they are kept.
        rules: Corpus, side, tokenizer.
        rows: By language, how many training rows (from the first on) are wanted; whole parts are made, a power of two of them.
        map_tasks: Runs `write_part` over the parts of a language that has more than one; None: here, one after the other.
        progress: Told one short line for each language that is made.
    """
    available = _corpus(rules.corpus).pairs("train")
    inputs = rules.inputs()
    folders = {}
    for tag, wanted in rows.items():
        parts = -(-available[tag] // (BLOCK_ROWS * PART_BLOCKS))
        while (half := -(-parts // 2)) < parts and half * BLOCK_ROWS * PART_BLOCKS >= wanted:
            parts = half
        count = min(available[tag], parts * BLOCK_ROWS * PART_BLOCKS)

        def fill(scratch: Path, tag: str = tag, parts: int = parts, count: int = count) -> Mapping[str, Any]:
            if progress is not None:
                progress(f"tokens: {tag}, {count:,} rows")
            _corpus(rules.corpus).require_intact(shard_parts(tag, "train"))
            tasks = [_task(rules, tag, part, count, scratch) for part in range(parts)]
            summaries = list((map_tasks or map)(write_part, tasks) if parts > 1 else map(write_part, tasks))
            return {"rows": sum(one["rows"] for one in summaries), "tokens": sum(one["tokens"] for one in summaries)}

        folders[tag] = store.build(KIND, inputs | {"language": tag, "rows": count}, fill, resume=True)
    return folders


def _task(rules: TokenRules, tag: str, part: int, rows: int, folder: Path) -> TokenTask:
    plain = {name: getattr(rules, name) for name in TokenRules.__slots__} | {"corpus": str(rules.corpus.absolute())}
    blocks = min(PART_BLOCKS, -(-rows // BLOCK_ROWS) - part * PART_BLOCKS)
    return {
        "rules": plain,
        "language": tag,
        "first_block": part * PART_BLOCKS,
        "blocks": blocks,
        "path": str((folder / f"part-{part:05d}.arrow").absolute()),
    }


def write_part(task: TokenTask) -> TokenSummary:
    """Write one part, unless an earlier build has left it there."""
    path = Path(task["path"])
    if not path.is_file():
        rules = TokenRules(**task["rules"] | {"corpus": Path(task["rules"]["corpus"])})
        with whole_file(path) as scratch, pa.OSFile(str(scratch), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
            for index in range(task["first_block"], task["first_block"] + task["blocks"]):
                block = make_block(rules, task["language"], index)
                offsets = pa.array(block.tokens.offsets.astype(np.int32))
                ids, content = (
                    pa.ListArray.from_arrays(offsets, pa.array(v)) for v in (block.tokens.ids, block.tokens.content.view(np.uint8))
                )
                columns = [pa.array(block.english_id), ids.cast(SCHEMA.field("ids").type), content.cast(SCHEMA.field("content").type)]
                writer.write_batch(pa.record_batch(columns, schema=SCHEMA))
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        return {"rows": sum(map(len, batches)), "tokens": sum(len(batch["ids"].values) for batch in batches)}


def make_block(rules: TokenRules, language: str, index: int) -> TokenBlock:
    """Tokenise one block of a corpus."""
    rows = _corpus(rules.corpus).block(language, "train", index)
    tokens = tokenize(_tokenizer(rules.tokenizer, rules.revision), rows[rules.side].to_pylist(), rules.max_tokens, rules.prefix)
    return TokenBlock(tokens, rows["english_id"].to_numpy().astype(np.int32))


@cache
def _corpus(folder: Path) -> Corpus:
    return Corpus.open(folder)


@cache
def _tokenizer(folder: str, revision: str | None) -> PreTrainedTokenizerBase:
    return load_tokenizer(folder, revision)


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Where one side's tokens come from. Plain data, so it can travel; opened where it is used."""

    rules: TokenRules
    shards: Mapping[str, Path] | None
    """What `build_token_shards` gave; None: tokenise on the fly."""


class TokenReader:
    """Tokens of some languages, read by blocks; the last few blocks are held, so memory does not grow with the corpus.

    Args:
        source: Corpus, tokenizer, shards.
        languages: Tags; a row is asked for by its language's place among them.

    Raises:
        DataError: a shard was made by other rules; says which.
    """

    def __init__(self, source: TokenSource, languages: Sequence[str]) -> None:
        self.rules, self.languages = source.rules, tuple(languages)
        self._shards = None if source.shards is None else _check_shards(source.shards, source.rules, languages)
        self._held: OrderedDict[tuple[int, int], TokenBlock] = OrderedDict()
        self._capacity = 2 * len(self.languages) + 2  # a window reads each language in one block, or across the end of one

    def gather(self, language: NDArray[np.int16], row: NDArray[np.int32]) -> TokenBlock:
        """The rows asked for, in that order: ragged tokens, and their English sentences.

        Args:
            language: Place of each row's language, int16 [rows]; equal ones stand together, or each run is gathered apart.
            row: Training row of that language, int32 [rows].
        """
        block = row // BLOCK_ROWS
        cuts = np.flatnonzero((np.diff(language) != 0) | (np.diff(block) != 0)) + 1
        starts = np.concatenate([[0], cuts]) if len(row) else cuts
        tables, english = [], [np.zeros(0, np.int32)]
        for start, end in zip(starts, np.append(cuts, len(row)), strict=True) if len(row) else ():
            held = self._block(int(language[start]), int(block[start]))
            inside = row[start:end] - block[start] * BLOCK_ROWS
            tables.append(held.tokens.take(inside))
            english.append(held.english_id[inside])
        return TokenBlock(TokenTable.join(tables), np.concatenate(english))

    def _block(self, language: int, index: int) -> TokenBlock:
        key = language, index
        if key not in self._held:
            tag = self.languages[language]
            self._held[key] = make_block(self.rules, tag, index) if self._shards is None else _read_block(self._shards[tag], index)
            if len(self._held) > self._capacity:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]


def _check_shards(shards: Mapping[str, Path], rules: TokenRules, languages: Sequence[str]) -> dict[str, Path]:
    inputs = rules.inputs()
    for tag in languages:
        manifest = read_manifest(shards[tag])
        found = {"kind": manifest.get("kind")} | {name: value for name, value in manifest["inputs"].items() if name != "rows"}
        if differences := list_differences(found, {"kind": KIND} | inputs | {"language": tag}):
            raise DataError(
                f"{shards[tag]}: made otherwise than asked for ({'; '.join(differences.values())}); build shards of these rules, or "
                "read with the rules that made these"
            )
    return {tag: shards[tag] for tag in languages}


def _read_block(folder: Path, index: int) -> TokenBlock:
    """A block, read whole: it is used up while it is held, and the page faults of a memory map take five times as long."""
    part, place = divmod(index, PART_BLOCKS)
    path = folder / f"part-{part:05d}.arrow"
    try:
        with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            batch = reader.get_batch(place)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ArtifactError(f"{path}, block {place}: cannot be read ({reason}); delete the folder to build it again") from None
    ids, content = (batch[name].values.to_numpy() for name in ("ids", "content"))
    offsets = batch["ids"].offsets.to_numpy().astype(np.int64)
    return TokenBlock(TokenTable(ids, content.view(np.bool_), offsets), batch["english_id"].to_numpy())
