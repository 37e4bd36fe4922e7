"""What is measured of a teacher's tokens before anything is learnt from them: their centre, on one fixed sample.

The same sample whether the teacher's tokens are cached or computed online, and in however many pieces: both modes learn from equal numbers.
T tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optical_ray.artifacts import MANIFEST, Store, file_sha256, fingerprint, read_manifest
from optical_ray.data.corpus import Corpus
from optical_ray.data.layout import BLOCK_ROWS
from optical_ray.data.teacher_pieces import encode_texts
from optical_ray.encoders.config import TeacherConfig
from optical_ray.encoders.teacher import Teacher, describe_form, load_teacher
from optical_ray.errors import NumericsError

FORMAT = 2
"""Part of every fingerprint: raised when the files' layout or what is in them changes."""
SAMPLE_SENTENCES = 8192  # training sentences that centre and spread are measured on

Progress = Callable[[str], None]
ReadBlock = Callable[[int], tuple[NDArray[np.float16], NDArray[np.int64]]]
"""Block of the English table -> vectors, float16 [T, D], and offsets, int64 [sentences + 1], of all its sentences."""


@dataclass(frozen=True, slots=True)
class TeacherCentre:
    """What is known of the teacher's tokens as a whole, from the first training sentences in stored (pseudo-random) order."""

    centre: NDArray[np.float32]
    """The mean content token, [D]."""
    spread: float
    """Mean distance of the content tokens from it."""

    @classmethod
    def open(cls, folder: Path) -> TeacherCentre:
        """Read it from an artifact `teacher-centre` or `teacher-tokens`."""
        return cls(np.load(folder / "centre.npy"), float(read_manifest(folder)["facts"]["spread"]))


def identify_model(folder: str, revision: str | None) -> dict[str, Any]:
    """What names an encoder in fingerprints: the digests of its files, or hub id and revision. Never a path."""
    path = Path(folder)
    if not path.is_dir():
        return {"hub": folder, "revision": revision}
    files = sorted(file for file in path.rglob("*") if file.suffix in {".json", ".safetensors", ".txt", ".model", ".bin", ".metadata"})
    files = [file for file in files if file != path / MANIFEST]  # of a teacher that was trained here: it says how long that took
    return {"files": {str(file.relative_to(path)): file_sha256(file) for file in files}}


def teacher_inputs(corpus: Corpus, config: TeacherConfig, folder: str) -> dict[str, Any]:
    """What the teacher's tokens of a corpus depend on; the encoder lies in `folder`."""
    form = describe_form(folder, config)
    return {
        "format": FORMAT,
        "corpus": corpus.fingerprint,
        "model": identify_model(folder, config.revision),
        "projection": config.projection,
        "prefix": form.prefix,
        "max_tokens": form.max_tokens,
    }


def identify_teacher(folder: Path) -> str:
    """16 hex digits that name teacher and corpus: equal for the artifacts `teacher-tokens` and `teacher-centre` of the same inputs."""
    return fingerprint(read_manifest(folder)["inputs"])[:16]


def build_teacher_centre(
    store: Store, corpus: Corpus, config: TeacherConfig, folder: str, progress: Progress | None = None, device: str = "cpu"
) -> Path:
    """The artifact `teacher-centre`: all that is needed beforehand where the teacher encodes online. Arguments as `build_teacher_tokens`.

    Raises:
        NumericsError: the teacher gives no finite centre.
    """
    teacher: Teacher | None = None

    def encode_block(block: int) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        nonlocal teacher
        if progress is not None:
            progress(
                f"teacher centre: {block * BLOCK_ROWS:,} sentences encoded, at least {min(SAMPLE_SENTENCES, corpus.num_english):,} in all"
            )
        teacher = teacher or load_teacher(folder, config, device)
        return encode_texts(teacher, corpus.english_block(block, ["english"])["english"].to_pylist())

    return measure_centre_once(store, corpus, teacher_inputs(corpus, config, folder), encode_block)


def measure_centre_once(
    store: Store,
    corpus: Corpus,
    inputs: dict[str, Any],
    read_block: ReadBlock,
) -> Path:
    """The artifact of a corpus and teacher; `read_block` gives vectors and offsets of whole blocks, as a piece holds them.

    Blocks are read whole, so that a teacher that encodes them now and a piece that was encoded long ago agree in every bit.
    """

    def fill(scratch: Path) -> dict[str, Any]:
        sample: list[NDArray[np.float16]] = []
        wanted = SAMPLE_SENTENCES
        for block in range(-(-corpus.num_english // BLOCK_ROWS)):
            if not wanted:
                break
            chosen = np.asarray(corpus.english_block(block, ["split"])["split"]) == "train"
            chosen &= chosen.cumsum() <= wanted
            wanted -= int(chosen.sum())
            vectors, offsets = read_block(block)
            sample.append(vectors[np.repeat(chosen, np.diff(offsets))])
        tokens = sum(map(len, sample))
        if not tokens:
            raise NumericsError(f"{corpus.folder}: no training sentence has a token in the eyes of the teacher; look at its tokenizer")
        total: NDArray[np.float64] = np.sum([part.sum(axis=0, dtype=np.float64) for part in sample], axis=0)
        centre = (total / tokens).astype(np.float32)
        if not np.isfinite(centre).all():
            raise NumericsError(
                f"teacher: among {tokens:,} token vectors of the training sentences some are NaN, infinite or beyond 65504, the largest "
                "float16; look at the teacher, or use another"
            )
        distances = [np.linalg.norm(part.astype(np.float32) - centre, axis=1).sum(dtype=np.float64) for part in sample]
        np.save(scratch / "centre.npy", centre)
        return {"sentences": SAMPLE_SENTENCES - wanted, "tokens": tokens, "spread": float(sum(distances)) / tokens}

    return store.build("teacher-centre", inputs, fill)
