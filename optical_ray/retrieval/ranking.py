"""Collections x systems -> rankings. Collections that share their documents are searched together, block by block.

Q queries, C documents of a block.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_ray.errors import DataError
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS, Collection, DocumentBlock, Documents, Ranked
from optical_ray.retrieval.judge import Judge
from optical_ray.retrieval.search.passages import PASSAGES_AT_ONCE
from optical_ray.retrieval.search.ranker import EXACT_SCORES, Ranker
from optical_ray.retrieval.search.token_scorer import TokenScorer
from optical_ray.retrieval.system import BlockScorer, System

ROUND_BYTES = 2**31
"""Scores of all rankings that are made at once; a search that needs more is made alone."""
Progress = Callable[[str], None]
Places = tuple[NDArray[np.int64], ...]
"""Of each query, ascending."""


@dataclass(frozen=True, slots=True)
class Search:
    """One system's ranking of one collection, ready to be made. Picklable."""

    scorer: BlockScorer
    names: tuple[str, ...]
    """Of its scorers."""
    relevant: Places
    candidates: Places | None
    """Documents to re-rank: no other is scored."""
    depth: int
    num_documents: int
    whole_blocks: bool = False
    """It reads encodings that are kept by block; others are shown a block part by part."""

    def rankers(self) -> dict[str, Ranker]:
        """One for each scorer, nothing seen yet."""
        return {name: Ranker(self.relevant, self.depth, self.num_documents, self.candidates) for name in self.names}

    def scores(self, block: DocumentBlock, first: int) -> Mapping[str, NDArray[np.float32]]:
        """Scores [Q, C] of a block; -inf where no query has the document among its candidates.

        Args:
            block: Of documents.
            first: Place of its first document.
        """
        if self.candidates is None:
            return self.scorer.scores(block)
        wanted = np.unique(np.concatenate(self.candidates)) - first
        wanted = wanted[(wanted >= 0) & (wanted < len(block))]
        found = {name: np.full((len(self.relevant), len(block)), -np.inf, np.float32) for name in self.names}
        if len(wanted):
            for name, scores_QC in self.scorer.scores(select_documents(block, wanted)).items():
                found[name][:, wanted] = scores_QC
        return found


