"""The Wikipedia collection of Sasaki et al. 2018: English sentences ask for articles in 25 languages.

A question is the first sentence of an English article, its title taken out. Grade 2: the article about the same; 1: articles that link
to it and are linked by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from optical_ray.languages.codes import ENGLISH, canonical_tag
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import build_collection, gather_grades, gather_queries
from optical_ray.retrieval.formats.beir import find_file
from optical_ray.retrieval.formats.bitext import known_tags
from optical_ray.retrieval.formats.downloads import SOURCES, missing
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.pairs import choose_languages
from optical_ray.retrieval.formats.records import LineFiles
from optical_ray.retrieval.formats.skips import Skips
from optical_ray.retrieval.formats.stored import StoredOpener
from optical_ray.retrieval.formats.tab_lines import TabDocument, judgement_lines, tab_queries

SIMPLE_ENGLISH = "simple"
"""Code of the files of English in few words, read as English."""


def read_wikiclir(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection for each language searched (`document_language`, `languages`, or all that are there).

    The release has no splits: all questions that a language's judgements name. A document is its title and its text.

    Raises:
        DataError: a file is missing or, `refuse`, has a bad line.
    """
    queries = find_file(path / "english", "wiki_en.queries")
    if queries is None:
        raise missing("wikiclir", path, "no english/wiki_en.queries in it" if path.is_dir() else "no such folder")
    files = {}
    for file in sorted(path.glob("*/wiki_*.documents*")):
        files[file.name.removeprefix("wiki_").partition(".")[0]] = file
    if not files:
        raise missing("wikiclir", path, "no <language>/wiki_<code>.documents in it")
    skips = Skips(options.on_bad)
    wanted = (options.document_language,) if options.document_language else options.languages
    found = known_tags([code for code in files if code != SIMPLE_ENGLISH], wanted, str(path), skips)
    if SIMPLE_ENGLISH in files:
        found[SIMPLE_ENGLISH] = ENGLISH
    for name, code in choose_languages(found, wanted, str(path), SOURCES["wikiclir"], skips).items():
        judged = find_file(files[code].parent, f"en2{code}.rel")
        if judged is None:
            raise missing("wikiclir", files[code].parent / f"en2{code}.rel", "no such file")
        own = skips.fork()
        questions = gather_queries(tab_queries(queries, canonical_tag(ENGLISH), own, columns=3), str(queries), own)
        grades = gather_grades(judgement_lines(judged, own), questions, str(judged), "line", own)
        opener = StoredOpener(LineFiles((files[code],), TabDocument(found[code], columns=3)), options.max_documents)
        yield build_collection("wikiclir", f"en-{name}", options, questions, grades, opener.open, str(judged), own)
