"""All sources -> one artifact of the store. Texts stream through; in memory stay a digest of each document and each query with its rows.

Measured: about 120 bytes a document and 900 a query, so the 8.8 million passages of MS MARCO would take about 1.1 GB while they are read;
ids of a collection come on top.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store, file_sha256
from optical_ray.data.reading.places import check_unchanged
from optical_ray.data.reading.tally import BadRows, Tally
from optical_ray.data.relevance.config import RelevanceConfig
from optical_ray.data.relevance.readers import read_source
from optical_ray.data.relevance.rows import Judged, RowError
from optical_ray.data.relevance.spec import RelevanceSource, find_source
from optical_ray.data.relevance.table import DOCUMENTS, QUERIES, RelevanceData, RowWriter
from optical_ray.data.splits import split_key
from optical_ray.data.wheels import Progress
from optical_ray.errors import DataError
from optical_ray.seeding import derive_seed

FORMAT_VERSION = 2
"""Part of every fingerprint: raised when the same sources give other rows."""
KIND = "relevance"
IN_TEST = "queries of a test source"


@dataclass(slots=True)
class _Query:
    text: str
    positives: array[int] = field(default_factory=lambda: array("i"))
    negatives: array[int] = field(default_factory=lambda: array("i"))
    positive_scores: array[float] = field(default_factory=lambda: array("f"))
    negative_scores: array[float] = field(default_factory=lambda: array("f"))


class _Collector:
    """Numbers documents and gathers what is said of a query, wherever it is said."""

    def __init__(self, documents: RowWriter, max_negatives: int, compared: bool, scored: bool) -> None:
        self._documents, self._max_negatives, self._compared, self._scored = documents, max_negatives, compared, scored
        self._numbers: dict[bytes, int] = {}
        self.queries: dict[str, _Query] = {}
        self.dropped: Counter[str] = Counter()

    @property
    def num_documents(self) -> int:
        return len(self._numbers)

    def find(self, text: str) -> int | None:
        return self._numbers.get(_digest(text.strip()))

    def document(self, text: str) -> int:
        text = text.strip()
        if not text:
            raise RowError("empty document", "an empty text")
        digest = _digest(text)
        number = self._numbers.get(digest)
        if number is None:
            number = self._numbers[digest] = len(self._numbers)
            self._documents.add(text)
        return number

    def add(self, judged: Judged) -> None:
        self._check_query(judged.query)
        if self._scored and judged.scores is None:
            raise RowError(
                "no scores", "no scores, and the divergence from given scores is all that is trained", "set objective.contrastive"
            )
        if self._compared and judged.scores is not None and len(judged.scores) < 2:
            raise RowError("nothing to compare", "scores of 1 text, expected negatives too: a divergence compares at least 2")
        if not all(text.strip() for text in (*judged.positives, *judged.negatives)):
            raise RowError("empty document", "an empty text")
        positives, negatives = ([self.document(text) for text in texts] for texts in (judged.positives, judged.negatives))
        self._keep(judged.query, positives, negatives, judged.scores)

    def judge(self, query: str, positives: Sequence[int], negatives: Sequence[int]) -> None:
        self._check_query(query)
        if self._scored:
            raise RowError(
                "no scores", "no scores, and the divergence from given scores is all that is trained", "set objective.contrastive"
            )
        self._keep(query, positives, negatives, None)

    def _check_query(self, query: str) -> None:
        if not query.strip():
            raise RowError("empty query", "an empty query")
        _encode(query)

    def _keep(self, text: str, positives: Sequence[int], negatives: Sequence[int], scores: Sequence[float] | None) -> None:
        text = text.strip()
        query = self.queries.setdefault(split_key(text) or text, _Query(text))
        given = list(scores) if scores is not None else [math.nan] * (len(positives) + len(negatives))
        for number, score in zip(positives, given[: len(positives)], strict=True):
            if number not in query.positives:
                query.positives.append(number)
                query.positive_scores.append(score)
        for number, score in zip(negatives, given[len(positives) :], strict=True):
            if number in query.negatives:
                continue
            if len(query.negatives) == self._max_negatives:
                self.dropped["negatives beyond data.max_negatives"] += 1
                continue
            query.negatives.append(number)
            query.negative_scores.append(score)

    def rows(self, query: _Query) -> tuple[str, list[int], list[int], list[float]]:
        """A query as it is written; what is relevant by one row is no negative by another."""
        kept = [place for place, number in enumerate(query.negatives) if number not in query.positives]
        self.dropped["negatives that are relevant by another row"] += len(query.negatives) - len(kept)
        scores = [*query.positive_scores, *(query.negative_scores[place] for place in kept)]
        return query.text, list(query.positives), [query.negatives[place] for place in kept], scores


def build_relevance(
    store: Store,
    sources: Sequence[str],
    config: RelevanceConfig,
    terms: Sequence[str],
    held_out: bool = False,
    without: RelevanceData | None = None,
    progress: Progress | None = None,
) -> RelevanceData:
    """Read sources into the store, unless they are there.

    Args:
        store: Where the artifact is kept.
        sources: Each `PATH[,key=value...]`.
        config: How it is split, what is kept.
        terms: Of the objective: `contrastive`, `kl`. Rows that none of them can use are bad rows.
        held_out: All queries are for evaluation.
        without: Held-out data whose queries are left out.
        progress: Told one short line at a time.

    Raises:
        OpticalError: a source is missing, of no known format, or has a bad row (`refuse`); or nothing is left to train on.
    """
    found = [find_source(text) for text in sources]
    share = 1.0 if held_out else config.valid_share
    inputs = {
        "version": FORMAT_VERSION,
        "sources": [_identify(source) for source in found],
        "valid_share": share,
        "split_seed": config.split_seed,
        "max_queries": None if held_out else config.max_queries,
        "max_negatives": config.max_negatives,
        "terms": sorted(terms),
        "without": None if without is None else without.folder.name,
    }

    def fill(scratch: Path) -> dict[str, Any]:
        return _fill(scratch, found, config, terms, share, without, inputs["max_queries"], progress)  # type: ignore[arg-type]

    return RelevanceData.open(store.build(KIND, inputs, fill))


def _identify(source: RelevanceSource) -> dict[str, Any]:
    spec = source.spec
    files = [[part, file.relative, file_sha256(Path(file.path))] for part, files in source.files.items() for file in files]
    return {"format": source.format, "query": spec.query, "title": spec.title, "files": files}


def _fill(
    scratch: Path,
    sources: Sequence[RelevanceSource],
    config: RelevanceConfig,
    terms: Sequence[str],
    share: float,
    without: RelevanceData | None,
    max_queries: int | None,
    progress: Progress | None,
) -> dict[str, Any]:
    tallies: dict[str, Tally] = {}
    with RowWriter(scratch / "documents.arrow", DOCUMENTS) as writer:
        collector = _Collector(writer, config.max_negatives, "kl" in terms, "contrastive" not in terms)
        for source in sources:
            if progress is not None:
                progress(f"relevance data: {source.spec.path} ({source.format})")
            tally = tallies.setdefault(source.spec.text, Tally())
            before = len(collector.queries)
            read_source(source, collector, BadRows(config.on_bad_row, tally))
            tally.read = len(collector.queries) - before
        check_unchanged(file for source in sources for file in source.all_files)
    taken = set() if without is None else {_key(row["query"]) for row in without.valid.take(range(len(without.valid)))}
    places = {key: derive_seed(config.split_seed, "relevance", key) for key in collector.queries}
    counts, scored = Counter[str](), 0
    with RowWriter(scratch / "train.arrow", QUERIES) as train, RowWriter(scratch / "valid.arrow", QUERIES) as valid:
        for key in sorted(collector.queries, key=places.__getitem__):
            query = collector.queries[key]
            if key in taken:
                collector.dropped[IN_TEST] += 1
            elif not query.positives:
                collector.dropped["queries without a relevant document"] += 1
            elif max_queries is not None and sum(counts.values()) == max_queries:
                collector.dropped["queries beyond data.max_queries"] += 1
            else:
                held = derive_seed(config.split_seed, "relevance-split", key) / 2**63 < share
                row = collector.rows(query)
                (valid if held else train).add(*row)
                counts["valid" if held else "train"] += 1
                scored += sum(not math.isnan(score) for score in row[3]) > 1 and not held
    facts = {
        "documents": collector.num_documents,
        "queries": {split: counts[split] for split in ("train", "valid")},
        "scored_queries": scored,
        "dropped": dict(sorted((reason, rows) for reason, rows in collector.dropped.items() if rows)),
        "sources": {text: tally.to_dict() for text, tally in tallies.items()},
    }
    _check(facts, terms, share, [source.spec.path for source in sources])
    return facts


def _digest(text: str) -> bytes:
    return hashlib.blake2b(_encode(text), digest_size=16).digest()


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RowError("broken JSON", "a text holds half of a surrogate pair (\\ud800-\\udfff)") from None


def _key(query: str) -> str:
    return split_key(query) or query


def _check(facts: dict[str, Any], terms: Sequence[str], share: float, paths: Sequence[str]) -> None:
    where, counts = ", ".join(paths), facts["queries"]
    if not counts["valid"]:
        raise DataError(
            f"{where}: none of {counts['train']} queries is held out for validation; give more queries, or raise data.valid_share"
            if counts["train"]
            else f"{where}: {_nothing_found(facts)}"
        )
    if share < 1 and not counts["train"]:
        raise DataError(
            f"{where}: no training query is left (dropped: {facts['dropped'] or 'none'}); give more sources, or lower data.valid_share"
        )
    if share < 1 and "kl" in terms and not facts["scored_queries"]:
        raise DataError(
            f"{where}: no training query has scores of two or more texts, which objective.kl needs; give scores, or set it to 0"
        )


def _nothing_found(facts: dict[str, Any]) -> str:
    found = "no query with a relevant document"
    if held := facts["dropped"].get(IN_TEST):
        found = f"no query is left: data.test_sources hold {held} of them, and are held out altogether; give other sources"
    tallies = facts["sources"].values()
    if bad := sum(rows for tally in tallies for rows in tally["bad"].values()):
        first = next(example for tally in tallies for example in tally["examples"])
        found += f" ({bad} bad rows were skipped; {first})"
    return found
