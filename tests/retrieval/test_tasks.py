import numpy as np
import pytest

from optical_ray.distillation import make_evaluator
from optical_ray.encoders.interaction import SCORERS, TokenClouds
from optical_ray.errors import LanguageError
from optical_ray.retrieval.config import EvaluationConfig
from optical_ray.retrieval.tasks import build_tasks, task_texts
from optical_ray.stages import prepare


@pytest.fixture(scope="module")
def corpus(world):
    return prepare(world.recipe, world.store).corpus


CONFIG = EvaluationConfig(valid_queries=10, test_queries=12, candidates=20)


def test_a_querys_translation_is_its_gold_candidate(corpus):
    english = corpus.english()["english"].to_pylist()
    for task in build_tasks(corpus, ["sw", "so"], CONFIG, "test"):
        translations = {row["id"]: row["english"] for row in corpus.rows(task.language, "test").to_pylist()}
        assert len(task.query_ids) == 12
        assert len(task.candidates) == len(set(task.candidates.tolist())) == 20
        for query, gold in zip(task.query_ids, task.gold, strict=True):
            assert english[task.candidates[gold]] == translations[query] == task.candidate_texts[gold]


def test_languages_ask_for_the_same_sentences_where_they_can(corpus):
    first, second = build_tasks(corpus, ["sw", "ha"], CONFIG, "test")
    shared = set(first.candidates[first.gold].tolist()) & set(second.candidates[second.gold].tolist())
    assert len(shared) >= 8


def test_the_choice_is_seeded_and_leaves_the_splits_apart(corpus):
    first, again = (build_tasks(corpus, ["sw"], CONFIG, "valid")[0] for _ in range(2))
    other = build_tasks(corpus, ["sw"], CONFIG.override({"seed": 1}), "valid")[0]
    assert first.query_ids == again.query_ids != other.query_ids
    test = build_tasks(corpus, ["sw"], CONFIG, "test")[0]
    assert not set(first.candidate_texts) & set(test.candidate_texts)


def test_a_language_with_fewer_rows_uses_all_it_has(corpus):
    task = build_tasks(corpus, ["sw"], CONFIG.override({"test_queries": 10_000, "candidates": 5}), "test")[0]
    assert len(task.query_ids) == corpus.pairs("test")["sw"] == len(task.candidates)


def test_an_unknown_language_is_one_clear_line(corpus):
    with pytest.raises(LanguageError, match=r"evaluation.languages: de not in the corpus, which has ha, so, sw, yo"):
        build_tasks(corpus, ["de"], CONFIG, "test")


def test_texts_can_be_read_back(corpus):
    tasks = build_tasks(corpus, ["sw"], CONFIG, "test")
    rows = task_texts(tasks).to_pylist()
    assert sum(row["role"] == "query" for row in rows) == 12
    assert sum(row["role"] == "candidate" for row in rows) == 20
    ids = {row["id"] for row in rows if row["role"] == "candidate"}
    assert {row["relevant_id"] for row in rows if row["role"] == "query"} <= ids


def test_a_student_that_is_the_teacher_finds_every_sentence(world):
    """The whole path with a perfect student: queries are the English sentences themselves, encoded by the teacher."""
    recipe = world.recipe
    stages = prepare(recipe, world.store)
    evaluator = make_evaluator(recipe, stages, "test")
    from optical_ray.retrieval.evaluate import teacher_clouds

    clouds = [
        teacher_clouds(stages.teacher_tokens(task.candidates[task.gold], None), task.candidates[task.gold]) for task in evaluator.tasks
    ]
    for scorer in SCORERS:
        assert evaluator.success_at_1(clouds, scorer) == dict.fromkeys(stages.evaluation_languages, 1.0)
    table = evaluator.outcomes(clouds)
    shifted = [TokenClouds(cloud.vectors_TD + 100.0, cloud.lengths) for cloud in clouds]  # an offset that language-mean removal takes out
    removed = [
        row["rank"] for row in evaluator.outcomes(shifted).to_pylist() if row["system"] == "mean-removed" and row["scorer"] == "maxsim"
    ]
    assert np.mean(np.asarray(removed) == 1) > 0.9
    own = [row["rank"] for row in table.to_pylist() if row["system"] == "student"]
    assert set(own) == {1}
    assert len(own) == 4 * 12 * 3
