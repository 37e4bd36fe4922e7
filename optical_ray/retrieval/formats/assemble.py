"""Queries, judgements and documents -> a collection that keeps its contract; what does not fit is refused, or left out and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from optical_ray.errors import DataError, LanguageError
from optical_ray.languages.codes import canonical_tag
from optical_ray.retrieval.collection import Collection, Documents, Queries
from optical_ray.retrieval.formats.documents import PassageDocuments
from optical_ray.retrieval.formats.lines import BadRow, read_lines
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.skips import (
    BEYOND_LIMIT,
    BROKEN_ROW,
    DUPLICATE_QUERY,
    EMPTY_QUERY,
    MISSING_LANGUAGE,
    NOT_JUDGED,
    NOTHING_RELEVANT,
    REPEATED_JUDGEMENT,
    UNKNOWN_CANDIDATE,
    UNKNOWN_DOCUMENT,
    UNKNOWN_QUERY,
    Skips,
)

JUDGED = "judged"
"""The value of `FormatOptions.candidates` that is no file."""

LARGEST_GRADE = 2**31 - 1
"""As trec_eval holds them."""
Grades = dict[str, dict[str, int]]


class Asked(NamedTuple):
    """One query."""

    id: str
    text: str
    language: str
    """Canonical tag."""
    cluster: str
    """As `Queries.clusters`."""
    where: str
    """File and place."""


class Judgement(NamedTuple):
    """One line of qrels."""

    number: int
    """Of its line or row."""
    query: str
    document: str
    grade: int


class Questions(NamedTuple):
    """Queries that can be asked, by id, and the ids of all that were there."""

    asked: dict[str, Asked]
    seen: set[str]


def read_tag(code: str) -> str:
    """The canonical tag of a language that a row names.

    Raises:
        BadRow: it is no language.
    """
    try:
        return canonical_tag(code)
    except LanguageError as error:
        raise BadRow(BROKEN_ROW, str(error)) from None


def wanted_tags(options: FormatOptions) -> frozenset[str] | None:
    """Canonical tags of the languages whose queries are asked; None: all."""
    return frozenset(canonical_tag(code) for code in options.languages) or None


def gather_queries(rows: Iterable[Asked], source: str, skips: Skips, languages: frozenset[str] | None = None) -> Questions:
    """Queries with a text, each id once, in their order.

    Args:
        rows: All of the data set.
        source: File, for messages.
        skips: Told of empty and repeated ones, and of languages in which there is none.
        languages: The only ones that are asked; None: all.
    """
    questions, found = Questions({}, set()), set[str]()
    for row in rows:
        if row.id in questions.seen:
            skips.bad(DUPLICATE_QUERY, f"{row.where}: query id {row.id!r} again; expected each once, take one out")
            continue
        questions.seen.add(row.id)
        found.add(row.language)
        if languages is not None and row.language not in languages:
            continue
        if not row.text.strip():
            skips.bad(EMPTY_QUERY, f"{row.where}: query {row.id!r} has no text; take it out")
            continue
        questions.asked[row.id] = row
    for tag in sorted((languages or frozenset()) - found):
        have = ", ".join(sorted(found)) or "none"
        skips.bad(MISSING_LANGUAGE, f"{source}: no query in language {tag} (there are {have}); take it out of `languages`")
    return questions


def gather_grades(rows: Iterable[Judgement], questions: Questions, source: str, unit: str, skips: Skips) -> Grades:
    """Judgements of the queries that are asked.

    Args:
        rows: All of the data set.
        questions: Those that are there.
        source: File, for messages.
        unit: What `Judgement.number` counts.
        skips: Told of judgements that name a query that is not there, and of a second grade for the same document.
    """
    grades: Grades = {}
    for row in rows:
        if abs(row.grade) > LARGEST_GRADE:
            skips.bad(
                BROKEN_ROW, f"{source}, {unit} {row.number}: the grade {row.grade} is no relevance; expected a small whole number; fix it"
            )
        elif row.query not in questions.seen:
            skips.bad(
                UNKNOWN_QUERY,
                f"{source}, {unit} {row.number}: judges query {row.query!r}, which is not among the queries; take the {unit} out",
            )
        elif row.query in questions.asked:
            graded = grades.setdefault(row.query, {})
            if graded.setdefault(row.document, row.grade) != row.grade:
                skips.bad(
                    REPEATED_JUDGEMENT,
                    f"{source}, {unit} {row.number}: grades document {row.document!r} for query {row.query!r} {row.grade}, "
                    f"{graded[row.document]} before; take one out",
                )
    return grades


def build_collection(
    task: str,
    name: str,
    options: FormatOptions,
    questions: Questions,
    grades: Mapping[str, Mapping[str, int]],
    open_documents: Callable[[frozenset[str], Skips], Documents],
    source: str,
    skips: Skips,
) -> Collection:
    """Check what was read against each other.

    Args:
        task: As `Collection.task`.
        name: As `Collection.name`.
        options: Limits, passages, what is re-ranked.
        questions: Those that can be asked.
        grades: Query id -> document id -> grade.
        open_documents: Opens the documents, given the ids that must be among them whatever the limit, and whom to tell of bad ones.
        source: Where the judgements stand, for messages.
        skips: Told of judgements and candidates that name no document; its counts become `Collection.skipped`.

    Raises:
        DataError: no query is left, the run to re-rank names none of them or, `refuse`, a name is unknown.
    """
    chosen = _choose(questions, grades, options, skips)
    if not chosen:
        raise DataError(
            f"{source}: no query has a relevant document ({len(questions.seen)} queries, {len(grades)} judged); labels may be withheld: "
            "name a split whose judgements are published, or languages that are there"
        )
    run = _read_candidates(options, grades, chosen, skips)
    wanted = {document for query in chosen for document, grade in grades[query].items() if grade > 0}
    wanted |= {document for named in (run or {}).values() for document in named}
    documents = open_documents(frozenset(wanted), skips)
    named = {document for query in chosen for document in grades[query]} | wanted
    there = documents.places(frozenset(named)).keys()
    qrels: Grades = {}
    for query in chosen:
        for document, grade in grades[query].items():
            if document in there:
                qrels.setdefault(query, {})[document] = grade
            elif grade > 0 or options.max_documents is None:
                skips.bad(
                    UNKNOWN_DOCUMENT,
                    f"{source}: judges document {document!r} for query {query!r}, which is not among the documents; take the judgement out",
                )
    asked = [questions.asked[query] for query in chosen if any(grade > 0 for grade in qrels.get(query, {}).values())]
    skips.leave_out(NOTHING_RELEVANT, len(chosen) - len(asked))
    if not asked:
        raise DataError(f"{source}: none of the documents that it judges relevant is among the documents; do they belong together?")
    columns = list(zip(*asked, strict=True))
    return Collection(
        task=task,
        name=name,
        split=options.split,
        queries=Queries(ids=columns[0], texts=columns[1], languages=columns[2], clusters=columns[3]),
        documents=PassageDocuments(documents, options.passage_words, options.passage_overlap) if options.passage_words else documents,
        qrels={row.id: qrels[row.id] for row in asked},
        candidates=None if run is None else _known_candidates(run, asked, there, options, skips),
        skipped=dict(sorted(skips.counts.items())),
    )


def _choose(questions: Questions, grades: Mapping[str, Mapping[str, int]], options: FormatOptions, skips: Skips) -> list[str]:
    """Ids of queries with something relevant, within the limit."""
    chosen: list[str] = []
    taken: Counter[str] = Counter()
    for row in questions.asked.values():
        graded = grades.get(row.id)
        if graded is None:
            skips.leave_out(NOT_JUDGED)
        elif not any(grade > 0 for grade in graded.values()):
            skips.leave_out(NOTHING_RELEVANT)
        elif options.max_queries is not None and taken[row.language] >= options.max_queries:
            skips.leave_out(BEYOND_LIMIT)
        else:
            taken[row.language] += 1
            chosen.append(row.id)
    return chosen


def _read_candidates(
    options: FormatOptions, grades: Mapping[str, Mapping[str, int]], chosen: list[str], skips: Skips
) -> dict[str, tuple[str, ...]] | None:
    """What each query re-ranks; nothing where a run does not name it: the first stage found nothing, and that counts."""
    if options.candidates is None:
        return None
    if options.candidates == JUDGED:
        return {query: tuple(grades[query]) for query in chosen}
    run = read_run(Path(options.candidates), skips)
    if not run.keys() & set(chosen):
        raise DataError(
            f"{options.candidates}: names none of the {len(chosen)} queries (it has {next(iter(run))!r}); is it a run of this task?"
        )
    return {query: run.get(query, ()) for query in chosen}


def _known_candidates(
    run: Mapping[str, tuple[str, ...]], asked: list[Asked], there: Iterable[str], options: FormatOptions, skips: Skips
) -> dict[str, tuple[str, ...]]:
    known = set(there)
    for row in asked:
        for document in run[row.id]:
            if document not in known and options.candidates != JUDGED:
                message = f"{options.candidates}: ranks document {document!r} for query {row.id!r}, which is not among the documents"
                skips.bad(UNKNOWN_CANDIDATE, f"{message}; take the line out")
    return {row.id: tuple(document for document in run[row.id] if document in known) for row in asked}


def read_run(path: Path, skips: Skips) -> dict[str, tuple[str, ...]]:
    """A run in TREC's six columns (query, Q0, document, rank, score, tag) or MS MARCO's three (query, document, rank), in its order.

    Raises:
        DataError: it cannot be read, is empty, or ranks a document twice for a query; and `refuse`, has a line of other columns.
    """
    run: dict[str, dict[str, None]] = {}
    for line in read_lines(path, skips):
        fields = line.text.split()
        if len(fields) not in (3, 6):
            expected = "6 (query Q0 document rank score tag) or 3 (query document rank)"
            skips.bad(BROKEN_ROW, f"{path}, line {line.number}: {len(fields)} columns, expected {expected}; fix the line")
            continue
        query, document = fields[0], fields[2] if len(fields) == 6 else fields[1]
        if document in run.setdefault(query, {}):
            raise DataError(f"{path}, line {line.number}: ranks document {document!r} again for query {query!r}; take one out")
        run[query][document] = None
    if not run:
        raise DataError(f"{path}: empty, expected a run of six columns (query Q0 document rank score tag)")
    return {query: tuple(documents) for query, documents in run.items()}
