"""LAReQA (Roy et al. 2020): a question in one language, and the sentence that answers it in every language, in one multilingual pool.

Candidates are all sentences of every paragraph in which a question is answered, each as sentence + paragraph, joined without a separator,
line ends taken out (google-research/xtreme, third_party/evaluate_retrieval.py). Relevant are, in each language, the sentence that holds the
answer's first character, and sentences of that paragraph with the same text (utils_lareqa.py). Texts are never normalised: offsets count
the characters as they are stored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optical_ray.errors import DataError
from optical_ray.retrieval.collection import Collection
from optical_ray.retrieval.formats.assemble import Asked, Grades, build_collection, gather_queries
from optical_ray.retrieval.formats.bitext import known_tags
from optical_ray.retrieval.formats.documents import InMemoryDocuments
from optical_ray.retrieval.formats.downloads import SOURCES, missing
from optical_ray.retrieval.formats.lines import BadRow, check_text, read_json, string_field
from optical_ray.retrieval.formats.options import FormatOptions
from optical_ray.retrieval.formats.pairs import choose_languages
from optical_ray.retrieval.formats.skips import BROKEN_ROW, NO_SENTENCE, UNANSWERABLE, WITHHELD, Skips
from optical_ray.retrieval.formats.tables import read_tables

XTREME_R = tuple(["ar", "de", "el", "en", "es", "hi", "ru", "th", "tr", "vi", "zh"])
"""The languages of XQuAD-R."""


@dataclass(slots=True)
class _Pool:
    """What the files hold, language by language."""

    asked: list[Asked] = field(default_factory=list)
    relevant: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Question -> candidates of all languages."""
    seen: set[str] = field(default_factory=set)
    """Ids of questions, with their language."""
    ids: list[str] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)


def read_lareqa(path: Path, options: FormatOptions) -> Iterator[Collection]:
    """One collection, `all`: questions of all languages among the sentences of all languages.

    Raises:
        DataError: files are missing, broken, hold no sentences or no answers or, `refuse`, have bad questions.
    """
    if (path / "corpus.parquet").is_file():
        yield from (replace(pool, name="all") for pool in read_tables("lareqa", path, options, ("text", "context"), _join))
        return
    skips = Skips(options.on_bad)
    folder = path / "xquad-r" if (path / "xquad-r").is_dir() else path
    files = {file.stem: file for file in sorted(folder.glob("*.json"))}
    if not files:
        raise missing("lareqa", path, "no file <lang>.json in it" if path.is_dir() else "no such folder")
    wanted = options.languages or (XTREME_R if options.language_set == "xtreme-r" else ())
    found = known_tags(list(files), wanted, str(folder), skips)
    pool = _Pool()
    for code in choose_languages(found, wanted, str(folder), SOURCES["lareqa"], skips).values():
        _read_file(files[code], code, found[code], pool, skips)  # ids are the benchmark's own: `zh_1_0`, whatever its tag
    grades: Grades = {row.id: dict.fromkeys(pool.relevant[row.cluster], 1) for row in pool.asked}

    def open_documents(wanted: frozenset[str], _: Skips) -> InMemoryDocuments:
        limit = len(pool.ids) if options.max_documents is None else options.max_documents
        kept = [i for i, identity in enumerate(pool.ids) if i < limit or identity in wanted]
        return InMemoryDocuments(*([column[i] for i in kept] for column in (pool.ids, pool.languages, pool.texts)))

    questions = gather_queries(pool.asked, str(folder), skips)
    yield build_collection("lareqa", "all", options, questions, grades, open_documents, str(folder), skips)


