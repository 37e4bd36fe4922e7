"""Run folders of any size, complete in every file, with outcomes drawn at random: half a grid, half a search."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from optical_ray.artifacts import write_json
from optical_ray.recipe import Recipe
from optical_ray.retrieval.intervals import Floats
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import QUERIES, SweepRecord, TrialStatus
from optical_ray.sweep import GridPart, LogUniform, SearchPart, Sweep

POOL = ("am", "bn", "ha", "hi", "km", "my", "sw", "yo")
SYSTEMS = (("lexical", "tfidf"), ("student", "maxsim"), ("student", "pooled"), ("mean-removed", "maxsim"))
CANDIDATES = 300
REPORTS = 20
STEPS = 1_000
ARMS = ({"objective.contrastive": 0.0}, {"objective.contrastive": 1.0}, {"objective.transport": 0.0, "objective.contrastive": 1.0})
SIZES = (1, 2, 4, 8)
LEARNING_RATES = (1e-3, 2e-3)


def generate(path: Path, trials: int, queries: int) -> int:
    """Write a finished run.

    Args:
        path: Of the run folder, not there yet.
        trials: How many, at least 4.
        queries: Of each of the languages of POOL, under each of SYSTEMS.

    Returns:
        The number of per-query rows of all trials.
    """
    seeds = math.ceil(trials // 2 / (len(ARMS) * len(SIZES) * len(LEARNING_RATES)))
    base = Recipe().override({"languages.pool": list(POOL), "training.max_steps": STEPS, "evaluation.scorer": "maxsim"})
    grid = [
        base.override({**arm, "languages.size": k, "training.learning_rate": rate, "seed": seed})
        for arm, k, rate, seed in itertools.product(ARMS, SIZES, LEARNING_RATES, range(seeds))
    ][: trials // 2]
    generator = np.random.default_rng(0)
    searched = [
        base.override(
            {
                "objective.contrastive": 1.0,
                "transport.epsilon": float(np.exp(generator.uniform(math.log(0.02), 0.0))),
                "objective.temperature": float(np.exp(generator.uniform(math.log(0.02), math.log(0.4)))),
            }
        )
        for _ in range(trials - len(grid))
    ]
    run = RunFolder(path)
    run.write_sweep(_record(base, grid, len(searched)))
    asked = _questions(queries)
    for number, recipe in enumerate([*grid, *searched]):
        _write_trial(run, recipe, asked, number)
    return trials * asked["rows"].num_rows


def _record(base: Recipe, grid: list[Recipe], searched: int) -> SweepRecord:
    space = {"transport.epsilon": LogUniform(0.02, 1.0), "objective.temperature": LogUniform(0.02, 0.4)}
    search = SearchPart("search", space, searched, changes={"objective.contrastive": 1.0})
    described = Sweep("generated", "How long does a report take?", "Seconds.", base, (search,)).describe()
    part = GridPart("grid", axes={}, changes={})
    cells = {"kind": "grid", "name": part.name, "axes": {}, "changes": {}, "num_trials": len(grid), "trial_ids": [r.trial_id for r in grid]}
    return SweepRecord(
        name="generated",
        fingerprint="0" * 40,
        question="How long does a report take?",
        expectation="Seconds.",
        base=base.to_dict(),
        parts=[cells, *described],
        metric=names.VALID_SUCCESS_AT_1,
        created_at="2026-01-01T00:00:00+00:00",
        provenance={},
    )


def _questions(queries: int) -> dict[str, Any]:
    """What every trial is asked: the columns that do not depend on it, and how hard each English sentence is."""
    generator = np.random.default_rng(1)
    sentences = 2 * queries
    columns: dict[str, list[Any]] = {name: [] for name in ("system", "scorer", "query_language", "query_id", "relevant_id")}
    places = []
    for language in POOL:
        wanted = np.sort(generator.permutation(sentences)[:queries])
        for system, scorer in SYSTEMS:
            columns["system"] += [system] * queries
            columns["scorer"] += [scorer] * queries
            columns["query_language"] += [language] * queries
            columns["query_id"] += [f"{language}-{number:05d}" for number in range(queries)]
            columns["relevant_id"] += [f"en-{number:05d}" for number in wanted]
            places.append(wanted)
    size = len(columns["system"])
    constant = {"task": "bitext", "split": "test", "document_language": "en", "num_relevant": 1, "num_candidates": CANDIDATES}
    constant |= {"top_candidate_id": "en-00000", "asked": 1, "among": 1}
    arrays = {name: pa.array(values) for name, values in columns.items()} | {
        name: pa.repeat(value, size) for name, value in constant.items()
    }
    arrays["collection"] = pa.array([f"{name}-en" for name in columns["query_language"]])
    return {
        "rows": pa.table(arrays),
        "languages": np.array(columns["query_language"]),
        "lexical": np.array(columns["system"]) == "lexical",
        "difficulty": generator.random(sentences)[np.concatenate(places)],
    }


def _write_trial(run: RunFolder, recipe: Recipe, asked: dict[str, Any], number: int) -> None:
    trial = run.trial(recipe.trial_id)
    generator = np.random.default_rng(number)
    write_json(trial.recipe, recipe.to_dict())
    trained = POOL[: recipe.languages.size or len(POOL)]
    write_json(trial.plan, {"languages": list(trained), "rows": dict.fromkeys(trained, 1200), "steps": STEPS, "pairs_per_step": 64})
    quality = 0.5 + 0.05 * generator.normal() - 0.1 * math.log10(recipe.transport.epsilon) ** 2
    lines: list[str] = []
    for step in range(0, STEPS + 1, STEPS // REPORTS):
        fall = math.exp(-step / 300)
        report = {names.LOSS: 0.5 + fall, names.LOSS_TRANSPORT: 0.4 + fall, names.TRANSPORT_ENTROPY: 0.6 + 0.1 * fall}
        report |= {names.WITHIN_SENTENCE_COSINE: 0.4, names.VALID_SUCCESS_AT_1: max(0.0, quality * (1 - fall))}
        lines += [json.dumps({"step": step, "resumed_from": None, "name": name, "value": value}) for name, value in report.items()]
    trial.metrics.write_text("\n".join([*lines, ""]), encoding="utf-8")  # append_metrics forces every report to the disk
    rank = _ranks(asked, trained, quality, generator)
    values = {"rank": rank.astype(np.int32), "AP": 1 / rank, "AP@20": np.where(rank <= 20, 1 / rank, 0)}
    values |= {"nDCG@10": np.where(rank <= 10, 1 / np.log2(rank + 1), 0), "R@100": (rank <= 100).astype(float)}
    rows = asked["rows"]
    for name, column in values.items():
        rows = rows.append_column(name, pa.array(column))
    trial.write_queries(rows.select(QUERIES.names).cast(QUERIES))
    status = TrialStatus(
        trial_id=trial.trial_id,
        state="finished",
        step=STEPS,
        max_steps=STEPS,
        started_at=f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
        updated_at="2026-01-02T00:00:00+00:00",
        attempts=1,
        seconds={"train": 20.0, "evaluate": 2.0},
        pairs_seen=64 * STEPS,
        objective=max(0.0, quality),
    )
    trial.write_status(status)


def _ranks(asked: dict[str, Any], trained: tuple[str, ...], quality: float, generator: np.random.Generator) -> Floats:
    """Of what is asked for: first where the sentence is easier than the student is good."""
    good = np.where(asked["lexical"], 0.2, np.where(np.isin(asked["languages"], trained), quality, 0.1))
    luck = np.where(asked["lexical"], 0.0, 0.2 * generator.normal(size=len(good)))
    return np.where(asked["difficulty"] + luck < good, 1, generator.integers(2, CANDIDATES + 1, len(good)))
