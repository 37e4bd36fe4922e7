"""One section for each trial that shows its test score: its recipe, its curves' ends, its languages, its best and worst queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from optical_ray.analysis.analyse import Analysis
from optical_ray.analysis.design import section_trials, title_trial
from optical_ray.analysis.load import Trial
from optical_ray.analysis.outcomes import SUCCESS
from optical_ray.analysis.sources import LEXICAL, STUDENT
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.labels import flatten

MOST_QUERIES = 5
"""Best, and worst."""
ENDS = ("loss/", "transport/", "valid/Success@1", "student/")
"""Metrics whose last value is told, by how they begin."""
TEXT_COLUMNS = ["split", "language", "role", "id", "text"]


@dataclass(frozen=True, slots=True)
class QueryLine:
    """A query with its texts."""

    language: str
    text: str
    wanted: str
    found: str
    """What the student ranked first; empty where that is what was wanted."""
    rank: int | None
    """Of what was wanted; None: not retrieved."""
    floor_rank: int | None
    """Of what was wanted, by the lexical floor; None: not retrieved, or there is no floor."""


@dataclass(frozen=True, slots=True)
class TrialSection:
    """A trial of the page."""

    trial_id: str
    title: str
    state: str
    changes: tuple[tuple[str, str], ...]
    """(field, value) where the recipe differs from the base."""
    ends: tuple[tuple[str, str], ...]
    """(metric, last value)."""
    languages: tuple[tuple[str, str, str], ...]
    """(language, its mean Success@1, `in training` or empty), best first."""
    won: tuple[QueryLine, ...]
    """Found first, the later the floor found them the earlier here."""
    lost: tuple[QueryLine, ...]
    """Of languages in training, those that rank worst."""
    command: str
    """That does the trial again."""


def trial_sections(analysis: Analysis) -> list[TrialSection]:
    """Of `design.section_trials`, in the order of the parts."""
    texts = _read_texts(RunFolder(analysis.run.path), analysis.sources.task)
    return [_section(analysis, trial, texts) for trial in section_trials(analysis.parts)]


def _section(analysis: Analysis, trial: Trial, texts: Mapping[tuple[str, str], str]) -> TrialSection:
    base = flatten(analysis.run.record.base)
    changes = [(name, _show(value)) for name, value in sorted(trial.fields.items()) if base.get(name) != value]
    ends = [(name, f"{curve[-1][1]:.4g}") for name, curve in sorted(trial.metrics.items()) if name.startswith(ENDS) and curve]
    found = analysis.sources.student([trial])
    by_quality = sorted(((float(own.at(SUCCESS).mean()), name) for name, own in found.items()), reverse=True)
    trained = trial.languages or frozenset()
    won, lost = _queries(analysis, trial, texts) if found else ((), ())
    return TrialSection(
        trial.trial_id,
        title_trial(trial),
        trial.state,
        tuple(changes),
        tuple(ends),
        tuple((name, f"{value:.3f}", "in training" if name in trained else "") for value, name in by_quality),
        won,
        lost,
        f"optical train --from {analysis.run.path.resolve().name}/{trial.trial_id}",
    )


def _queries(analysis: Analysis, trial: Trial, texts: Mapping[tuple[str, str], str]) -> tuple[tuple[QueryLine, ...], tuple[QueryLine, ...]]:
    """Best and worst, from the trial's own file: it alone keeps what came first."""
    if not texts:
        return (), ()
    task, scorer = analysis.sources.task, analysis.sources.scorer
    try:
        rows = pq.read_table(RunFolder(analysis.run.path).trial(trial.trial_id).queries, partitioning=None)
    except (OSError, pa.ArrowException):
        return (), ()
    rows = rows.filter((pc.field("split") == "test") & (pc.field("task") == task))
    own = rows.filter((pc.field("system") == STUDENT) & (pc.field("scorer") == scorer))
    floor = rows.filter(pc.field("system") == LEXICAL)
    floor_ranks = dict(zip(floor["query_id"].to_pylist(), floor["rank"].to_pylist(), strict=True))
    worst = 2**31
    lines = own.select(["query_language", "query_id", "relevant_id", "rank", "top_candidate_id"]).to_pylist()
    first = [line for line in lines if line["rank"] == 1]
    first.sort(key=lambda line: (-(floor_ranks.get(line["query_id"]) or worst), line["query_id"]))
    missed = [line for line in lines if line["rank"] != 1 and line["query_language"] in (trial.languages or ())]
    missed.sort(key=lambda line: (-(line["rank"] or worst), line["query_id"]))
    return tuple(_line(line, texts, floor_ranks) for line in first[:MOST_QUERIES]), tuple(
        _line(line, texts, floor_ranks) for line in missed[:MOST_QUERIES]
    )


def _line(line: Mapping[str, Any], texts: Mapping[tuple[str, str], str], floor_ranks: Mapping[str, int | None]) -> QueryLine:
    query, wanted, found = line["query_id"], line["relevant_id"], line["top_candidate_id"]
    return QueryLine(
        line["query_language"],
        texts.get(("query", query), query),
        texts.get(("candidate", wanted), wanted),
        "" if found == wanted else texts.get(("candidate", found), found),
        line["rank"],
        floor_ranks.get(query),
    )


def _read_texts(run: RunFolder, task: str) -> dict[tuple[str, str], str]:
    """By role and id, of the test split; empty where the run has not kept them."""
    path = run.tasks / f"{task}.parquet"
    try:
        table = pq.read_table(path, columns=TEXT_COLUMNS, filters=[("split", "==", "test")], partitioning=None)
    except (OSError, pa.ArrowException):
        return {}
    columns: Iterable[list[str]] = (table[name].to_pylist() for name in ("role", "id", "text"))
    return {(role, name): text for role, name, text in zip(*columns, strict=True)}


def _show(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else "-" if value is None else str(value)
