"""A source of relevance data is one string, `PATH[,key=value...]`; its format is said, or told from the names of its files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from optical_ray.data.reading.naming import COMPRESSIONS
from optical_ray.data.reading.places import FoundFile, is_remote, list_files, without_file_scheme
from optical_ray.errors import ConfigError, DataError

RelevanceFormat = Literal["jsonl", "triples", "msmarco", "beir", "parquet"]
KEYS = ("format", "split", "query", "title", "collection", "queries", "triples")
EXPECTED = (
    "*.jsonl, *.tsv triples, one *.parquet of rows, or a folder of MS MARCO (collection.tsv, queries*.tsv, triples or qrels), BEIR "
    "(corpus.jsonl, queries.jsonl, qrels/) or Parquet files (corpus, queries, qrels)"
)


@dataclass(frozen=True, slots=True)
class RelevanceSpec:
    """One source as the user gave it; None: find out."""

    text: str
    path: str
    format: RelevanceFormat | None = None
    split: str | None = None
    """Of a folder: which file of judgements, such as `train`."""
    query: str | None = None
    """Key or column of the query's text."""
    title: Literal["yes", "no"] = "yes"
    """Whether a document's title stands before its text, where it has one."""
    collection: str | None = None
    """Of MS MARCO: the file of passages, below the folder or anywhere; so the next two."""
    queries: str | None = None
    triples: str | None = None


@dataclass(frozen=True, slots=True)
class RelevanceSource:
    """A source whose files are known."""

    spec: RelevanceSpec
    format: RelevanceFormat
    files: dict[str, tuple[FoundFile, ...]]
    """By what they hold: rows; or documents, queries, judgements."""

    @property
    def all_files(self) -> list[FoundFile]:
        return [file for files in self.files.values() for file in files]


def parse_relevance_source(text: str) -> RelevanceSpec:
    """Read a source string. Only `,word=` splits, so a path may hold commas.

    Raises:
        ConfigError: an unknown key, a repeated or empty one, a format that is none.
    """
    path, *rest = re.split(r",(?=\w+=)", text)
    values: dict[str, str] = {}
    for option in rest:
        key, _, value = option.partition("=")
        if key not in KEYS:
            raise ConfigError(f"source {text!r}: unknown key {key!r}; it takes {', '.join(KEYS)}")
        if key in values or not value:
            raise ConfigError(f"source {text!r}: {key} is {'given twice' if key in values else 'empty'}; give it one value")
        values[key] = value
    if not path.strip():
        raise ConfigError(f"source {text!r}: no path; expected PATH[,key=value...]")
    if is_remote(path):
        raise ConfigError(f"source {text!r}: relevance data is read from local paths; copy it here")
    formats = get_args(RelevanceFormat)
    if values.get("format") not in (None, *formats):
        raise ConfigError(f"source {text!r}: format={values['format']}; expected {', '.join(formats)}")
    if values.get("title") not in (None, "yes", "no"):
        raise ConfigError(f"source {text!r}: title={values['title']}; expected yes or no")
    return RelevanceSpec(text, path, **values)  # type: ignore[arg-type]  # both choices are checked above


def find_source(text: str) -> RelevanceSource:
    """A source's files, sorted by what they hold.

    Raises:
        ConfigError: as `parse_relevance_source`.
        DataError: there is no such file, or the files are of no format that is read here.
    """
    spec = parse_relevance_source(text)
    files = list_files(without_file_scheme(spec.path))
    names = {file.relative: file for file in files}
    format = spec.format or _guess(spec, names)
    if format == "beir":
        return RelevanceSource(spec, format, _find_beir(spec, names))
    if format == "msmarco":
        return RelevanceSource(spec, format, _find_msmarco(spec, files))
    if format == "parquet" and _tables(names):
        return RelevanceSource(spec, format, {part: (file,) for part, file in _tables(names).items()})
    suffixes = {"jsonl": (".jsonl", ".json", ".ndjson"), "triples": (".tsv", ".txt"), "parquet": (".parquet",)}[format]
    rows = files if len(files) == 1 else [file for file in files if _plain(file.name).endswith(suffixes)]
    if not rows:
        raise DataError(f"{spec.path}: no {' or '.join(suffixes)} file below it; expected {EXPECTED}")
    return RelevanceSource(spec, format, {"rows": tuple(rows)})


