"""Candidates in memory, and any candidates cut into passages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import regex

from optical_ray.artifacts import fingerprint
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS, DocumentBlock, Documents

_UNITS = regex.compile(
    r"(?:[\p{Han}\p{Hiragana}\p{Katakana}]\p{M}*){1,2}"
    r"|(?:[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]\p{M}*){1,5}"
    r"|[^\s\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]+"
)
"""What counts as one word: what stands between spaces or, in scripts that are written without them, two (Han, kana) or five characters:
about the length of their words, so that a Thai article is cut as a French one is. Marks stay with their letter."""


def whole_documents(ids: Sequence[str], languages: Sequence[str], texts: Sequence[str]) -> DocumentBlock:
    """A block in which every document is one passage."""
    return DocumentBlock(tuple(ids), tuple(languages), tuple(texts), np.arange(len(ids)))


def digest_row(digest: hashlib._Hash, identity: str, language: str, text: str) -> None:
    """Add one document to a digest; lengths stand before texts, so that no two rows read as others."""
    values = identity.encode(), language.encode(), text.encode()
    lengths = " ".join(str(len(value)) for value in values)
    digest.update(b"".join((lengths.encode(), b"\0", *values)))


class InMemoryDocuments:
    """Documents that fit in memory, one passage each.

    Args:
        ids: Each once.
        languages: Canonical tag of each document.
        texts: Of each document.

    Raises:
        ValueError: the three differ in length, or an id comes twice.
    """

    def __init__(self, ids: Sequence[str], languages: Sequence[str], texts: Sequence[str]) -> None:
        if not len(ids) == len(languages) == len(texts):
            raise ValueError(f"{len(ids)} ids, {len(languages)} languages, {len(texts)} texts; expected as many of each")
        self._ids, self._languages, self._texts = tuple(ids), tuple(languages), tuple(texts)
        self._places = {name: place for place, name in enumerate(self._ids)}
        if len(self._places) < len(self._ids):
            raise ValueError("a document id comes twice")

    def __len__(self) -> int:
        return len(self._ids)

    @cached_property
    def fingerprint(self) -> str:
        """40 hex digits that name ids, languages, texts and their order."""
        digest = hashlib.sha256()
        for identity, language, text in zip(self._ids, self._languages, self._texts, strict=True):
            digest_row(digest, identity, language, text)
        return fingerprint({"documents": "rows", "rows": digest.hexdigest()})

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """All that occur, sorted."""
        return tuple(sorted(set(self._languages)))

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[DocumentBlock]:
        """As `Documents.blocks`."""
        last = -(-len(self) // BLOCK_DOCUMENTS)
        for block in range(start, last if stop is None else min(stop, last)):
            part = slice(block * BLOCK_DOCUMENTS, (block + 1) * BLOCK_DOCUMENTS)
            yield whole_documents(self._ids[part], self._languages[part], self._texts[part])

    def places(self, ids: frozenset[str]) -> dict[str, int]:
        """As `Documents.places`."""
        return {name: self._places[name] for name in ids if name in self._places}


class PassageDocuments:
    """Documents of which each passage is cut into windows of words (MaxP: Dai & Callan 2019).

    The last window begins where the stride puts it and is shorter; what has no more than `words` words stays as it is, to the letter.

    Args:
        documents: Whole ones.
        words: Longest passage, in words as `_UNITS` counts them.
        overlap: Words that neighbouring passages share.

    Raises:
        ValueError: `words` is below 1, or `overlap` is negative or not below `words`.
    """

    def __init__(self, documents: Documents, words: int, overlap: int = 0) -> None:
        if words < 1 or not 0 <= overlap < words:
            raise ValueError(f"passages of {words} words that share {overlap}; expected at least 1 word and 0 <= overlap < words")
        self._documents, self._words, self._overlap = documents, words, overlap

    def __len__(self) -> int:
        return len(self._documents)

    @property
    def fingerprint(self) -> str:
        """40 hex digits that name the documents and how they are cut."""
        return fingerprint(
            {"documents": self._documents.fingerprint, "words": self._words, "overlap": self._overlap, "units": _UNITS.pattern}
        )

    @property
    def languages(self) -> tuple[str, ...]:
        """All that occur, sorted."""
        return self._documents.languages

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[DocumentBlock]:
        """As `Documents.blocks`."""
        for block in self._documents.blocks(start, stop):
            pieces = [cut_passages(passage, self._words, self._overlap) for passage in block.passages]
            passages = tuple(piece for group in pieces for piece in group)
            owner = np.repeat(block.owner, [len(group) for group in pieces])
            yield DocumentBlock(block.ids, block.languages, passages, owner)

    def places(self, ids: frozenset[str]) -> dict[str, int]:
        """As `Documents.places`."""
        return self._documents.places(ids)


def cut_passages(text: str, words: int, overlap: int) -> list[str]:
    """Windows of a text, in order; each is a stretch of it, spaces between its words as they were. At least one."""
    spans = [found.span() for found in _UNITS.finditer(text)]
    if len(spans) <= words:
        return [text]
    stride = words - overlap
    last = -(-(len(spans) - words) // stride) * stride
    return [text[spans[first][0] : spans[min(first + words, len(spans)) - 1][1]] for first in range(0, last + 1, stride)]
