"""Run folders with planted effects, complete in every file, in the shape of `sweeps/quickstart.py`."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from optical_ray.analysis.analyse import Analysis, analyse
from optical_ray.analysis.load import load_run
from optical_ray.artifacts import fingerprint, write_json
from optical_ray.retrieval.intervals import QueryBootstrap
from optical_ray.runs import names
from optical_ray.runs.folder import RunFolder
from optical_ray.runs.schemas import QUERIES, SweepRecord, TrialStatus

LANGUAGES = ("fr", "sw", "hi", "ar", "es", "ha", "yo", "mr", "bn", "gu", "my", "km", "vi", "ka", "ht", "ny")
FLOORS = {"fr": 0.47, "es": 0.45, "ht": 0.25}
ARMS = {"OT": (1.0, 0.0), "OT + contrastive": (1.0, 1.0), "contrastive": (0.0, 1.0)}
SIZES = (1, 4, 16)

Quality = Callable[[str, int, str, bool, str], float]
"""(arm, k, language, in training, system) -> probability of Success@1."""


def planted(arm: str, k: int, language: str, trained: bool, system: str) -> float:
    """OT is above the floor and below contrastive; OT's share in the sum is 0; more languages cost a little."""
    floor = FLOORS.get(language, 0.10)
    if system == "lexical":
        return floor
    if arm == "none" or not trained:
        return 0.02
    top = {"OT": 0.45, "OT + contrastive": 0.68, "contrastive": 0.68}[arm] - 0.05 * math.log2(k)
    return top + 0.1 * (floor > 0.2) + (0.02 if system == "mean-removed" else 0.0)


def no_effect(arm: str, k: int, language: str, trained: bool, system: str) -> float:
    """Every system is as good as the floor, whatever was done."""
    return 0.3


def recipe(
    arm: str, k: int, *, seed: int = 0, max_steps: int = 300, languages: tuple[str, ...] = LANGUAGES, **changes: Any
) -> dict[str, Any]:
    """A recipe as `Recipe.to_dict()` nests it; `changes` by field with `__` for the dot."""
    transport, contrastive = ARMS.get(arm, (1.0, 0.0))
    values: dict[str, Any] = {
        "languages": {"pool": list(languages), "size": k, "strategy": "given", "seed": 0},
        "mixing": {"temperature": 1.0, "budget": "per_language", "pairs": 1200},
        "transport": {"epsilon": 0.2, "tolerance": 1e-3, "max_iterations": None},
        "objective": {"transport": transport, "contrastive": contrastive, "temperature": 0.05},
        "training": {"max_steps": max_steps, "learning_rate": 1e-3, "report_every": 50},
        "evaluation": {"languages": [], "test_queries": 150, "candidates": 300, "scorer": "pooled", "seed": 0},
        "seed": seed,
    }
    for name, value in changes.items():
        owner, _, leaf = name.partition("__")
        values[owner][leaf] = value
    return values


