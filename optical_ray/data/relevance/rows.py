"""A row that holds a query and its texts: a JSON object of a line, or a row of a Parquet file. Several habits of naming are read.

| what | keys |
|---|---|
| query | query, question, anchor |
| relevant | positive, positives, pos, positive_passages |
| not relevant | negative, negatives, neg, negative_passages, and negative_1, negative_2, ... |
| candidates, which scores alone tell apart | documents, passages, candidates |
| scores of relevant, then not relevant (or of the candidates) | scores, score, label, labels; or pos_scores and neg_scores |

A relevant text with a `label` of 0 is not relevant. A text is a string, or an object with `text` and perhaps `title` (Tevatron, BEIR).
Names as in training files of Sentence-Transformers and PyLate (anchor, positive, negative_1), FlagEmbedding (query, pos, neg, pos_scores,
neg_scores) and Tevatron (positive_passages).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

QUERY = ("query", "question", "anchor")
POSITIVE = ("positive", "positives", "pos", "positive_passages")
NEGATIVE = ("negative", "negatives", "neg", "negative_passages")
CANDIDATES = ("documents", "passages", "candidates")
LABELS = ("label", "labels")
SCORES = ("scores", "score", *LABELS)
LARGEST_SCORE = 3.4028234663852886e38
"""Of float32, in which scores are kept."""
_NUMBERED = re.compile(r"negative_(\d+)$")


class RowError(Exception):
    """A row that cannot be used: its kind, what was found, what to do."""

    def __init__(self, kind: str, found: str, mend: str = "fix the row") -> None:
        super().__init__(found)
        self.kind, self.found, self.mend = kind, found, mend


def is_column(name: str) -> bool:
    """Whether a word is one of the names of a query or its texts, as in the header of a table."""
    name = name.strip().lower()
    return name in (*QUERY, *POSITIVE, *NEGATIVE) or _NUMBERED.match(name) is not None


@dataclass(frozen=True, slots=True)
class Judged:
    """A query with texts that are relevant to it, and some that are not."""

    query: str
    positives: list[str]
    negatives: list[str]
    scores: list[float] | None = None
    """Of positives, then negatives."""


def parse_row(row: Any, query_key: str | None = None, titled: bool = True) -> Judged:
    """What an object says.

    Args:
        row: Plain data.
        query_key: Where the query is; None: under one of the usual keys.
        titled: A title stands before its text.

    Raises:
        RowError: no query or no relevant text, an empty text, scores of another length than the texts, or values of other types.
    """
    if not isinstance(row, Mapping):
        raise RowError("not an object", f"is a {type(row).__name__}, expected an object with query and positive")
    query = _first(row, (query_key,) if query_key else QUERY)
    if query is None:
        raise RowError("missing key", f"no {query_key or ', '.join(QUERY)}; it has {', '.join(map(str, list(row)[:10]))}")
    if not isinstance(query, str):
        raise RowError("wrong type", f"its query is {type(query).__name__}, expected a string")
    candidates = _texts(row, CANDIDATES, titled)
    positives, negatives = _texts(row, POSITIVE, titled), _texts(row, NEGATIVE, titled)
    numbered = sorted((key for key in row if _NUMBERED.match(key) and row[key]), key=lambda key: int(key.rpartition("_")[2]))
    negatives += [_text(row[key], titled) for key in numbered]
    scores = _scores(row, positives, negatives, candidates)
    if candidates:
        if positives or scores is None:
            raise RowError(
                "no scores",
                "has candidates without scores, or beside positives; expected scores of equal length, or positives and negatives",
            )
        if min(scores) == max(scores):
            raise RowError("no positive", "its scores are all equal, expected a best one: it is taken as relevant")
        best = max(range(len(scores)), key=lambda place: scores[place])
        order = [best, *(place for place in range(len(candidates)) if place != best)]
        return Judged(query, [candidates[best]], [candidates[place] for place in order[1:]], [scores[place] for place in order])
    if not positives:
        raise RowError("no positive", f"no relevant text; expected one under {', '.join(POSITIVE)}, or candidates with scores")
    if scores is not None and _are_labels(row):
        return _sort_by_label(query, positives, negatives, scores)
    return Judged(query, positives, negatives, scores)


def _first(row: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((row[key] for key in keys if row.get(key) is not None), None)


def _texts(row: Mapping[str, Any], keys: tuple[str, ...], titled: bool) -> list[str]:
    found = _first(row, keys)
    if found is None:
        return []
    return [_text(each, titled) for each in (found if isinstance(found, list) else [found])]


def _text(value: Any, titled: bool) -> str:
    if isinstance(value, Mapping):
        value = join_title(value.get("title") if titled else None, value.get("text"))
    if not isinstance(value, str):
        raise RowError("wrong type", f"a text is {type(value).__name__}, expected a string or an object with text")
    return value


def join_title(title: Any, text: Any) -> Any:
    """Title and text as BEIR's models read them: one space between. What is no string comes back as it is."""
    return f"{title} {text}".strip() if isinstance(title, str) and title.strip() and isinstance(text, str) else text


def _scores(row: Mapping[str, Any], positives: list[str], negatives: list[str], candidates: list[str]) -> list[float] | None:
    if row.get("pos_scores") is not None and row.get("neg_scores") is not None:
        found: Any = [*_listed(row["pos_scores"]), *_listed(row["neg_scores"])]
    else:
        found = _first(row, SCORES)
        if found is None:
            return None
        found = _listed(found)
    if not all(isinstance(score, int | float) and not isinstance(score, bool) and abs(score) <= LARGEST_SCORE for score in found):
        raise RowError("wrong type", "a score is no finite number of 32 bits")
    texts = len(candidates) or len(positives) + len(negatives)
    if len(found) != texts:
        raise RowError("scores of other length", f"{len(found)} scores for {texts} texts; expected one score a text, relevant ones first")
    return [float(score) for score in found]


def _are_labels(row: Mapping[str, Any]) -> bool:
    """Whether `_scores` found them under a label."""
    paired = row.get("pos_scores") is not None and row.get("neg_scores") is not None
    return not paired and all(row.get(key) is None for key in SCORES if key not in LABELS)


def _sort_by_label(query: str, positives: list[str], negatives: list[str], labels: list[float]) -> Judged:
    """Relevant texts with a label of 0 are not relevant."""
    zero = {place for place in range(len(positives)) if labels[place] == 0}
    kept = [place for place in range(len(positives)) if place not in zero]
    others = [*sorted(zero), *range(len(positives), len(labels))]
    texts = [*positives, *negatives]
    return Judged(
        query, [texts[place] for place in kept], [texts[place] for place in others], [labels[place] for place in (*kept, *others)]
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
