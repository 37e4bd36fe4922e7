"""Candidates that stay in their files: one pass checks and counts them, and keeps ids and places but no text.

Of a million entities that is some 25 MB (ids, and 8 bytes each for where they begin), which also travels to workers; the files themselves
have to be where the workers are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from optical_ray.artifacts import fingerprint
from optical_ray.errors import DataError
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS, DocumentBlock
from optical_ray.retrieval.formats.documents import digest_row, whole_documents
from optical_ray.retrieval.formats.lines import BadRow
from optical_ray.retrieval.formats.records import Document, DocumentFiles, Record
from optical_ray.retrieval.formats.skips import DUPLICATE_DOCUMENT, EMPTY_DOCUMENT, Skips

_FLUSH = 65536


class StreamedDocuments:
    """Documents of `DocumentFiles`, read block by block; made by `open_documents`, which checks them."""

    def __init__(self, files: DocumentFiles, ids: pa.Array, places: NDArray[np.int64], languages: Sequence[str], fingerprint: str) -> None:
        self._files, self._ids, self._places = files, ids, places
        self._languages, self._fingerprint = tuple(languages), fingerprint

    def __len__(self) -> int:
        return len(self._places)

    @property
    def fingerprint(self) -> str:
        """40 hex digits that name ids, languages, texts and their order; the same as of InMemoryDocuments that hold the same."""
        return self._fingerprint

    @property
    def languages(self) -> tuple[str, ...]:
        """All that occur, sorted."""
        return self._languages

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[DocumentBlock]:
        """As `Documents.blocks`.

        Raises:
            DataError: a file is not as it was when it was opened.
        """
        end = len(self) if stop is None else min(stop * BLOCK_DOCUMENTS, len(self))
        at = start * BLOCK_DOCUMENTS
        if at >= end:
            return
        found: list[Document] = []
        for record in self._files.records(int(self._places[at])):
            if record.place != self._places[at]:
                continue
            if isinstance(record.found, BadRow) or record.found.id != self._ids[at].as_py():
                break
            found.append(record.found)
            at += 1
            if len(found) == BLOCK_DOCUMENTS or at == end:
                yield whole_documents(*zip(*((row.id, row.language, row.text) for row in found), strict=True))
                found = []
            if at == end:
                return
        raise DataError(f"{self._files.label(int(self._places[at]))}: changed since it was opened; open the collection again")

    def places(self, ids: frozenset[str]) -> dict[str, int]:
        """As `Documents.places`."""
        at = pc.indices_nonzero(pc.is_in(self._ids, value_set=pa.array(sorted(ids), pa.string())))
        return dict(zip(self._ids.take(at).to_pylist(), at.to_pylist(), strict=True))


def open_documents(files: DocumentFiles, skips: Skips, wanted: frozenset[str] = frozenset(), limit: int | None = None) -> StreamedDocuments:
    """Check and count documents in one pass.

    Args:
        files: Read whole.
        skips: Told of documents that are empty, unreadable, or of an id that came before.
        wanted: Ids that are kept even beyond `limit`.
        limit: Of documents; None: all.

    Raises:
        DataError: a file cannot be read, there is no document or, `refuse`, a bad one.
    """
    scan = _Scan()
    for record in files.records():
        if isinstance(record.found, BadRow):
            skips.bad(record.found.reason, f"{files.label(record.place)}, {files.unit} {record.number}: {record.found.found}")
        elif limit is not None and scan.count >= limit and record.found.id not in wanted:
            continue
        elif not record.found.text.strip():
            where = f"{files.label(record.place)}, {files.unit} {record.number}"
            skips.bad(EMPTY_DOCUMENT, f"{where}: document {record.found.id!r} has no text; take it out")
        else:
            scan.add(record)
    ids, places, numbers = scan.finish()
    first = _first_occurrences(ids)
    for at in np.flatnonzero(~first):
        where = f"{files.label(int(places[at]))}, {files.unit} {numbers[at]}"
        skips.bad(DUPLICATE_DOCUMENT, f"{where}: document id {ids[int(at)].as_py()!r} again; expected each once, take one out")
    if not len(places):
        raise DataError(f"{files.label(0)}: no document in it; expected at least one")
    if first.all():
        return StreamedDocuments(files, ids, places, sorted(scan.languages), scan.fingerprint(places, complete=True))
    ids, places = ids.filter(pa.array(first)), places[first]
    name = scan.fingerprint(places, complete=False)
    kept = {language for block in StreamedDocuments(files, ids, places, (), name).blocks() for language in block.languages}
    return StreamedDocuments(files, ids, places, sorted(kept), name)


class _Scan:
    """What one pass keeps."""

    def __init__(self) -> None:
        self.count, self.languages = 0, set[str]()
        self._digest = hashlib.sha256()
        self._ids: list[str] = []
        self._id_chunks: list[pa.Array] = []
        self._places: list[int] = []
        self._numbers: list[int] = []
        self._chunks: list[NDArray[np.int64]] = []

    def add(self, record: Record) -> None:
        document = record.found
        assert isinstance(document, Document)
        digest_row(self._digest, *document)
        self.languages.add(document.language)
        self._ids.append(document.id)
        self._places.append(record.place)
        self._numbers.append(record.number)
        self.count += 1
        if len(self._ids) == _FLUSH:
            self._flush()

    def _flush(self) -> None:
        self._id_chunks.append(pa.array(self._ids, pa.large_string()))
        self._chunks.append(np.array([self._places, self._numbers], np.int64).reshape(2, -1))
        self._ids, self._places, self._numbers = [], [], []

    def finish(self) -> tuple[pa.Array, NDArray[np.int64], NDArray[np.int64]]:
        self._flush()
        places, numbers = np.concatenate(self._chunks, axis=1)
        return pa.concat_arrays(self._id_chunks), places, numbers

    def fingerprint(self, places: NDArray[np.int64], complete: bool) -> str:
        """The digest is taken as rows go by, so of those left out afterwards (repeated ids) the ones that stay are named as well."""
        named: dict[str, Any] = {"documents": "rows", "rows": self._digest.hexdigest()}
        return fingerprint(named if complete else {**named, "kept": hashlib.sha256(places.tobytes()).hexdigest()})


def _first_occurrences(ids: pa.Array) -> NDArray[np.bool_]:
    """Which ids did not come before. A dictionary numbers values as they first come, so a new one is always the largest so far."""
    codes = pc.dictionary_encode(ids).indices.to_numpy(zero_copy_only=False)
    before = np.concatenate([[-1], np.maximum.accumulate(codes)[:-1]]) if len(codes) else codes
    return np.asarray(codes > before)


class StoredOpener:
    """Opens the same files for several collections; without a limit only once.

    Args:
        files: Read whole.
        limit: As `open_documents`.
    """

    def __init__(self, files: DocumentFiles, limit: int | None) -> None:
        self._files, self._limit = files, limit
        self._opened: tuple[StreamedDocuments, Skips] | None = None

    def open(self, wanted: frozenset[str], skips: Skips) -> StreamedDocuments:
        """As `open_documents`."""
        if self._limit is not None:
            return open_documents(self._files, skips, wanted, self._limit)
        if self._opened is None:
            own = Skips(skips.on_bad)
            self._opened = open_documents(self._files, own), own
        documents, own = self._opened
        skips.counts.update(own.counts)
        return documents