def write_trial(
    run: RunFolder, values: dict[str, Any], quality: Quality, *, state: str = "finished", queries: int = 150,
    languages: tuple[str, ...] = LANGUAGES, verdicts: list[str] | None = None, objective: float | None = None, error: str | None = None,
    pool: int = 0,
) -> str:  # fmt: skip
    """Every file of one trial; one that is not finished has no test rows and half of its reports. Returns its id."""
    trial = run.trial(fingerprint(values)[:12])
    steps, k = values["training"]["max_steps"], values["languages"]["size"]
    weights = (values["objective"]["transport"], values["objective"]["contrastive"])
    arm = "none" if steps == 0 else next(name for name, pair in ARMS.items() if pair == weights)
    trained = languages[:k]
    write_json(trial.recipe, values)
    write_json(trial.resources, {"workers": 1, "threads": 1, "gpus_per_worker": 0.0, "device": "cpu"})
    done = steps if state == "finished" else steps // 2
    generator = np.random.default_rng(int(trial.trial_id, 16) % 2**32)
    rows = {name: 1200 for name in trained}
    plan = {
        "languages": list(trained),
        "rows": rows,
        "draws": {name: steps * 64 // k for name in trained},
        "steps": steps,
        "pairs_per_step": 64,
    }
    shares = {"shares": {name: 1 / k for name in trained}, "entropy_nats": math.log(k), "effective_languages": float(k), "digest": "0" * 40}
    write_json(trial.plan, plan | shares)
    epsilon = values["transport"]["epsilon"]
    for step in range(0, done + 1, 50):
        fall = math.exp(-step / 120)
        report = {
            names.WITHIN_SENTENCE_COSINE: 0.35 + (0.6 * (1 - fall) if verdicts and names.COLLAPSED in verdicts else 0.1 * (1 - fall)),
        }
        if step and steps:
            report[names.LOSS] = 0.5 + fall
            if weights[0]:
                report[names.LOSS_TRANSPORT] = 0.55 + 0.4 * fall + 0.02 * math.log2(k) + generator.normal(0, 0.004)
                report[names.TRANSPORT_ENTROPY] = min(0.999, 0.45 + 0.3 * fall + 0.4 * epsilon) if not verdicts else 0.995
            if weights[1]:
                report[names.LOSS_CONTRASTIVE] = 0.4 + 3.6 * fall + generator.normal(0, 0.03)
        if step == done:
            report[names.VALID_SUCCESS_AT_1] = objective if objective is not None else 0.3
        trial.append_metrics(step, None, report)
    trial.write_status(
        TrialStatus(
            trial_id=trial.trial_id,
            state=state,
            step=done,
            max_steps=steps,
            started_at=f"2026-01-01T10:{generator.integers(60):02d}:00+00:00",
            updated_at="2026-01-01T11:00:00+00:00",
            attempts=1,
            seconds={"train": 24.0, "evaluate": 3.0},
            pairs_seen=64 * done,
            objective=objective if objective is not None else (0.3 if done or state == "finished" else None),
            verdicts=verdicts or [],
            error=error,
        )
    )
    if state == "finished":
        trial.write_queries(_query_rows(arm, k, frozenset(trained), quality, queries, languages, generator, pool))
    return trial.trial_id


def _query_rows(
    arm: str, k: int, trained: frozenset[str], quality: Quality, queries: int, languages: tuple[str, ...], generator: np.random.Generator,
    pool: int,
) -> pa.Table:  # fmt: skip
    columns: dict[str, list[Any]] = {name: [] for name in QUERIES.names}
    # English sentences, the same in every trial and for every language: outcomes are correlated.
    english = np.random.default_rng([2 * queries, pool] if pool else 2 * queries)
    hard, lexically_hard = english.random(2 * queries), english.random(2 * queries)
    systems = [("lexical", "tfidf"), *[(name, scorer) for name in ("student", "mean-removed") for scorer in ("maxsim", "pooled")]]
    for language in languages:
        own_words = [*language.encode(), *([pool] if pool else [])]  # what is the language's own, the same in every trial
        shared = np.random.default_rng(own_words)
        sentence = np.sort(shared.permutation(2 * queries)[:queries])
        as_in_english = shared.random(queries) < 0.8  # most sentences are as hard as in every other language
        difficulty = np.where(as_in_english, hard[sentence], shared.random(queries))
        lexical_difficulty = np.where(as_in_english, lexically_hard[sentence], shared.random(queries))
        for system, scorer in systems:
            p = quality(arm, k, language, language in trained, system) - (0.1 if scorer == "maxsim" else 0.0)
            own = generator.random(queries)
            draw = lexical_difficulty if system == "lexical" else np.where(generator.random(queries) < 0.5, difficulty, own)
            rank = np.where(draw < p, 1, generator.integers(2, 301, queries))
            columns["system"] += [system] * queries
            columns["scorer"] += [scorer] * queries
            columns["query_language"] += [language] * queries
            columns["query_id"] += [f"{language}-{number:04d}" for number in range(queries)]
            columns["relevant_id"] += [f"en-{number:04d}" for number in sentence]
            columns["rank"] += rank.tolist()
            columns["AP"] += (1.0 / rank).tolist()
            columns["AP@20"] += np.where(rank <= 20, 1.0 / rank, 0.0).tolist()
            columns["nDCG@10"] += np.where(rank <= 10, 1.0 / np.log2(rank + 1.0), 0.0).tolist()
    size = len(columns["rank"])
    columns["collection"] = [f"{language}-en" for language in columns["query_language"]]
    columns["R@100"] = [float(rank <= 100) for rank in columns["rank"]]
    columns |= {"task": ["bitext"] * size, "split": ["test"] * size, "document_language": ["en"] * size}
    columns |= {"num_relevant": [1] * size, "num_candidates": [300] * size, "top_candidate_id": ["c"] * size}
    columns |= {"asked": [zlib.crc32(name.encode()) + 1 for name in columns["query_id"]], "among": [1] * size}
    return pa.table(columns, schema=QUERIES)


def write_sweep(
    path: Path,
    quality: Quality = planted,
    *,
    sizes: tuple[int, ...] = SIZES,
    arms: tuple[str, ...] = tuple(ARMS),
    seeds: tuple[int, ...] = (0,),
    searches: int = 4,
    queries: int = 150,
    languages: tuple[str, ...] = LANGUAGES,
    begun: int | None = None,
    question: str | None = None,
    verdicts: dict[tuple[str, int], list[str]] | None = None,
    failed: tuple[str, int] | None = None,
    name: str = "quickstart",
    pool: int = 0,
) -> Path:
    """A sweep of a grid, the untrained control and a search.

    `begun`: only so many trials, the last of them half-way; `pool`: another number, other sentences.
    """
    run = RunFolder(path)
    base = recipe("OT", max(sizes), languages=languages)
    grid = [(arm, k, recipe(arm, k, seed=seed, languages=languages)) for arm in arms for k in sizes for seed in seeds]
    control = recipe("OT", max(sizes), max_steps=0, languages=languages)
    generator = np.random.default_rng(0)
    search = [
        recipe(
            "OT + contrastive", max(sizes), languages=languages, transport__epsilon=float(np.exp(generator.uniform(-4, 0))),
            mixing__temperature=float(generator.uniform(1, 5)), objective__temperature=float(np.exp(generator.uniform(-4, -1))),
        )
        for _ in range(searches)
    ]  # fmt: skip
    ids = [fingerprint(values)[:12] for _, _, values in grid]
    space = {
        "transport.epsilon": {"kind": "LogUniform", "low": 0.02, "high": 1.0},
        "mixing.temperature": {"kind": "Uniform", "low": 1.0, "high": 5.0},
        "objective.temperature": {"kind": "LogUniform", "low": 0.02, "high": 0.4},
    }
    parts = [
        {"kind": "grid", "name": "arms", "axes": {}, "changes": {}, "num_trials": len(grid), "trial_ids": ids},
        {"kind": "grid", "name": "control", "axes": {}, "changes": {}, "num_trials": 1, "trial_ids": [fingerprint(control)[:12]]},
        {
            "kind": "search", "name": "search", "space": space, "changes": {"objective.contrastive": 1.0}, "sampler": "tpe",
            "startup_trials": 4, "seed": 0, "num_trials": searches, "trial_ids": None,
        },
    ]  # fmt: skip
    for part in parts[2:] if not searches else []:
        parts.remove(part)
    provenance = {
        "versions": {"python": "3.11.9", "ray": "2.60.0", "torch": "2.13.0", "POT": None},
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "machine": {"system": "Linux", "processor": "a processor", "cpus": 2, "memory_GiB": 7.7},
        "command": ["optical", "sweep", "sweeps/quickstart.py"],
    }
    run.write_sweep(
        SweepRecord(
            name=name,
            fingerprint="f" * 40,
            question=question or "Do more bitext languages make a better student?",
            expectation="Success@1 on the smallest set falls as k grows at a fixed number of steps.",
            base=base,
            parts=parts,
            metric=names.VALID_SUCCESS_AT_1,
            created_at="2026-01-01T10:00:00+00:00",
            provenance=provenance,
        )
    )
    trials = (
        [(arm, k, values) for arm, k, values in grid]
        + [("none", max(sizes), control)]
        + [("search", max(sizes), values) for values in search]
    )
    for number, (arm, k, values) in enumerate(trials[:begun]):
        unfinished = begun is not None and number == begun - 1
        bad = failed == (arm, k)
        epsilon = values["transport"]["epsilon"]
        write_trial(
            run, values, quality, queries=queries, languages=languages, verdicts=(verdicts or {}).get((arm, k)), pool=pool,
            state="failed" if bad else "running" if unfinished else "finished",
            objective=round(0.6 - 0.08 * abs(math.log(epsilon / 0.1)), 3) if arm == "search" else None,
            error="NumericsError: transport: NaN or infinite cost in pair 3 of the batch (1 of 64)" if bad else None,
        )  # fmt: skip
    return path


@pytest.fixture(scope="session")
def sweep_writer() -> Callable[..., Path]:
    return write_sweep


@pytest.fixture(scope="session")
def make_recipe() -> Callable[..., dict[str, Any]]:
    return recipe


@pytest.fixture(scope="session")
def trial_writer() -> Callable[..., str]:
    return write_trial


@pytest.fixture(scope="session")
def qualities() -> dict[str, Quality]:
    return {"planted": planted, "none": no_effect}


@pytest.fixture
def quick_analysis() -> Callable[[Path], Analysis]:
    """Analyse with few resamples: enough for a test that does not ask for their tails."""
    return lambda path: analyse(load_run(path), QueryBootstrap(resamples=1000))


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of 14 trials with the effects of `planted`; read only."""
    return write_sweep(tmp_path_factory.mktemp("runs") / "quickstart-ffffffffffff")


@pytest.fixture(scope="session")
def planted_analysis(planted_run: Path) -> Analysis:
    return analyse(load_run(planted_run), QueryBootstrap(resamples=2000))
