"""Runs and judgements as TREC's tools read them, and their word on our numbers.

A run line is `query Q0 document rank score tag`, a line of judgements `query 0 document grade`. trec_eval reads no ranks: it sorts by
score, which it holds in single precision, and equal scores by document id. Our order would not survive that where scores are equal, so
scores are written strictly descending in our order: a score that is not below the one before it becomes the next smaller single-precision
number. Everything else is written as it is, with the nine digits that give the same number back.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_ray.errors import DataError, NumericsError
from optical_ray.retrieval.collection import Collection, Ranked
from optical_ray.retrieval.document_names import DocumentNames

LARGEST = np.float32(1e38)
"""Scores are cut to this size either way: infinity is no number to every tool."""
SMALLEST = int(np.float32(2.0**-40).view(np.int32))
"""Bits of the smallest size that is written; what is nearer to 0 is 0, so that no step below it ends among subnormal numbers. Searches
round scores to multiples of 2**-20."""
TOLERANCE = 1e-5
"""Stored measures are single precision; pytrec_eval counts in double."""


def write_run(path: Path, collection: Collection, ranked: Ranked, tag: str, names: DocumentNames | None = None) -> None:
    """Write what was found, down to the depth of the search.

    trec_eval then agrees with our rows on every measure whose cut-off is within the depth, and on AP where the depth is the whole ranking.

    Args:
        path: Replaced when it is there.
        collection: What was searched.
        ranked: In the order of the collection's queries.
        tag: Names the run, in its last column.
        names: Of the collection's documents, where someone has read them already.

    Raises:
        DataError: an id, or the tag, is empty or holds white space, which the format cannot hold.
    """
    require_columns([*collection.queries.ids, tag], path)
    names = names or DocumentNames(collection.documents)
    scores_QK = descending(ranked.scores_QK)

    def lines() -> Iterable[str]:
        for query, places_K, scores_K in zip(collection.queries.ids, ranked.top_QK, scores_QK, strict=True):
            there = places_K >= 0
            documents = names.ids(places_K[there])
            require_columns(documents, path)
            for rank, (document, score) in enumerate(zip(documents, scores_K[there], strict=True), 1):
                yield f"{query} Q0 {document} {rank} {score:.9g} {tag}\n"

    _write(path, lines())


def write_qrels(path: Path, collection: Collection) -> None:
    """Write the judgements of the collection's queries, without relevant documents that are not there, which no search can find.

    Raises:
        DataError: as `write_run`.
    """
    judged = [(query, name, grade) for query in collection.queries.ids for name, grade in collection.qrels.get(query, {}).items()]
    there = collection.documents.places(frozenset(name for _, name, grade in judged if grade > 0))
    require_columns((text for query, name, _ in judged for text in (query, name)), path)
    kept = ((query, name, max(grade, 0)) for query, name, grade in judged if grade <= 0 or name in there)
    _write(path, (f"{query} 0 {name} {grade}\n" for query, name, grade in kept))


def descending(scores_QK: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores that stand in descending order, made strictly so: each becomes min(itself, the next number below the one before it).

    Single-precision numbers are ordered as the integers that their bits are (those of negative numbers mirrored), so that `the next below`
    is minus one, and a running minimum of integer + place does a whole row at once.
    """
    bits_QK = np.clip(np.nan_to_num(scores_QK, nan=-float(LARGEST)), -LARGEST, LARGEST).astype(np.float32).view(np.int32).astype(np.int64)
    steps_QK = np.maximum((bits_QK & 0x7FFFFFFF) - SMALLEST + 1, 0)  # from 0, in numbers of single precision
    ordered_QK = np.where(bits_QK >= 0, steps_QK, -steps_QK)
    place_K = np.arange(scores_QK.shape[1])
    ordered_QK = np.minimum.accumulate(ordered_QK + place_K, axis=1) - place_K
    sizes_QK = np.where(ordered_QK == 0, 0, np.abs(ordered_QK) + SMALLEST - 1)
    bits_QK = np.where(ordered_QK >= 0, sizes_QK, sizes_QK | 0x80000000)
    return bits_QK.astype(np.uint32).view(np.float32)


