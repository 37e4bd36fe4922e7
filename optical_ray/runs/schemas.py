"""What the files of a run folder hold. A change of meaning raises FORMAT_VERSION."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import Field

from optical_ray.config import Config

FORMAT_VERSION = 1

QUERIES = pa.schema(
    [
        pa.field("system", pa.string(), nullable=False),  # student | mean-removed | mean-removed-train | components-removed | lexical | ...
        pa.field("task", pa.string(), nullable=False),  # bitext | tatoeba | lareqa | ...
        pa.field("collection", pa.string(), nullable=False),  # of the task: `sw-en`, `all`; query ids are unique within it
        pa.field("split", pa.string(), nullable=False),  # valid | test
        pa.field("scorer", pa.string(), nullable=False),  # maxsim | maxsim-symmetric | pooled | tfidf
        pa.field("query_language", pa.string(), nullable=False),
        pa.field("document_language", pa.string(), nullable=False),  # `mul`: the candidates are of several languages
        pa.field("query_id", pa.string(), nullable=False),
        pa.field("relevant_id", pa.string(), nullable=False),  # what is asked for; languages that ask for the same one are not independent
        pa.field("rank", pa.int32()),  # 1-based, of the first relevant candidate; ties count against us; null: not retrieved
        pa.field("num_relevant", pa.int32(), nullable=False),
        pa.field("num_candidates", pa.int32(), nullable=False),
        pa.field("AP", pa.float32(), nullable=False),  # average precision, as deep as was searched
        pa.field("AP@20", pa.float32(), nullable=False),  # divided by min(relevant, 20), as XTREME-R does
        pa.field("nDCG@10", pa.float32(), nullable=False),  # gains are the grades
        pa.field("R@100", pa.float32()),  # share of the relevant candidates up to rank 100; null: written before it was kept
        pa.field("asked", pa.int64()),  # names the query's text and judgements; null: written before it was kept (retrieval/questions.py)
        pa.field("among", pa.int64()),  # likewise, its candidates
        pa.field("top_candidate_id", pa.string(), nullable=False),
    ]
)
"""trials/<id>/queries.parquet: one row per query and system. Averages are derived, never stored."""

TASK_TEXTS = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),  # query | candidate
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("relevant_id", pa.string()),  # of a query: the candidate it looks for
    ]
)
"""tasks/<task>.parquet: texts, written once, for reading best and worst queries."""

TrialState = Literal["pending", "running", "finished", "failed", "stopped", "pruned"]


class TrialStatus(Config):
    """trials/<id>/status.json: rewritten whole at every report."""

    format_version: int = FORMAT_VERSION
    trial_id: str
    state: TrialState
    step: int = 0
    max_steps: int = 0
    started_at: str | None = None
    """UTC, ISO 8601."""
    updated_at: str | None = None
    """UTC, ISO 8601. Of a `running` trial: the last sign of life."""
    attempts: int = 0
    """How often the trial was started; above 1: it was resumed or retried."""
    resumed_from: int | None = None
    """Step of the checkpoint that the last attempt started from; None: from the start."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall time by stage, summed over attempts: prepare, train (of which validate), evaluate; a failed stage counts as train."""
    cpu_seconds: float = 0.0
    """CPU time of the trial's own process; of a training by several workers, the CPUs reserved for them times its wall time."""
    gpu_seconds: float = 0.0
    """GPUs reserved times the wall time of training; 0.5 of a GPU for a minute is 30."""
    pairs_seen: int = 0
    """Pairs of bitext that the student has learnt from, with repetitions."""
    objective: float | None = None
    """`valid/Success@1` at the last report: what searches see."""
    verdicts: list[str] = Field(default_factory=list)
    """`plan_uniform`, `collapsed`: empty when nothing is wrong."""
    error: str | None = None
    """One line, of a failed trial."""


class MetricRow(NamedTuple):
    """One line of trials/<id>/metrics.jsonl."""

    step: int
    resumed_from: int | None
    """Step of the checkpoint that this attempt started from; rows of an older attempt beyond it are superseded."""
    name: str
    value: float | None
    """None where the number was not finite (the loop raises on those that matter)."""


class SweepRecord(Config):
    """sweep.json: what was asked, and with what."""

    format_version: int = FORMAT_VERSION
    name: str
    fingerprint: str
    question: str
    expectation: str
    predictions: list[dict[str, Any]] = Field(default_factory=list)
    """`runs.predictions.Prediction`, as it was at the first start."""
    base: dict[str, Any]
    """The base recipe."""
    parts: list[dict[str, Any]]
    """Grid and search parts as `Sweep.describe` gives them: name, kind, space, number of trials, planned trial ids."""
    metric: str
    created_at: str
    provenance: dict[str, Any]
    """Versions, git commit and dirty flag, machine, command."""