def _read_file(file: Path, code: str, tag: str, pool: _Pool, skips: Skips) -> None:
    """Questions and candidates of one language; a language in which no question has an answer has its labels withheld."""
    squad = read_json(file)
    if not isinstance(squad, Mapping) or not isinstance(squad.get("data"), list):
        raise DataError(f"{file}: no list `data` in it, so this is no file of SQuAD's form; {SOURCES['lareqa']}")
    paragraphs = [(title, paragraph) for title in squad["data"] for paragraph in _items(title, "paragraphs", file)]
    every = [question for _, paragraph in paragraphs for question in _items(paragraph, "qas", file)]
    if every and not any(question.get("answers") for question in every):
        skips.bad(WITHHELD, f"{file}: none of its {len(every)} questions has an answer; fetch the file with answers", len(every))
        return
    for number, (_, paragraph) in enumerate(paragraphs, start=1):
        try:
            _read_paragraph(paragraph, f"{code}_{number}", code, tag, file, pool, skips)
        except BadRow as bad:
            skips.bad(bad.reason, f"{file}, paragraph {number}: {bad.found}")


def _items(value: Any, key: str, file: Path) -> list[dict[str, Any]]:
    items = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise DataError(f"{file}: `{key}` is missing or no list of objects, so this is no file of SQuAD's form; {SOURCES['lareqa']}")
    return items


def _read_paragraph(paragraph: dict[str, Any], identity: str, code: str, tag: str, file: Path, pool: _Pool, skips: Skips) -> None:
    context, breaks = string_field(paragraph, "context"), paragraph.get("sentence_breaks")
    if not isinstance(breaks, list):
        raise BadRow(BROKEN_ROW, f"no sentence_breaks, so this is XQuAD and not XQuAD-R; {SOURCES['lareqa']}")
    spans = [_span(each, len(context)) for each in breaks]
    sentences = [context[start:end] for start, end in spans]
    asked: list[Asked] = []
    relevant: list[tuple[str, list[str]]] = []
    for question in paragraph["qas"]:
        asks, text = string_field(question, "id"), string_field(question, "question")
        if not question.get("answers") or question.get("is_impossible"):
            skips.leave_out(UNANSWERABLE)
            continue
        if not isinstance(question["answers"], list):
            raise BadRow(BROKEN_ROW, f"the answers of question {asks} are no list; fetch the file again")
        held = {_sentence_of(answer, spans) for answer in question["answers"]} - {None}
        if not held:
            skips.leave_out(NO_SENTENCE)
            continue
        equal = {sentences[place] for place in held if place is not None}
        relevant.append((asks, [f"{identity}_{place}" for place, sentence in enumerate(sentences) if sentence in equal]))
        asked.append(Asked(f"{asks}_{code}", text, tag, asks, f"{file}, question {asks}"))
    for (asks, candidates), row in zip(relevant, asked, strict=True):
        if (
            row.id not in pool.seen
        ):  # a repeated question is left out, or refused, where all are gathered: its answers are not the first one's
            pool.relevant[asks] += candidates
        pool.seen.add(row.id)
        pool.asked.append(row)
    if asked:
        pool.ids += [f"{identity}_{place}" for place in range(len(sentences))]
        pool.languages += [tag] * len(sentences)
        pool.texts += [candidate_text(sentence, context) for sentence in sentences]


def _span(value: Any, length: int) -> tuple[int, int]:
    fits = isinstance(value, list) and len(value) == 2 and all(isinstance(each, int) for each in value)
    if not fits or not 0 <= value[0] <= value[1] <= length:
        raise BadRow(BROKEN_ROW, f"sentence break {value!r} does not fit the paragraph of {length} characters; fetch the file again")
    return value[0], value[1]


def _sentence_of(answer: Any, spans: list[tuple[int, int]]) -> int | None:
    start = answer.get("answer_start") if isinstance(answer, Mapping) else None
    if not isinstance(start, int):
        raise BadRow(BROKEN_ROW, f"answer {answer!r} has no answer_start; fetch the file again")
    return next((place for place, (first, end) in enumerate(spans) if first <= start < end), None)


def candidate_text(sentence: str, context: str) -> str:
    """What a candidate is encoded as: sentence and paragraph in one string."""
    return check_text((sentence + context).replace("\n", ""))


def _join(sentence: str | None, context: str | None) -> str:
    return candidate_text(sentence or "", context or "")
