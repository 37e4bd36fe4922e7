"""mMARCO (Bonifacio et al. 2021): MS MARCO's passages and questions, translated; ids are the same in all 14 languages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optical_ray.errors import DataError
from optical_ray.languages.codes import ENGLISH, canonical_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import build_collection, gather_grades, gather_queries
from optical_ray.retrieval.formats.beir import find_file
from optical_ray.retrieval.formats.downloads import SOURCES, missing
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.records import LineFiles
from optical_ray.retrieval.formats.skips import MISSING_LANGUAGE, Skips
from optical_ray.retrieval.formats.stored import StoredOpener
from optical_ray.retrieval.formats.tab_lines import TabDocument, judgement_lines, tab_queries

NAMES = {
    "ar": "arabic",
    "zh-Hans": "chinese",
    "nl": "dutch",
    "en": "english",
    "fr": "french",
    "de": "german",
    "hi": "hindi",
    "id": "indonesian",
    "it": "italian",
    "ja": "japanese",
    "pt": "portuguese",
    "ru": "russian",
    "es": "spanish",
    "vi": "vietnamese",
}
"""What its files call each language."""
_QUERIES = ("queries.dev.small.tsv", "queries.dev.tsv")


def read_mmarco(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection for each pair of languages: by `pairs`, or the questions of `languages` among the passages of `document_language`.

    Judgements are of MS MARCO's dev set (6,980 questions in `dev.small`), which papers report; the real test set's are not published.

    Raises:
        DataError: a file is missing or, `refuse`, has a bad line.
    """
    if options.split == "valid":
        raise DataError(f"{path}: judgements are published of dev.small alone, which counts as the test split; name split=test")
    judged = next((file for folder in (path, path.parent) if (file := find_file(folder, "qrels.dev.small.tsv"))), None)
    if judged is None:
        raise missing("mmarco", path, "no qrels.dev.small.tsv in it or beside it" if path.is_dir() else "no such folder")
    openers: dict[str, StoredOpener] = {}
    skips = Skips(options.on_bad)
    for asks, searched in _pairs(path, options):
        queries = _queries(path, asks)
        if queries is None:
            skips.bad(MISSING_LANGUAGE, f"{path / 'queries' / 'dev'}: no {NAMES.get(asks, asks)}_{_QUERIES[0]}; {SOURCES['mmarco']}")
            continue
        if searched not in openers:
            name = f"{NAMES.get(searched, searched)}_collection.tsv"
            collection = find_file(path / "collections", name)
            if collection is None:
                raise missing("mmarco", path / "collections" / name, "no such file")
            openers[searched] = StoredOpener(LineFiles((collection,), TabDocument(searched)), options.max_documents)
        own = skips.fork()
        questions = gather_queries(tab_queries(queries, asks, own), str(queries), own)
        grades = gather_grades(judgement_lines(judged, own), questions, str(judged), "line", own)
        yield build_collection("mmarco", f"{asks}-{searched}", options, questions, grades, openers[searched].open, str(judged), own)


def _pairs(path: Path, options: FormatOptions) -> list[tuple[str, str]]:
    if options.pairs:
        sides = (pair.split(":") for pair in options.pairs)
        return [(canonical_tag(first), canonical_tag(second)) for first, second in sides]
    found = [tag for tag in NAMES if _queries(path, tag)]
    if not (found or options.languages):
        raise missing("mmarco", path / "queries" / "dev", "no questions in it")
    searched = canonical_tag(options.document_language or ENGLISH)
    return [(canonical_tag(code), searched) for code in options.languages or found]


def _queries(path: Path, tag: str) -> Path | None:
    return next((file for name in _QUERIES if (file := find_file(path / "queries" / "dev", f"{NAMES.get(tag, tag)}_{name}"))), None)
