"""Small collections, and documents that are cut into blocks of any size."""

import hashlib

import numpy as np

from optical_ray.retrieval.collection import Collection, DocumentBlock, Queries


class ListedDocuments:
    """Documents in memory, each a list of passages."""

    def __init__(self, rows):
        self.rows = [(name, language, [text] if isinstance(text, str) else text) for name, language, text in rows]

    def __len__(self):
        return len(self.rows)

    @property
    def fingerprint(self):
        return hashlib.sha256(repr(self.rows).encode()).hexdigest()

    @property
    def languages(self):
        return tuple(sorted({language for _, language, _ in self.rows}))

    def blocks(self, start=0, stop=None):
        from optical_ray.retrieval import ranking  # its BLOCK_DOCUMENTS is what tests make small

        size = ranking.BLOCK_DOCUMENTS
        last = -(-len(self.rows) // size)
        for number in range(start, last if stop is None else min(stop, last)):
            part = self.rows[number * size : (number + 1) * size]
            owner = np.repeat(np.arange(len(part)), [len(passages) for *_, passages in part])
            passages = tuple(passage for *_, passages in part for passage in passages)
            yield DocumentBlock(tuple(row[0] for row in part), tuple(row[1] for row in part), passages, owner)

    def places(self, ids):
        return {name: place for place, (name, *_) in enumerate(self.rows) if name in ids}


def whole_block(documents):
    """All documents as one block."""
    owner = np.repeat(np.arange(len(documents)), [len(passages) for *_, passages in documents.rows])
    return DocumentBlock(
        tuple(row[0] for row in documents.rows),
        tuple(row[1] for row in documents.rows),
        tuple(passage for *_, passages in documents.rows for passage in passages),
        owner,
    )


def make_queries(rows):
    """Of (id, language, text)."""
    ids, languages, texts = zip(*rows, strict=True)
    return Queries(ids, texts, languages, ids)


def make_collection(queries, documents, qrels, name="all", **changes):
    """Of (id, language, text) each, and query id -> relevant ids."""
    judged = {query: dict.fromkeys(names, 1) for query, names in qrels.items()}
    found = documents if isinstance(documents, ListedDocuments) else ListedDocuments(documents)
    return Collection("toy", name, "test", make_queries(queries), found, judged, **changes)


def cut_blocks(monkeypatch, size):
    """Make blocks of `size` documents everywhere."""
    for module in ("collection", "ranking", "document_names"):
        monkeypatch.setattr(f"optical_ray.retrieval.{module}.BLOCK_DOCUMENTS", size)
