"""Encoded documents on disk: block by block, float16, read by memory map.

A block is two files: `00007.vectors`, float16 [T, D] without a header, then `00007.npz`, which says whose they are; the block is there once
the second is. T tokens of a block, D dimensions.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.artifacts import Store, explain_full_disk, fingerprint, read_manifest, whole_file
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.errors import ArtifactError, NumericsError
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS, DocumentBlock, Documents
from optical_ray.retrieval.search.passages import PASSAGES_AT_ONCE, DistinctPassages
from optical_ray.retrieval.system import Side

log = logging.getLogger(__name__)
KIND = "document-index"
FORMAT_VERSION = 1
Form = Literal["tokens", "pooled"]
"""`tokens`: raw content tokens, to be centred and normalised when they are read. `pooled`: of each passage the unit mean token, centred."""
BlockWork = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """One block of an index."""

    vectors_TD: NDArray[np.float16]
    """A memory map."""
    lengths: NDArray[np.int64]
    """Tokens of each distinct text."""
    languages: tuple[str, ...]
    """Of each distinct text."""
    of_passage: NDArray[np.int64]
    """Which text each passage is."""

    def clouds(self) -> Iterator[TokenClouds]:
        """The distinct texts in order, PASSAGES_AT_ONCE at a time, float32."""
        stops = np.concatenate([[0], np.cumsum(self.lengths)])
        for first in range(0, len(self.lengths), PASSAGES_AT_ONCE):
            last = min(first + PASSAGES_AT_ONCE, len(self.lengths))
            vectors = np.array(self.vectors_TD[stops[first] : stops[last]])  # torch takes no memory that must not be written
            yield TokenClouds(torch.from_numpy(vectors).float(), torch.from_numpy(self.lengths[first:last]))


@dataclass(frozen=True, slots=True)
class DocumentIndex:
    """A finished index. Picklable: workers that see its folder read it."""

    folder: Path
    dimension: int
    """D."""
    pooled: bool
    numbers: dict[str, int]
    """Digest of a block's document ids -> its number."""
    num_bytes: int
    """Of the vectors on disk."""

    def block(self, block: DocumentBlock) -> StoredBlock:
        """What is stored of a block of documents.

        Raises:
            ArtifactError: the index was not made of this block, or its file is damaged.
        """
        number = self.numbers.get(_digest(block))
        if number is None:
            raise ArtifactError(
                f"{self.folder}: holds no block that begins with document {block.ids[0]!r}; it was made of other documents: build it again"
            )
        facts, vectors = _paths(self.folder, number)
        try:
            with facts.open("rb") as stream, np.load(stream) as stored:
                lengths, of_passage = stored["lengths"].astype(np.int64), stored["of_passage"].astype(np.int64)
                languages = stored["names"][stored["language"]].tolist()
            found, expected = vectors.stat().st_size, int(lengths.sum()) * self.dimension * 2
        except (OSError, ValueError, KeyError, IndexError, BadZipFile) as error:
            raise ArtifactError(f"{facts}: cannot be read ({error}); delete the index and build it again") from None
        if found != expected:
            raise ArtifactError(f"{vectors}: {found} bytes, expected {expected}; delete the index and build it again")
        shape = (int(lengths.sum()), self.dimension)
        mapped = np.memmap(vectors, np.float16, "r", shape=shape) if found else np.empty(shape, np.float16)  # nothing cannot be mapped
        return StoredBlock(mapped, lengths, tuple(languages), of_passage)


def one_after_another(work: BlockWork, numbers: Sequence[int]) -> None:
    """Encode blocks in this process."""
    for number in numbers:
        work(number)


