"""One block of English sentences -> one piece on disk: the teacher's token vectors, written whole or not at all.

A piece is two files: `part-00007.offsets.npy`, then `part-00007.npy`; it is there once the second is. T tokens of a piece, D dimensions.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from optical_ray.artifacts import whole_file
from optical_ray.data.corpus import Corpus
from optical_ray.encoders.config import TeacherConfig
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.teacher import Teacher, describe_form, load_teacher, read_dimension
from optical_ray.encoders.tokenizer import TokenTable, tokenize
from optical_ray.errors import ArtifactError

BATCH_TOKENS = 4096  # of one forward pass, padding included
SIZE_SENTENCES = 1024  # tokenised to tell how large the whole will be
WARM_UP_SENTENCES = 16  # of a calibration: the first passes of a process are slower than all others


class EncoderSetup(TypedDict):
    """What a `PieceEncoder` is made of."""

    model: str
    """Folder of the teacher."""
    config: dict[str, Any]
    """TeacherConfig."""
    device: str
    corpus: str
    """Folder of the corpus."""


class PieceTask(TypedDict):
    """One block to encode."""

    block: int
    """Of `Corpus.english_block`."""
    limit: int | None
    """Only so many sentences, timed and thrown away: a calibration. None: the whole block, kept."""
    folder: str
    """Where the piece goes."""


class PieceSummary(TypedDict):
    """What was done."""

    block: int
    calibration: bool
    """The task had a limit, and nothing was kept."""
    sentences: int
    tokens: int
    empty: int
    """Sentences without a content token."""
    broken: int
    """Tokens that are NaN, infinite or beyond 65504, the largest float16."""
    seconds: float
    """Of tokenising and encoding; the teacher was loaded before."""


class EncoderPool(Protocol):
    """Where pieces are encoded."""

    @property
    def actors(self) -> int:
        """How many encode at a time."""

    @property
    def device(self) -> str:
        """Where a teacher's tensors live."""

    def map(
        self, factory: Callable[[EncoderSetup], Callable[[PieceTask], PieceSummary]], setup: EncoderSetup, tasks: Sequence[PieceTask]
    ) -> Iterable[PieceSummary]:
        """Call `factory(setup)` once in each actor, and what it gives with every task; results in any order."""


class OneProcess:
    """Encodes here, one piece after the other."""

    actors = 1

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def map(
        self, factory: Callable[[EncoderSetup], Callable[[PieceTask], PieceSummary]], setup: EncoderSetup, tasks: Sequence[PieceTask]
    ) -> Iterator[PieceSummary]:
        yield from map(factory(setup), tasks)


class PieceEncoder:
    """A loaded teacher that writes pieces. A piece depends on its task and setup alone, not on what was encoded before."""

    def __init__(self, setup: EncoderSetup) -> None:
        self._corpus = Corpus.open(Path(setup["corpus"]))
        self._teacher = load_teacher(setup["model"], TeacherConfig.parse(setup["config"], "teacher"), setup["device"])

    def __call__(self, task: PieceTask) -> PieceSummary:
        """Encode the block of a task.

        Raises:
            ArtifactError: the disk is full.
        """
        limit = task["limit"]
        texts = self._corpus.english_block(task["block"], ["english"])["english"].slice(0, limit).to_pylist()
        if limit is not None:
            encode_texts(self._teacher, texts[:WARM_UP_SENTENCES])
        started = time.perf_counter()
        vectors, offsets = encode_texts(self._teacher, texts)
        seconds = time.perf_counter() - started
        if limit is None:
            write_piece(Path(task["folder"]), task["block"], vectors, offsets)
        return {
            "block": task["block"],
            "calibration": limit is not None,
            "sentences": len(texts),
            "tokens": len(vectors),
            "empty": int((np.diff(offsets) == 0).sum()),
            "broken": int((~np.isfinite(vectors)).any(axis=1).sum()),
            "seconds": seconds,
        }


