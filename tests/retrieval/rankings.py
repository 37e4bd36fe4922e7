"""Collections and rankings made by hand, and the slowest way to rank: what searches and judges are compared with."""

import numpy as np

from optical_ray.retrieval.collection import BLOCK_DOCUMENTS, Collection, DocumentBlock, Queries, Ranked


class ListedDocuments:
    """Documents without a text."""

    def __init__(self, ids, languages=None):
        self.ids = tuple(ids)
        self.tags = tuple(languages or ["en"] * len(self.ids))
        self.blocks_read = 0

    fingerprint = "listed"

    def __len__(self):
        return len(self.ids)

    @property
    def languages(self):
        return tuple(sorted(set(self.tags)))

    def blocks(self, start=0, stop=None):
        last = -(-len(self) // BLOCK_DOCUMENTS)
        for number in range(start, last if stop is None else min(stop, last)):
            self.blocks_read += 1
            part = slice(number * BLOCK_DOCUMENTS, (number + 1) * BLOCK_DOCUMENTS)
            yield DocumentBlock(self.ids[part], self.tags[part], ("",) * len(self.ids[part]), np.arange(len(self.ids[part])))

    def places(self, ids):
        return {name: place for place, name in enumerate(self.ids) if name in ids}


def make_collection(qrels, documents, languages=None, clusters=None, task="clir", name="all"):
    queries = tuple(qrels)
    tags = tuple(languages or ["sw"] * len(queries))
    return Collection(
        task,
        name,
        "test",
        Queries(queries, tuple(f"text of {query}" for query in queries), tags, tuple(clusters or queries)),
        documents,
        qrels,
    )


def rank_by_hand(collection, scores_QC, depth=None, candidates=None):
    """Every query sorted on its own: by score, of equal scores the relevant ones last, otherwise in stored order."""
    documents, ids = collection.documents, collection.queries.ids
    top, kept, ranks, relevant, sizes = [], [], [], [], []
    depth = len(documents) if depth is None else depth
    for number, query in enumerate(ids):
        place_of = documents.places(frozenset(name for name, grade in collection.qrels[query].items() if grade > 0))
        own = sorted(place_of.values())
        allowed = range(len(documents)) if candidates is None else candidates[number]
        scores = [(-np.inf if np.isnan(score) else float(score)) for score in scores_QC[number]]
        order = sorted(allowed, key=lambda place: (-scores[place], place in own, place))
        found = {place: rank for rank, place in enumerate(order, 1)}
        ranks += [found.get(place, 0) for place in own]
        relevant.append(own)
        sizes.append(len(order))
        order = order[:depth]
        top.append(order + [-1] * (depth - len(order)))
        kept.append([scores[place] for place in order] + [-np.inf] * (depth - len(order)))
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in relevant])]).astype(np.int64)
    flat = np.array([place for own in relevant for place in own], np.int64)
    return Ranked(
        np.array(top, np.int64), np.array(kept, np.float32), flat, offsets, np.array(ranks, np.int64), np.array(sizes, np.int64), True
    )


def random_search(seed, queries=40, documents=70, graded=True, ties=True):
    """A collection with one to eight relevant documents for each query, and scores with many ties."""
    generator = np.random.default_rng(seed)
    ids = [f"d{number:03d}" for number in generator.permutation(documents)]  # stored order is not that of the ids
    qrels = {}
    for number in range(queries):
        chosen = generator.choice(documents, size=generator.integers(1, 9), replace=False)
        grades = generator.integers(1, 4, size=len(chosen)) if graded else np.ones(len(chosen), int)
        judged = {ids[place]: int(grade) for place, grade in zip(chosen, grades, strict=True)}
        judged |= {ids[place]: 0 for place in generator.choice(documents, size=5) if ids[place] not in judged}
        qrels[f"q{number}"] = judged
    scores = generator.normal(size=(queries, documents))
    if ties:
        scores = np.round(scores * 2) / 2
    return make_collection(qrels, ListedDocuments(ids)), np.round(scores * 2**20).astype(np.float32) / np.float32(2**20)