@dataclass(frozen=True, slots=True)
class Round:
    """Searches that are made together: each block of the documents is read once. Picklable."""

    documents: Documents
    searches: tuple[Search, ...]

    @property
    def num_blocks(self) -> int:
        return -(-len(self.documents) // BLOCK_DOCUMENTS)

    def run(self, start: int, stop: int, progress: Progress | None = None) -> list[dict[str, Ranker]]:
        """What the blocks from number `start` to before `stop` give: by search and scorer."""
        rankers = [search.rankers() for search in self.searches]
        for number, block in enumerate(self.documents.blocks(start, stop), start):
            first = number * BLOCK_DOCUMENTS
            for whole, parts in ((True, [(0, block)]), (False, cut_block(block))):
                asked = [pair for pair in zip(self.searches, rankers, strict=True) if pair[0].whole_blocks == whole]
                for inside, part in parts if asked else ():  # part by part, so that all searches meet what is encoded of one
                    for search, own in asked:
                        for name, scores_QC in search.scores(part, first + inside).items():
                            own[name].add(first + inside, scores_QC)
            if progress is not None:
                progress(f"documents {min(first + BLOCK_DOCUMENTS, len(self.documents)):,} of {len(self.documents):,}")
        return rankers


Sweep = Callable[[Round, Progress], list[dict[str, Ranker]]]
"""Sees all blocks of a round, wherever they are scored."""


def sweep_in_process(found: Round, progress: Progress) -> list[dict[str, Ranker]]:
    """One block after the other, here."""
    return found.run(0, found.num_blocks, progress)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One ranking."""

    judge: Judge
    """Of the collection."""
    system: System
    scorer: str
    ranked: Ranked
    seconds: float
    """Of the round that it was made in, shared evenly by the rankings of it."""

    @property
    def collection(self) -> Collection:
        return self.judge.collection

    def rows(self) -> pa.Table:
        """Per-query rows, schema QUERIES."""
        return self.judge.rows(self.ranked, self.system.name, self.scorer)


def rank(
    collections: Sequence[Collection],
    systems: Sequence[System],
    depth: Callable[[Collection], int],
    sweep: Sweep = sweep_in_process,
    progress: Progress | None = None,
    applies: Callable[[Collection, System], bool] | None = None,
) -> Iterator[Outcome]:
    """Every system's ranking of every collection.

    Args:
        collections: Of one task or of several.
        systems: What is compared.
        depth: Documents kept of each ranking of a collection.
        sweep: Goes through the blocks.
        progress: Told a short line now and then.
        applies: Whether a system is asked at all; None: always.

    Raises:
        DataError: a collection without queries or documents, or a query without a relevant document that is there.
    """
    show = progress or (lambda line: None)
    groups: dict[str, list[tuple[Collection, System]]] = {}
    for collection in collections:
        check_collection(collection)
        pairs = [(collection, system) for system in systems if applies is None or applies(collection, system)]
        groups.setdefault(collection.documents.fingerprint, []).extend(pairs)
    for pairs in groups.values():
        yield from _rank_group(pairs, depth, sweep, show)


def check_collection(collection: Collection) -> None:
    """Refuse a collection that asks nothing, or among nothing.

    Raises:
        DataError: it is named.
    """
    for what, count in (("queries", len(collection.queries)), ("documents", len(collection.documents))):
        if count == 0:
            raise DataError(
                f"{collection.task}, {collection.name}: no {what} left to evaluate"
                f"{_skipped(collection)}; check --languages, --limit and what was skipped"
            )


def _skipped(collection: Collection) -> str:
    told = ", ".join(f"{count:,} {reason}" for reason, count in collection.skipped.items())
    return f" (left out: {told})" if told else ""


def _rank_group(
    pairs: list[tuple[Collection, System]], depth: Callable[[Collection], int], sweep: Sweep, show: Progress
) -> Iterator[Outcome]:
    known: dict[int, tuple[Judge, Places | None]] = {}
    for part in _rounds(pairs):
        started = time.monotonic()
        searches = []
        for collection, system in part:
            title = f"{collection.task} {collection.name}, {system.name}"
            show(title)
            if id(collection) not in known:
                known[id(collection)] = Judge(collection), _find_candidates(collection)
            judge, candidates = known[id(collection)]
            size = len(collection.documents)
            scorer = system.prepare(collection.queries, collection.documents)
            whole = isinstance(scorer, TokenScorer) and scorer.reads_index
            places = (tuple(judge.relevant), candidates)
            searches.append(Search(scorer, tuple(system.scorers), *places, min(depth(collection), size), size, whole))
        title = f"{part[0][0].task} {part[0][0].name}, {part[0][1].name}" + (f" and {len(part) - 1} more" if len(part) > 1 else "")
        rankers = sweep(Round(part[0][0].documents, tuple(searches)), partial(_show_under, show, title))
        count = sum(map(len, rankers))
        seconds = (time.monotonic() - started) / max(1, count)
        for (collection, system), own in zip(part, rankers, strict=True):
            for name in list(own):
                yield Outcome(known[id(collection)][0], system, name, own.pop(name).finish(), seconds)


def _show_under(show: Progress, title: str, line: str) -> None:
    show(f"{title}: {line}")


def _rounds(pairs: list[tuple[Collection, System]]) -> Iterator[list[tuple[Collection, System]]]:
    """Searches in order, as many at once as ROUND_BYTES of scores allow; where documents are one block, of one collection."""
    part: list[tuple[Collection, System]] = []
    held = 0
    for collection, system in pairs:
        each = min(EXACT_SCORES, len(collection.queries) * len(collection.documents))
        needed = 4 * each * len(system.scorers)
        alone = collection.num_blocks == 1 and bool(part) and part[-1][0] is not collection
        if part and (held + needed > ROUND_BYTES or alone):
            yield part
            part, held = [], 0
        part.append((collection, system))
        held += needed
    if part:
        yield part


def _find_candidates(collection: Collection) -> Places | None:
    """Places of what each query may choose from; None: all documents."""
    if collection.candidates is None:
        return None
    named = [collection.candidates.get(query, ()) for query in collection.queries.ids]
    place_of = collection.documents.places(frozenset(name for names in named for name in names))
    return tuple(np.array(sorted({place_of[name] for name in names if name in place_of}), np.int64) for names in named)


def cut_block(block: DocumentBlock) -> Iterator[tuple[int, DocumentBlock]]:
    """A block in parts of whole documents, each of at most PASSAGES_AT_ONCE passages (or one document): where it begins, and the part.

    What is encoded of a part is remembered until every system has seen it (systems/memory.py); a whole block may be gigabytes.
    """
    starts = np.append(np.flatnonzero(np.diff(block.owner, prepend=-1)), len(block.passages))
    first = 0
    while first < len(block):
        last = int(np.searchsorted(starts, starts[first] + PASSAGES_AT_ONCE, side="right")) - 1
        last = max(first + 1, last)
        yield first, select_documents(block, np.arange(first, last))
        first = last


def select_documents(block: DocumentBlock, places: NDArray[np.int64]) -> DocumentBlock:
    """Some documents of a block, in its order.

    Args:
        block: Of documents.
        places: Within the block, ascending.
    """
    number = np.full(len(block), -1)
    number[places] = np.arange(len(places))
    kept = np.flatnonzero(number[block.owner] >= 0)
    return DocumentBlock(
        tuple(block.ids[place] for place in places),
        tuple(block.languages[place] for place in places),
        tuple(block.passages[passage] for passage in kept),
        number[block.owner[kept]],
    )
