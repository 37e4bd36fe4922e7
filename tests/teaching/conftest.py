"""Relevance data of the tiny world: relevant documents share no letter sequence with their queries, or all of them."""

import json

import pytest
from sentences import OBJECTS, SUBJECTS, VERBS, translate

from optical_ray.teaching.recipe import TeacherRecipe


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def foreign(tmp_path_factory):
    """Documents in made-up words: counting characters finds nothing, a few steps of training do."""
    queries = [f"{subject} {verb} {thing}" for subject in SUBJECTS[:4] for verb in VERBS[:4] for thing in OBJECTS]
    rows = [{"query": query, "positive": translate(query, "sw"), "negative": translate(query, "ha")} for query in queries]
    return write(tmp_path_factory.mktemp("foreign") / "train.jsonl", rows)


@pytest.fixture(scope="session")
def copied(tmp_path_factory):
    """Documents that repeat their query: counting characters finds all."""
    queries = [f"{subject} {verb} {thing}" for subject in SUBJECTS for verb in VERBS[:4] for thing in OBJECTS[:4]]
    return write(tmp_path_factory.mktemp("copied") / "train.jsonl", [{"query": query, "positive": f"so {query}"} for query in queries])


@pytest.fixture(scope="session")
def base(world):
    """Trains in a second."""
    return TeacherRecipe().override(
        {
            "model.init": str(world.teacher),
            "model.projection": 16,
            "model.document_prefix": "the ",
            "model.query_tokens": 16,
            "model.document_tokens": 32,
            "data.valid_share": 0.25,
            "batch.queries": 8,
            "batch.group": 4,
            "batch.chunk": 6,
            "evaluation.valid_queries": 40,
            "evaluation.candidates": 60,
            "training.max_steps": 6,
            "training.report_every": 1,
            "training.validate_every": 3,
            "training.checkpoint_every": 2,
        }
    )
