"""TREC collections: topics, qrels and documents in TREC's tags, JSON lines or columns."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from optical_ray.errors import DataError
from optical_ray.languages.codes import ENGLISH, canonical_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import build_collection, gather_grades, gather_queries, wanted_tags
from optical_ray.retrieval.formats.downloads import missing
from optical_ray.retrieval.formats.lines import BadRow, decode_text, raw_lines
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.records import Document, LineFiles
from optical_ray.retrieval.formats.skips import BROKEN_ROW, Skips
from optical_ray.retrieval.formats.stored import StoredOpener
from optical_ray.retrieval.formats.tab_lines import JsonDocument, TabDocument, judgement_lines
from optical_ray.retrieval.formats.topics import read_topics

CONTENT_TAGS = ("TEXT", "HEADLINE", "TITLE", "HL", "HEAD", "TTL", "DD", "DATE", "LP", "LEADPARA")
"""What of a document is its text (Anserini's TrecCollection, and ir_datasets). A document with none of them counts whole."""
_CONTENT = re.compile(rf"<({'|'.join(CONTENT_TAGS)})\b[^>]*>(.*?)</\1>", re.I | re.S)
_IDENTITY = re.compile(r"<DOCNO>(.*?)</DOCNO>", re.I | re.S)
_TAG = re.compile(r"<[^<>]*>")


@dataclass(frozen=True, slots=True)
class TaggedDocument:
    """A document `<DOC> <DOCNO>id</DOCNO> ... </DOC>`."""

    language: str
    """Canonical tag."""
    encoding: str = "utf-8"

    def __call__(self, raw: bytes) -> Document:
        """Raises BadRow."""
        text = decode_text(raw, self.encoding)
        identity = _IDENTITY.search(text)
        if identity is None or not identity[1].strip():
            raise BadRow(BROKEN_ROW, "no <DOCNO>, expected one; fix it")
        if not re.search(r"</DOC>\s*$", text, re.I):
            raise BadRow(BROKEN_ROW, f"document {identity[1].strip()!r} has no </DOC>: the file may be cut short; copy it again")
        parts = [match[2] for match in _CONTENT.finditer(text)] or [_IDENTITY.sub(" ", text)]
        return Document(identity[1].strip(), self.language, " ".join(html.unescape(_TAG.sub(" ", " ".join(parts))).split()))


def cut_tagged(stream: IO[bytes], offset: int) -> Iterator[tuple[int, bytes]]:
    """(byte it begins at, document from `<DOC>` to `</DOC>`); what stands between documents is passed over."""
    start, lines = -1, list[bytes]()
    for at, line in raw_lines(stream, offset):
        mark = line.lstrip()[:6].upper()
        if mark.startswith(b"<DOC>"):
            if lines:
                yield start, b"".join(lines)
            start, lines = at, [line]
        elif lines:
            lines.append(line)
        if lines and line.rstrip()[-6:].upper() == b"</DOC>":
            yield start, b"".join(lines)
            lines = []
    if lines:
        yield start, b"".join(lines)


def read_trec(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection, named after the folder.

    Raises:
        DataError: a file is missing, cannot be read or, `refuse`, has a bad line.
    """
    topics, judged = _one(path, "topics"), _one(path, "qrels")
    skips = Skips(options.on_bad)
    questions = gather_queries(read_topics(topics, options, skips), str(topics), skips, wanted_tags(options))
    grades = gather_grades(judgement_lines(judged, skips), questions, str(judged), "line", skips)
    files = _documents(path, options)
    yield build_collection(
        "trec",
        path.name,
        options,
        questions,
        grades,
        StoredOpener(files, options.max_documents).open,
        str(judged),
        skips,
    )


def _one(path: Path, what: str) -> Path:
    """The file whose name begins with a word, or the only one in a folder of that name."""
    found = [file for file in sorted(path.glob(f"{what}*")) if file.is_file()] or [
        file for file in sorted((path / what).glob("*")) if file.is_file()
    ]
    if not found:
        raise missing("trec", path, f"no file {what}* in it" if path.is_dir() else "no such folder")
    if len(found) > 1:
        raise DataError(
            f"{path}: {len(found)} files {what}* ({', '.join(file.name for file in found)}); expected one, put the others elsewhere"
        )
    return found[0]


def _documents(path: Path, options: FormatOptions) -> LineFiles:
    folder = path / "documents"
    paths = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else sorted(path.glob("documents.*"))
    if not paths:
        raise missing("trec", path, "neither documents.* nor a folder documents/ in it")
    tag = canonical_tag(options.document_language or ENGLISH)
    kinds: dict[str, Callable[[], LineFiles]] = {
        "jsonl": lambda: LineFiles(tuple(paths), JsonDocument(tag)),
        "tsv": lambda: LineFiles(tuple(paths), TabDocument(tag, encoding=options.encoding)),
        "tagged": lambda: LineFiles(tuple(paths), TaggedDocument(tag, options.encoding), cut_tagged, "document"),
    }
    found = {_kind(file) for file in paths}
    if len(found) > 1:
        raise DataError(f"{path}: documents of several kinds ({', '.join(sorted(found))}); expected one, put the others elsewhere")
    return kinds[found.pop()]()


def _kind(file: Path) -> str:
    name = file.name.removesuffix(".gz").removesuffix(".bz2")
    return "jsonl" if name.endswith((".jsonl", ".json")) else "tsv" if name.endswith(".tsv") else "tagged"