def read_run(path: Path) -> dict[str, tuple[str, ...]]:
    """Documents of each query, best first, in trec_eval's order: by score, equal scores by descending document id.

    Raises:
        DataError: the file cannot be read, a line has not six columns, a score is no number, or a document comes twice for a query; the
            line is named.
    """
    found: dict[str, dict[str, float]] = {}
    try:
        with path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                columns = line.split()
                if not columns:
                    continue
                if len(columns) != 6:
                    raise DataError(f"{path}, line {number}: {len(columns)} columns, expected 6 (query Q0 document rank score tag)")
                query, _, document, _, text, _ = columns
                try:
                    score = float(text)
                except ValueError:
                    raise DataError(f"{path}, line {number}: the score {text!r} is no number") from None
                if np.isnan(score):
                    raise DataError(f"{path}, line {number}: the score is not a number (NaN)")
                if document in found.setdefault(query, {}):
                    raise DataError(f"{path}, line {number}: document {document} comes twice for query {query}")
                found[query][document] = score
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a TREC run ({error}); expected lines of `query Q0 document rank score tag`") from None
    if not found:
        raise DataError(f"{path}: no line; expected `query Q0 document rank score tag`")
    return {query: tuple(sorted(sorted(scores, reverse=True), key=lambda name: -scores[name])) for query, scores in found.items()}


def check_files(run: Path, qrels: Path, rows: pa.Table) -> int:
    """Compare our rows with what ir-measures (trec_eval's own code, by pytrec_eval) makes of the two files.

    A measure is compared where the run is deep enough to tell: down to its cut-off, or over all candidates.

    Args:
        run: What `write_run` wrote.
        qrels: What `write_qrels` wrote.
        rows: Of the same ranking, schema QUERIES.

    Returns:
        Number of values that were compared.

    Raises:
        NumericsError: a value differs by more than TOLERANCE; query, measure and both values are named.
    """
    import ir_measures  # here: reading stored rows needs none of it
    from ir_measures import AP, RR, R, Success, nDCG

    scored = list(ir_measures.read_trec_run(str(run)))
    judged = list(ir_measures.read_trec_qrels(str(qrels)))
    depth: dict[str, int] = {}
    for line in scored:
        depth[line.query_id] = depth.get(line.query_id, 0) + 1
    measures = {"Success@1": Success @ 1, "RR": RR, "AP": AP, "AP@20": AP @ 20, "nDCG@10": nDCG @ 10, "R@100": R @ 100}
    cuts = {"Success@1": 1, "AP@20": 20, "nDCG@10": 10, "R@100": 100}
    found = {
        (value.query_id, value.measure): float(value.value) for value in ir_measures.iter_calc(list(measures.values()), judged, scored)
    }
    compared = 0
    for row in rows.select(["query_id", "rank", "num_relevant", "num_candidates", "AP", "AP@20", "nDCG@10", "R@100"]).to_pylist():
        query, reach = row["query_id"], depth.get(row["query_id"], 0)
        own = row | {"Success@1": float(row["rank"] == 1), "RR": 1.0 / row["rank"] if row["rank"] else 0.0}
        own["AP@20"] *= min(row["num_relevant"], 20) / row["num_relevant"]  # trec_eval divides by all relevant ones
        for name, measure in measures.items():
            enough = row["rank"] or row["num_candidates"] if name == "RR" else cuts.get(name, row["num_candidates"])
            if reach < min(enough, row["num_candidates"]):
                continue
            compared += 1
            theirs = found.get((query, measure), 0.0)
            if not abs(own[name] - theirs) <= TOLERANCE:
                raise NumericsError(f"{run}: query {query}: {name} is {own[name]:.6f} in our rows and {theirs:.6f} by trec_eval's code")
    return compared


def require_columns(texts: Iterable[str], path: Path) -> None:
    """Raises DataError at the first text that cannot be a column."""
    for text in texts:
        if not text or any(letter.isspace() for letter in text):
            raise DataError(f"{path}: {text!r} is empty or holds white space, which no column of a TREC file can; rename it, or write none")


def _write(path: Path, lines: Iterable[str]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(lines)
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
