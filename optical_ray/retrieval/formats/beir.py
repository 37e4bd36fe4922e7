"""BEIR folders (Thakur et al. 2021): corpus.jsonl, queries.jsonl, qrels/<split>.tsv."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optical_ray.languages.codes import ENGLISH, canonical_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import build_collection, gather_grades, gather_queries, wanted_tags
from optical_ray.retrieval.formats.downloads import missing
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.records import LineFiles
from optical_ray.retrieval.formats.skips import Skips
from optical_ray.retrieval.formats.stored import StoredOpener
from optical_ray.retrieval.formats.tab_lines import JsonDocument, json_queries, judgement_lines

SPLITS = {"test": ("test",), "valid": ("dev", "valid", "validation")}


def read_beir(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection, named after the folder. A document is its title and text with a space between, as BEIR's models read it.

    Queries of other splits, which the same file holds, are left out and counted as not judged.

    Raises:
        DataError: a file is missing or, `refuse`, has a bad line.
    """
    corpus, queries = (find_file(path, name) for name in ("corpus.jsonl", "queries.jsonl"))
    judged = [path / "qrels" / f"{name}.tsv" for name in SPLITS[options.split]]
    there = [file for file in judged if file.is_file()]
    for file, found in (("corpus.jsonl", corpus), ("queries.jsonl", queries), (f"qrels/{judged[0].name}", there)):
        if not found:
            raise missing("beir", path / file, "no such file")
    assert corpus and queries
    skips = Skips(options.on_bad)
    asks = canonical_tag(options.query_language or ENGLISH)
    questions = gather_queries(json_queries(queries, asks, skips), str(queries), skips, wanted_tags(options))
    grades = gather_grades(judgement_lines(there[0], skips), questions, str(there[0]), "line", skips)
    files = LineFiles((corpus,), JsonDocument(canonical_tag(options.document_language or ENGLISH)))
    yield build_collection(
        "beir",
        path.name,
        options,
        questions,
        grades,
        StoredOpener(files, options.max_documents).open,
        str(there[0]),
        skips,
    )


def find_file(path: Path, name: str) -> Path | None:
    """A file by its name, packed or not; None: it is not there."""
    return next((path / each for each in (name, f"{name}.gz", f"{name}.bz2") if (path / each).is_file()), None)