def _plain(name: str) -> str:
    """Lower case, without the suffix of a compression."""
    name = name.lower()
    return next((name.removesuffix(suffix) for suffix in COMPRESSIONS if name.endswith(suffix)), name)


def _guess(spec: RelevanceSpec, names: dict[str, FoundFile]) -> RelevanceFormat:
    plain = {_plain(name) for name in names}
    if spec.collection or spec.triples or any(re.search(r"collection.*\.tsv$", name) for name in plain):
        return "msmarco"
    if "corpus.jsonl" in plain:
        return "beir"
    suffixes = {Path(name).suffix for name in plain}
    if ".parquet" in suffixes:
        return "parquet"
    if suffixes & {".jsonl", ".ndjson"}:
        return "jsonl"
    if suffixes & {".tsv", ".txt"}:
        return "triples"
    if suffixes == {".json"}:
        return "jsonl"
    found = ", ".join(sorted(names)[:5]) or "nothing"
    raise DataError(f"{spec.path}: holds {found}; expected {EXPECTED}; or say format=")


def _tables(names: dict[str, FoundFile]) -> dict[str, FoundFile]:
    """corpus, queries and qrels of a Parquet folder; none where it has not all three."""
    found = {part: names.get(f"{file}.parquet") for part, file in (("documents", "corpus"), ("queries", "queries"), ("judged", "qrels"))}
    return {part: file for part, file in found.items() if file is not None} if all(found.values()) else {}


def _find_beir(spec: RelevanceSpec, names: dict[str, FoundFile]) -> dict[str, tuple[FoundFile, ...]]:
    plain = {_plain(name): file for name, file in names.items()}
    for needed in ("corpus.jsonl", "queries.jsonl"):
        if needed not in plain:
            raise DataError(f"{spec.path}: no {needed}; expected a BEIR folder (corpus.jsonl, queries.jsonl, qrels/*.tsv)")
    judged = {name.removeprefix("qrels/").removesuffix(".tsv"): file for name, file in plain.items() if name.startswith("qrels/")}
    if not judged:
        raise DataError(f"{spec.path}: no qrels/*.tsv; expected a BEIR folder (corpus.jsonl, queries.jsonl, qrels/*.tsv)")
    return {"documents": (plain["corpus.jsonl"],), "queries": (plain["queries.jsonl"],), "judged": (_choose(spec, judged),)}


def _choose(spec: RelevanceSpec, judged: dict[str, FoundFile]) -> FoundFile:
    if spec.split is None and len(judged) == 1:
        return next(iter(judged.values()))
    if (chosen := judged.get(spec.split or "train")) is not None:
        return chosen
    raise DataError(f"{spec.path}: has judgements {', '.join(sorted(judged))}, not {spec.split or 'train'}; say which with split=")


def _find_msmarco(spec: RelevanceSpec, files: Sequence[FoundFile]) -> dict[str, tuple[FoundFile, ...]]:
    patterns = {
        "collection": r"collection[^/]*\.tsv$",
        "queries": r"(?<!triples)queries[^/]*\.tsv$",
        "triples": r"(triples|qrels)[^/]*\.tsv$",
    }
    found = {}
    for part, pattern in patterns.items():
        said = getattr(spec, part)
        if said is not None:
            inside = Path(without_file_scheme(spec.path)) / said
            [found[part]] = list_files(str(inside if inside.exists() else Path(said).expanduser()))
            continue
        fitting = [file for file in files if re.search(pattern, _plain(file.relative))]
        if part != "collection":
            fitting = [file for file in fitting if (spec.split or "train") in file.name] or (fitting if spec.split is None else [])
        if part == "triples" and len(fitting) > 1:  # triples hold negatives, judgements do not
            fitting = [file for file in fitting if "triples" in file.name] or fitting
        if len(fitting) != 1:
            names = ", ".join(file.relative for file in fitting[:5]) or "none"
            raise DataError(f"{spec.path}: {len(fitting)} files may be its {part} ({names}); say which with {part}=FILE")
        found[part] = fitting[0]
    return {"documents": (found["collection"],), "queries": (found["queries"],), "judged": (found["triples"],)}
