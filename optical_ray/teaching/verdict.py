"""What a teacher reached: against itself before training, and against TF-IDF of characters on exactly the same task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from optical_ray.data.relevance.table import RelevanceData
from optical_ray.encoders.config import Scorer, TextForm
from optical_ray.encoders.student import Student
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.retrieval.encoding import encode_texts
from optical_ray.retrieval.intervals import Interval
from optical_ray.retrieval.references import tfidf_scores
from optical_ray.retrieval.relevance import (
    MEASURES,
    RelevanceEvaluationConfig,
    RelevanceOutcome,
    RelevanceTask,
    asked_for,
    build_relevance_task,
    compare_outcomes,
    judge_scores,
    mean_interval,
    score_clouds,
)
from optical_ray.runs import names

DECIDES = "nDCG@10"
"""The measure of the verdict, and of the best checkpoint."""
LEAST_QUERIES = 30
"""Validation queries that ask for different documents, below which nothing is decided: they are what the percentile bootstrap
resamples; over few its interval is too narrow, over one it has no width at all."""
TEACHER, ZERO_SHOT, LEXICAL = "teacher", "zero-shot", "lexical"


class TeacherEvaluator:
    """One held-out task with its texts as token ids, ready for any model with the same tokenizer and forms."""

    def __init__(self, task: RelevanceTask, tokenizer: Any, query: TextForm, document: TextForm, scorer: Scorer) -> None:
        self.task, self.scorer = task, scorer
        self._queries = tokenize(tokenizer, task.query_texts, query.max_tokens, query.prefix)
        self._documents = tokenize(tokenizer, task.candidate_texts, document.max_tokens, document.prefix)

    def outcome(self, model: Student, device: str = "cpu") -> RelevanceOutcome:
        """What a model finds."""
        queries, documents = (encode_texts(model, table, device) for table in (self._queries, self._documents))
        return judge_scores(score_clouds(queries, documents, self.scorer), self.task.relevant_QC)

    def floor(self) -> RelevanceOutcome:
        """What TF-IDF of character 3- and 4-grams finds."""
        return judge_scores(tfidf_scores(self.task.query_texts, self.task.candidate_texts), self.task.relevant_QC)


def make_evaluator(
    data: RelevanceData, config: RelevanceEvaluationConfig, split: Any, tokenizer: Any, forms: tuple[TextForm, TextForm], scorer: Scorer
) -> TeacherEvaluator:
    """Of the held-out queries of relevance data."""
    return TeacherEvaluator(build_relevance_task(data, config, split), tokenizer, *forms, scorer)


def summarise(task: RelevanceTask, outcomes: Mapping[str, RelevanceOutcome]) -> dict[str, Any]:
    """Plain data of a split: means and differences with their 95 % intervals, by measure; p-values from LEAST_QUERIES on.

    Args:
        task: What was asked.
        outcomes: Of TEACHER, ZERO_SHOT and LEXICAL.
    """
    teacher = outcomes[TEACHER]
    independent = len(np.unique(asked_for(task)))

    def plain(interval: Interval) -> dict[str, float]:
        values = {name: round(value, 6) for name, value in asdict(interval).items()}
        if independent < LEAST_QUERIES:
            del values["p_value"]
        return values

    systems = {
        system: {measure: plain(mean_interval(task, outcome, measure)) for measure in MEASURES} for system, outcome in outcomes.items()
    }
    differences = {
        f"{TEACHER} - {other}": {measure: plain(compare_outcomes(task, teacher, outcomes[other], measure)) for measure in MEASURES}
        for other in (LEXICAL, ZERO_SHOT)
    }
    counts = {"queries": len(task.query_texts), "independent_queries": independent, "candidates": len(task.candidates)}
    return counts | {"systems": systems, "differences": differences}


def judge(valid: Mapping[str, Any]) -> tuple[str, str]:
    """(verdict, reason) from the summary of the validation queries.

    `above_floor` needs an interval of the difference to TF-IDF that lies above 0: a teacher that cannot be told from counting characters
    has little to teach. `undecided` where fewer than LEAST_QUERIES queries ask for different documents.
    """
    found = valid["independent_queries"]
    if found < LEAST_QUERIES:
        return names.UNDECIDED, f"{found} validation queries ask for different documents, a verdict needs {LEAST_QUERIES}"
    over = valid["differences"][f"{TEACHER} - {LEXICAL}"][DECIDES]
    floor = valid["systems"][LEXICAL][DECIDES]["estimate"]
    interval = f"{over['estimate']:+.3f} [{over['low']:.3f}, {over['high']:.3f}]"
    shown = f"{DECIDES} {interval} over TF-IDF's {floor:.3f} on {valid['queries']} validation queries"
    return (names.ABOVE_FLOOR if over["low"] > 0 else names.BELOW_FLOOR), shown