def encode_texts(teacher: Teacher, texts: Sequence[str]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Content tokens of English sentences, float16 [T, D], and their offsets, int64 [sentences + 1]."""
    return encode_sentences(teacher, tokenize(teacher.tokenizer, texts, teacher.form.max_tokens, teacher.form.prefix))


def encode_sentences(teacher: Teacher, table: TokenTable) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Content tokens of all sentences in float16 [T, D] and their offsets; sorted by length inside, in table order outside."""
    running = np.concatenate([[0], table.content.cumsum()])
    offsets = running[table.offsets].astype(np.int64)
    content_lengths = np.diff(offsets)
    vectors = np.empty((offsets[-1], teacher.dimension), np.float16)
    order = np.argsort(table.lengths, kind="stable")
    done = 0
    while done < len(order):
        width = int(table.lengths[order[min(done + BATCH_TOKENS // 8, len(order) - 1)]])
        chosen = order[done : done + max(1, BATCH_TOKENS // max(width, 8))]
        part = table.take(chosen)
        attention = np.arange(part.lengths.max()) < part.lengths[:, None]
        ids = np.full(attention.shape, teacher.tokenizer.pad_token_id or 0, np.int64)
        ids[attention] = part.ids
        content = np.zeros(attention.shape, np.bool_)
        content[attention] = part.content
        states_BMD = teacher.encode(torch.from_numpy(ids), torch.from_numpy(attention))
        tokens_TD = states_BMD[torch.from_numpy(content).to(states_BMD.device)].half()
        ends = content_lengths[chosen].cumsum()
        rows = np.repeat(offsets[chosen + 1] - ends, content_lengths[chosen]) + np.arange(len(tokens_TD))
        vectors[rows] = tokens_TD.cpu().numpy()
        done += len(chosen)
    return vectors, offsets


def _paths(folder: Path, block: int) -> tuple[Path, Path]:
    return folder / f"part-{block:05d}.npy", folder / f"part-{block:05d}.offsets.npy"


def write_piece(folder: Path, block: int, vectors: NDArray[np.float16], offsets: NDArray[np.int64]) -> None:
    """Write a piece; a process killed at any time leaves it whole or absent.

    Raises:
        ArtifactError: the disk is full.
    """
    vectors_path, offsets_path = _paths(folder, block)
    for path, array in ((offsets_path, offsets), (vectors_path, vectors)):
        with whole_file(path) as scratch, scratch.open("wb") as stream:
            np.save(stream, array)


def has_piece(folder: Path, block: int, sentences: int) -> bool:
    """Whether a whole piece of that many sentences is there."""
    try:
        vectors, offsets = open_piece(folder, block)
    except ArtifactError:
        return False
    return len(offsets) == sentences + 1 and offsets[-1] == len(vectors)


def open_piece(folder: Path, block: int) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Vectors, float16 [T, D], as a memory map, and offsets, int64 [sentences + 1].

    Raises:
        ArtifactError: it is not there, or shorter than it says.
    """
    vectors_path, offsets_path = _paths(folder, block)
    try:
        # A plain array over the map: slices of np.memmap itself cost three times as much.
        return np.asarray(np.load(vectors_path, mmap_mode="r")), np.load(offsets_path)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{vectors_path}: cannot be read ({error}); delete {folder} and run again: it is built anew") from None


@dataclass(frozen=True, slots=True)
class SizeEstimate:
    """What is about to be written."""

    sentences: int
    tokens_per_sentence: float
    dimension: int

    @property
    def bytes(self) -> float:
        """Vectors in float16 and offsets."""
        return self.sentences * (self.tokens_per_sentence * self.dimension * 2 + 8)

    def __str__(self) -> str:
        return f"{_scaled(self.sentences)} sentences, {self.tokens_per_sentence:.0f} tokens each, {_scaled(self.bytes, 'B')}"

    def check_disk(self, folder: Path) -> None:
        """Refuse what does not fit.

        Raises:
            ArtifactError: with both numbers.
        """
        free = shutil.disk_usage(folder).free
        if self.bytes > free:
            raise ArtifactError(
                f"{folder.parent}: teacher tokens ({self}) do not fit: {_scaled(free, 'B')} free; make room, choose another place with "
                "--store, or set teacher.cache=false to compute them at every step"
            )


def estimate_size(corpus: Corpus, config: TeacherConfig, folder: str, sentences: int) -> SizeEstimate:
    """What so many sentences of the corpus will take, judged by the first that are stored; the teacher's weights are not read.

    Raises:
        ModelError: the teacher's folder is incomplete.
    """
    sample = corpus.english_block(0, ["english"])["english"].slice(0, SIZE_SENTENCES).to_pylist()
    form = describe_form(folder, config)
    table = tokenize(load_tokenizer(folder, config.revision), sample, form.max_tokens, form.prefix)
    return SizeEstimate(sentences, table.content.sum() / len(table), read_dimension(folder, config))


def _scaled(number: float, unit: str = "") -> str:
    """`4.1 M`, `38 GB`, `360`."""
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor and (unit or factor >= 1e6):
            value = number / factor
            return f"{value:.1f} {letter}{unit}" if value < 10 else f"{value:.0f} {letter}{unit}"
    return f"{number:,.0f} {unit}".strip()


def describe_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