def build_index(
    store: Store,
    side: Side,
    documents: Documents,
    form: Form = "tokens",
    centre_D: Tensor | None = None,
    each: Callable[[BlockWork, Sequence[int]], None] = one_after_another,
) -> DocumentIndex:
    """Encode documents once and keep them; killed halfway, the next call goes on with the blocks that are missing.

    Args:
        store: Where it is kept, under the fingerprints of side and documents.
        side: Encodes the documents.
        documents: What is encoded.
        form: What is kept of each passage.
        centre_D: Subtracted from every token before it is normalised and pooled; of `pooled` alone.
        each: Calls its first argument, which is picklable and may be called anywhere, once with each number of a block.

    Raises:
        ArtifactError: the store cannot be written, or the disk is full.
        NumericsError: a token vector cannot be kept as float16.
        ValueError: a centre with `tokens`, which are kept as they are.
    """
    if form == "tokens" and centre_D is not None:
        raise ValueError("index: tokens are kept raw; centre them when they are scored")
    inputs = {
        "format": FORMAT_VERSION,
        "side": side.fingerprint,
        "documents": documents.fingerprint,
        "dimension": side.dimension,
        "form": form,
        "centre": None if centre_D is None else hashlib.sha256(centre_D.float().numpy().tobytes()).hexdigest(),
        "block_documents": BLOCK_DOCUMENTS,
    }
    count = -(-len(documents) // BLOCK_DOCUMENTS)

    def fill(folder: Path) -> dict[str, Any]:
        missing = [number for number in range(count) if not _paths(folder, number)[0].is_file()]
        if len(missing) < count:
            log.info("index=%s blocks=%d resumed_with=%d", folder.name, count, count - len(missing))
        each(partial(write_block, folder, side, documents, form, centre_D), missing)
        numbers, num_bytes = {}, 0
        for number in range(count):
            facts, vectors = _paths(folder, number)
            with facts.open("rb") as stream, np.load(stream) as stored:
                numbers[str(stored["digest"])] = number
            num_bytes += vectors.stat().st_size
        return {"numbers": numbers, "num_bytes": num_bytes, "num_documents": len(documents)}

    return open_index(store.build(KIND, inputs, fill, resume=True))


def open_index(folder: Path) -> DocumentIndex:
    """An index that was built before.

    Raises:
        ArtifactError: it is not finished, of another kind or format, or damaged.
    """
    manifest = read_manifest(folder)
    inputs, facts = manifest["inputs"], manifest["facts"]
    if manifest.get("kind") != KIND or inputs.get("format") != FORMAT_VERSION:
        raise ArtifactError(
            f"{folder}: is a {manifest.get('kind')} of format {inputs.get('format')}, expected a {KIND} of format {FORMAT_VERSION}; "
            "build it again"
        )
    try:
        return DocumentIndex(folder, int(inputs["dimension"]), inputs["form"] == "pooled", dict(facts["numbers"]), int(facts["num_bytes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{folder}: the manifest is damaged ({type(error).__name__}: {error}); build the index again") from None


def write_block(folder: Path, side: Side, documents: Documents, form: Form, centre_D: Tensor | None, number: int) -> None:
    """Encode one block and write it; safe to do twice.

    Raises:
        ArtifactError: the disk is full.
        NumericsError: a token vector is NaN, infinite or beyond what float16 holds.
    """
    block = next(iter(documents.blocks(number, number + 1)))
    distinct = DistinctPassages.of(block)
    facts, vectors = _paths(folder, number)
    lengths: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    with explain_full_disk(folder):
        with whole_file(vectors) as scratch, scratch.open("wb") as stream:
            for clouds in distinct.encode(side):
                if form == "pooled":
                    clouds = TokenClouds(clouds.centred(centre_D).pool(), torch.ones(len(clouds), dtype=torch.int64))
                halves = clouds.vectors_TD.half()
                if broken := int((~halves.isfinite()).any(1).sum()):
                    raise NumericsError(
                        f"documents {block.ids[0]} to {block.ids[-1]}: {broken} token vectors are NaN, infinite or beyond 65504, the "
                        "largest float16; search without an index, or mend the model"
                    )
                stream.write(halves.numpy().tobytes())
                lengths.append(clouds.lengths.numpy())
        names = sorted(set(distinct.languages))
        with whole_file(facts) as scratch, scratch.open("wb") as stream:
            np.savez(
                stream,
                digest=np.array(_digest(block)),
                lengths=np.concatenate(lengths).astype(np.int32),
                of_passage=distinct.of_passage.astype(np.int32),
                names=np.array(names, np.str_),
                language=np.searchsorted(names, distinct.languages).astype(np.int16),
            )


def forecast_bytes(num_passages: int, dimension: int, tokens_per_passage: float | None) -> int:
    """Bytes of an index on disk, to a percent; None: one pooled vector for each passage.

    A million entity descriptions of 384 dimensions: 0.78 GB pooled; as tokens, at 40 each, 31 GB.
    """
    per_passage = 2 * dimension * (1.0 if tokens_per_passage is None else tokens_per_passage) + 10  # lengths, places and languages
    return round(num_passages * per_passage)


def _digest(block: DocumentBlock) -> str:
    return fingerprint(list(block.ids))


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    """Of a block: what says that it is there, and its vectors."""
    return folder / f"{number:05d}.npz", folder / f"{number:05d}.vectors"
