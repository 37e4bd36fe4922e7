"""One evaluation: collections, a line-up of systems, and what names them, so that a finished one is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from optical_ray.artifacts import fingerprint
from optical_ray.languages.codes import ENGLISH
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.ranking import Outcome, Progress, Sweep, rank, sweep_in_process
from optical_ray.retrieval.system import System
from optical_ray.retrieval.systems.lineup import MEANINGS, Lineup
from optical_ray.retrieval.systems.translation import TranslatedSystem

FORMAT_VERSION = 1
DEPTH = 1000
"""Documents kept of each ranking. Ranks beyond it are known all the same, but where a search is too large to keep all scores."""
WHOLE_RANKINGS = 2**26
"""Where documents are of several languages, rankings are kept whole up to so many queries x documents (0.8 GB): where each language's
documents stand among themselves is read from them."""
RULES = {
    "ties": "scores are rounded to multiples of 2^-20; of equal scores, documents that are not relevant come first (ties count against us)",
    "not a number": "a score that is not a number counts as the lowest",
    "maxsim": "each content token of the query takes its best content token of the document; mean over the query's tokens (Khattab & "
    "Zaharia 2020); special, prefix and padding tokens take no part",
    "maxsim-symmetric": "mean of maxsim in both directions",
    "pooled": "cosine of the means of L2-normalised content tokens",
    "dense": "cosine of the vectors that the model's own folder pools (mean or CLS, special and prefix tokens as it says)",
    "passages": "a document's score is that of its best passage (MaxP, Dai & Callan 2019)",
    "removal": "transductive: a language's mean or components are those of all queries of it in the collection, and of the first passages "
    "of at most 256 documents of it; no relevance judgement is read",
    "AP@20": "divided by min(relevant, 20), as XTREME-R does",
    "AP": "no cut-off where all ranks are known, else of the depth that was searched",
}
"""What every number stands on; written beside them."""


def describe_collection(collection: Collection) -> dict[str, Any]:
    """Plain data: how much was asked among how much, and a fingerprint of all of it."""
    queries = collection.queries
    digest = hashlib.sha256()
    for row in zip(queries.ids, queries.texts, queries.languages, queries.clusters, strict=True):
        digest.update(repr(row).encode("utf-8", "surrogatepass"))
    judged = {query: dict(sorted(collection.qrels.get(query, {}).items())) for query in queries.ids}
    digest.update(fingerprint(judged).encode())
    if collection.candidates is not None:
        digest.update(fingerprint({query: list(collection.candidates.get(query, ())) for query in queries.ids}).encode())
    return {
        "task": collection.task,
        "split": collection.split,
        "queries": len(queries),
        "documents": len(collection.documents),
        "relevant": sum(grade > 0 for grades in judged.values() for grade in grades.values()),
        "query_languages": sorted(set(queries.languages)),
        "document_languages": list(collection.documents.languages),
        "reranks": collection.candidates is not None,
        "without_candidates": 0 if collection.candidates is None else sum(not collection.candidates.get(query) for query in queries.ids),
        "skipped": dict(collection.skipped),
        "fingerprint": fingerprint({"queries": digest.hexdigest(), "documents": collection.documents.fingerprint}),
    }


def describe_lineup(lineup: Lineup, systems: Sequence[System]) -> dict[str, Any]:
    """Plain data: rows, what they mean, and which model does what."""
    translations = lineup.translations
    told = None
    if translations is not None:
        rows = sorted([language or "", name, english] for (language, name), english in translations.items())
        told = {"source": lineup.translated_by, "queries": len(rows), "fingerprint": fingerprint(rows)}
    return {
        "systems": {system.name: {"meaning": MEANINGS[system.name], "scorers": list(system.scorers)} for system in systems},
        "sides": lineup.describe(),
        "translations": told,
        "seed": lineup.seed,
    }


def identify(data: dict[str, Any], lineup: dict[str, Any], depth: int) -> str:
    """40 hex digits of everything that determines a number, and of no path.

    Args:
        data: By name of the collection, what `describe_collection` gave.
        lineup: What `describe_lineup` gave.
        depth: Of the rankings.
    """
    sides = {
        name: {k: v for k, v in side.items() if k != "model"} if isinstance(side, dict) else side for name, side in lineup["sides"].items()
    }
    translations = lineup["translations"] and lineup["translations"]["fingerprint"]
    collections = {name: found["fingerprint"] for name, found in data.items()}
    inputs = {
        "sides": sides,
        "systems": lineup["systems"],
        "seed": lineup["seed"],
        "translations": translations,
        "collections": collections,
    }
    return fingerprint({"format": FORMAT_VERSION, "rules": RULES, "depth": depth, **inputs})


def depth_of(collection: Collection, depth: int) -> int:
    """Documents to keep of each ranking of a collection, where `depth` was asked for."""
    size = len(collection.documents)
    whole = len(collection.documents.languages) > 1 and len(collection.queries) * size <= WHOLE_RANKINGS
    return size if whole else min(depth, size)


def applies(collection: Collection, system: System) -> bool:
    """Queries are only translated into English where a document is English."""
    return not isinstance(system, TranslatedSystem) or ENGLISH in collection.documents.languages


def evaluate(
    collections: Sequence[Collection],
    systems: Sequence[System],
    depth: int = DEPTH,
    sweep: Sweep = sweep_in_process,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Every ranking that makes sense; as `rank`."""
    return rank(collections, systems, lambda collection: depth_of(collection, depth), sweep, progress, applies)
