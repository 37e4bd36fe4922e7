"""Bitext retrieval on held-out rows: which foreign sentences ask, among which English candidates, and which one is right."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from optical_ray.data.corpus import Corpus
from optical_ray.data.layout import BLOCK_ROWS
from optical_ray.data.splits import split_key
from optical_ray.errors import LanguageError
from optical_ray.languages.codes import canonical_tag
from optical_ray.retrieval.config import EvaluationConfig
from optical_ray.runs.schemas import TASK_TEXTS
from optical_ray.seeding import derive_seed

log = logging.getLogger(__name__)
Split = Literal["valid", "test"]
TASK = "bitext"
HELD_OUT_ROWS = 16 * 1024
"""Rows of a language's split that queries are chosen from, and English strings for the candidates: the first in stored order."""


@dataclass(frozen=True, slots=True)
class BitextTask:
    """Queries of one language, and the English candidates each of them is looked for in."""

    language: str
    split: Split
    query_ids: tuple[str, ...]
    query_texts: tuple[str, ...]
    candidates: NDArray[np.int32]
    """english_id of every candidate."""
    candidate_texts: tuple[str, ...]
    gold: NDArray[np.int64]
    """Place of each query's translation among the candidates; every query has exactly one."""


def build_tasks(corpus: Corpus, languages: Sequence[str], config: EvaluationConfig, split: Split) -> list[BitextTask]:
    """One task per language. English sentences are taken in one seeded order, so languages ask for the same ones where they can.

    Candidates that differ only in case or punctuation stand once. A language with fewer rows than asked for uses all it has.

    Raises:
        LanguageError: a language is not in the corpus, or has no row in the split.
        DataError: the corpus holds text alone.
    """
    corpus.require_bitext()
    pool: dict[str, int] = {}
    texts: dict[int, str] = {}
    held_out = _english_of_split(corpus, split)
    order = {row["key"]: derive_seed(config.seed, "queries", row["key"]) for row in held_out}
    for row in sorted(held_out, key=lambda row: (order[row["key"]], row["english_id"])):
        pool.setdefault(row["key"], row["english_id"])
        texts[row["english_id"]] = row["english"]
    wanted = config.valid_queries if split == "valid" else config.test_queries
    tasks = []
    for code in languages:
        tag = canonical_tag(code)
        if tag not in corpus.languages:
            raise LanguageError(f"evaluation.languages: {tag} not in the corpus, which has {', '.join(corpus.languages)}")
        rows = corpus.head(tag, split, HELD_OUT_ROWS).to_pydict()
        keys = [split_key(english) for english in rows["english"]]
        by_key: dict[str, int] = {}
        for index in sorted(range(len(keys)), key=lambda i: (derive_seed(config.seed, "queries", keys[i]), rows["id"][i])):
            by_key.setdefault(keys[index], index)
        if not by_key:
            raise LanguageError(f"evaluation.languages: {tag} has no row in the {split} split; leave it out")
        chosen = list(by_key.values())[:wanted]
        if len(chosen) < wanted:
            log.info("task=bitext split=%s language=%s queries=%d asked_for=%d", split, tag, len(chosen), wanted)
        own = {keys[index]: rows["english_id"][index] for index in chosen}
        texts |= {rows["english_id"][index]: rows["english"][index] for index in chosen}
        others = [english_id for key, english_id in pool.items() if key not in own]
        candidates = sorted([*own.values(), *others[: max(0, config.candidates - len(own))]])
        position = {english_id: i for i, english_id in enumerate(candidates)}
        tasks.append(
            BitextTask(
                language=tag,
                split=split,
                query_ids=tuple(rows["id"][i] for i in chosen),
                query_texts=tuple(rows["text"][i] for i in chosen),
                candidates=np.asarray(candidates, np.int32),
                candidate_texts=tuple(texts[i] for i in candidates),
                gold=np.asarray([position[rows["english_id"][i]] for i in chosen], np.int64),
            )
        )
    return tasks


def _english_of_split(corpus: Corpus, split: Split) -> list[dict[str, Any]]:
    """The first HELD_OUT_ROWS English strings of a split, in stored order: english_id, english, key."""
    found: list[dict[str, Any]] = []
    for index in range(-(-corpus.num_english // BLOCK_ROWS)):
        block = corpus.english_block(index)
        found += block.filter(pc.equal(block["split"], split)).select(["english_id", "english", "key"]).to_pylist()
        if len(found) >= HELD_OUT_ROWS:
            break
    return found[:HELD_OUT_ROWS]


def task_texts(tasks: Sequence[BitextTask]) -> pa.Table:
    """Texts of queries and candidates, for reading; schema TASK_TEXTS."""
    rows = []
    for task in tasks:
        ids = [str(i) for i in task.candidates]
        rows += [
            {"split": task.split, "language": task.language, "role": "query", "id": i, "text": t, "relevant_id": ids[gold]}
            for i, t, gold in zip(task.query_ids, task.query_texts, task.gold, strict=True)
        ]
        rows += [
            {"split": task.split, "language": task.language, "role": "candidate", "id": i, "text": t, "relevant_id": None}
            for i, t in zip(ids, task.candidate_texts, strict=True)
        ]
    return pa.Table.from_pylist(rows, schema=TASK_TEXTS)
