"""Data sets of ir_datasets (MacAvaney et al. 2021), which downloads and reads them; an extra, imported when one is named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from optical_ray.errors import ConfigError, DataError, LanguageError
from optical_ray.languages.codes import ENGLISH, canonical_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import Asked, Judgement, build_collection, gather_grades, gather_queries
from optical_ray.retrieval.formats.downloads import missing
from optical_ray.retrieval.formats.lines import BadRow, check_text
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.records import Document, Record
from optical_ray.retrieval.formats.skips import Skips
from optical_ray.retrieval.formats.stored import StoredOpener

TEXTS = ("text", "contents", "body", "abstract", "description")
"""Fields of a document, the first that has something; `title` or `headline` stands before it."""


@dataclass(frozen=True, slots=True)
class IrDocuments:
    """Documents of a data set by its id; workers open it by themselves."""

    identity: str
    language: str
    """Canonical tag."""
    unit: str = "document"

    def label(self, place: int) -> str:
        """As `DocumentFiles.label`."""
        return f"ir_datasets {self.identity}"

    def records(self, start: int = 0) -> Iterator[Record]:
        """As `DocumentFiles.records`."""
        for place, document in enumerate(_fetch(load_dataset(self.identity), "docs", start), start=start):
            try:
                yield Record(place, place + 1, Document(check_text(document.doc_id), self.language, check_text(_text(document))))
            except BadRow as bad:
                yield Record(place, place + 1, bad)


def read_irds(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection of a data set that has documents, queries and judgements.

    Raises:
        ConfigError: the package is not installed.
        DataError: the id is unknown, it lacks a part, its files cannot be fetched or, `refuse`, it has a bad row.
    """
    identity = path.as_posix()
    dataset = load_dataset(identity)
    for part in ("docs", "queries", "qrels"):
        if not getattr(dataset, f"has_{part}")():
            raise missing("ir_datasets", identity, f"has no {part}")
    skips = Skips(options.on_bad)
    asks = _language(options.query_language, dataset, "queries_lang", identity, "query_language")
    searched = _language(options.document_language, dataset, "docs_lang", identity, "document_language")
    questions = gather_queries(_queries(dataset, identity, asks, options, skips), identity, skips)
    judged = (
        Judgement(number, row.query_id, row.doc_id, int(row.relevance)) for number, row in enumerate(_fetch(dataset, "qrels"), start=1)
    )
    grades = gather_grades(judged, questions, identity, "judgement", skips)
    opener = StoredOpener(IrDocuments(identity, searched), options.max_documents)
    yield build_collection("ir_datasets", identity.replace("/", "-"), options, questions, grades, opener.open, identity, skips)


def load_dataset(identity: str) -> Any:
    """The data set's object.

    Raises:
        ConfigError: the package is not installed.
        DataError: the id is unknown.
    """
    try:
        import ir_datasets
    except ImportError:
        raise ConfigError(
            f"{identity}: ids of ir_datasets need that package; install it with `pip install optical-ray[ir-datasets]`"
        ) from None
    try:
        return ir_datasets.load(identity)
    except KeyError:
        raise missing("ir_datasets", identity, "no such id") from None


def _fetch(dataset: Any, part: str, start: int = 0) -> Iterator[Any]:
    try:
        rows = getattr(dataset, f"{part}_iter")()
        yield from rows[start:] if start and hasattr(rows, "__getitem__") else islice(rows, start, None)
    except OSError as error:
        raise DataError(
            f"{part} of {dataset!r} cannot be fetched ({str(error).partition(chr(10))[0]}); see https://ir-datasets.com"
        ) from None


def _queries(dataset: Any, identity: str, tag: str, options: FormatOptions, skips: Skips) -> Iterator[Asked]:
    """HC4 and NeuCLIR hold each topic twice: in English, and translated by people into the language of the documents (`ht_`)."""
    for number, row in enumerate(_fetch(dataset, "queries"), start=1):
        where = f"{identity}, query {number}"
        translated = hasattr(row, "ht_title") and canonical_tag(getattr(row, "translation_lang", None) or ENGLISH) == tag != ENGLISH
        names = [f"ht_{name}" if translated else name for name in options.topic_fields] if hasattr(row, "title") else ["text"]
        parts = [getattr(row, name, None) or "" for name in names]
        try:
            yield Asked(check_text(row.query_id), check_text(" ".join(" ".join(parts).split())), tag, row.query_id, where)
        except BadRow as bad:
            skips.bad(bad.reason, f"{where}: {bad.found}")


def _text(document: Any) -> str:
    title = getattr(document, "title", None) or getattr(document, "headline", None) or ""
    text = next((found for name in TEXTS if (found := getattr(document, name, None))), "")
    if not text and hasattr(document, "default_text"):
        return str(document.default_text())
    return f"{title} {text}".strip()


def _language(named: str | None, dataset: Any, method: str, identity: str, option: str) -> str:
    """What the user says, else what the data set says, else English."""
    said = named or (getattr(dataset, method)() if hasattr(dataset, method) else None) or ENGLISH
    try:
        return canonical_tag(said)
    except LanguageError:
        raise DataError(f"{identity}: its language is {said!r}; name it with {option}") from None
