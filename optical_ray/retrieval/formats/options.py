"""What of a data set is read, and how."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from optical_ray.config import Config

Task = Literal[
    "bitext", "tatoeba", "lareqa", "mewsli-x", "trec", "beir", "parquet", "mmarco", "wikiclir", "clirmatrix", "ir_datasets"
]  # fmt: skip
"""What can be read."""
TASKS: tuple[Task, ...] = get_args(Task)
Direction = Literal["xx-en", "en-xx", "xx-yy"]
OnBad = Literal["refuse", "skip"]


class FormatOptions(Config):
    """Which part of a data set is asked, among which candidates; a field that a task has no use for is ignored by it."""

    languages: tuple[str, ...] = ()
    """Languages of the questions, by any usual code; of LAReQA's JSON files also those of the candidates. Empty: `language_set`."""
    language_set: Literal["found", "xtreme-r"] = "found"
    """`found`: every language that has a file; `xtreme-r`: exactly the benchmark's (Tatoeba 41, LAReQA 11, Mewsli-X 11), all of which must
    be there."""
    directions: tuple[Direction, ...] = ("xx-en", "en-xx")
    """Of bitext and Tatoeba: who asks for whom. `xx-yy` (bitext that is parallel in more than two languages): each ordered pair."""
    pairs: tuple[str, ...] = ()
    """`sw:hi`: questions in Swahili, documents in Hindi. Instead of `languages` and `directions`; of bitext, mMARCO and CLIRMatrix."""
    duplicates: Literal["one", "all"] = "one"
    """Of bitext and Tatoeba. `one`: a question's own line alone is relevant, and a line that repeats its text counts as wrong, as in
    XTREME; `all`: every line of the same text is, and the counterpart of every question of the same text."""
    split: Literal["valid", "test"] = "test"
    """`valid` is a benchmark's dev set; refused where it has none. Of TREC files and Parquet bitext, which have no splits: what you say."""
    query_language: str | None = None
    """Where no file says it (TREC, BEIR, tables without `lang`); None: English."""
    document_language: str | None = None
    """As `query_language`; of mMARCO and CLIRMatrix, the collection that is searched, of WikiCLIR as well."""
    topic_fields: tuple[Literal["title", "description", "narrative"], ...] = Field(default=("title",), min_length=1)
    """Of TREC topics: what is asked, joined by a space."""
    encoding: str = "utf-8"
    """Of TREC topics and documents; older collections are latin-1."""
    passage_words: NonNegativeInt = 0
    """Documents are cut into passages of so many words (MaxP); 0: each is one passage."""
    passage_overlap: NonNegativeInt = 0
    """Words that neighbouring passages share."""
    max_queries: PositiveInt | None = None
    """Of each language, the first in stored order; None: all. The result is not the benchmark's."""
    max_documents: PositiveInt | None = None
    """The first in stored order, and all that are relevant to a question or named by `candidates`; None: all. The result is not the
    benchmark's."""
    candidates: str | None = None
    """Re-rank instead of ranking everything: a TREC run file, or `judged` (what the judgements of a question name, as CLIRMatrix means its
    own)."""
    on_bad: OnBad = "refuse"
    """What to do about bad input: end with one line, or leave it out and count it."""

    @field_validator("pairs")
    @classmethod
    def _two_codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pair in value:
            if len([code for code in pair.split(":") if code.strip()]) != 2 or pair.count(":") != 1:
                raise ValueError(f"{pair!r} is no pair; expected QUERIES:DOCUMENTS, for example sw:en")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError(f"{value!r} is no encoding; expected for example utf-8 or latin-1") from None
        return value

    @model_validator(mode="after")
    def _overlap_fits(self) -> FormatOptions:
        if self.passage_words and self.passage_overlap >= self.passage_words:
            raise ValueError(
                f"passages of {self.passage_words} words cannot share {self.passage_overlap}; choose a smaller passage_overlap"
            )
        return self
