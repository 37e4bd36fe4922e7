from types import SimpleNamespace

import numpy as np
import pytest
import torch

from optical_ray.distillation import make_evaluator
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.student import build_student
from optical_ray.retrieval.evaluate import teacher_clouds
from optical_ray.retrieval.removal import SAMPLE_ROWS, principal_components, remove_components, remove_mean, sample_languages
from optical_ray.stages import prepare


def make_cloud(seed, offset=0.0, lengths=(3, 4, 20)):
    tokens = torch.randn(sum(lengths), 6, generator=torch.Generator().manual_seed(seed)) + offset
    return TokenClouds(tokens, torch.tensor(lengths))


def test_mean_removal_centres_every_language():
    cloud = make_cloud(0, 4.0)
    torch.testing.assert_close(remove_mean(cloud).vectors_TD.mean(0), torch.zeros(6), atol=1e-6, rtol=0)
    torch.testing.assert_close(remove_mean(cloud, torch.ones(6)).vectors_TD, cloud.vectors_TD - 1)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_components_are_those_of_numpys_decomposition(count):
    tokens = make_cloud(1, 0.5).vectors_TD
    found = principal_components(tokens, count)
    _, _, expected = np.linalg.svd(tokens.double().numpy())
    assert found.shape == (count, 6)
    torch.testing.assert_close((found @ torch.tensor(expected[:count]).T).abs(), torch.eye(count).double(), atol=1e-8, rtol=0)


def test_there_are_no_more_components_than_tokens():
    assert principal_components(make_cloud(1, lengths=(2,)).vectors_TD, 5).shape == (2, 6)
    assert principal_components(torch.zeros(0, 6), 1).shape == (0, 6)


def test_removed_components_leave_nothing_along_them_and_the_rest_as_it_was():
    cloud, components = make_cloud(2, 3.0), principal_components(make_cloud(3, 3.0).vectors_TD, 2)
    removed = remove_components(cloud, components)
    torch.testing.assert_close(removed.vectors_TD.double() @ components.T, torch.zeros(27, 2).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(remove_components(removed, components).vectors_TD, removed.vectors_TD, atol=1e-5, rtol=0)
    assert remove_components(cloud, torch.zeros(0, 6)).vectors_TD.equal(cloud.vectors_TD)
    assert removed.common_share() < 0.2 < cloud.common_share(), "the language's own direction was the largest"


def test_samples_are_training_rows(world):
    stages = prepare(world.recipe, world.store)
    samples = sample_languages(stages.corpus, ["sw", "so"])
    split = np.asarray(stages.corpus.english()["split"])
    assert {str(split[i]) for i in samples.english_ids} == {"train"}
    for texts, tag in zip(samples.texts, ("sw", "so"), strict=True):
        assert list(texts) == stages.corpus.rows(tag, "train")["text"].to_pylist()[:SAMPLE_ROWS]


def perfect_clouds(stages, evaluator):
    """Queries that are the teacher's tokens of their translations."""
    return [teacher_clouds(stages.teacher_tokens(task.candidates[task.gold], None), task.candidates[task.gold]) for task in evaluator.tasks]


def shifted(clouds):
    """Each language moved by a large vector of its own."""
    return [
        TokenClouds(cloud.vectors_TD + 30 * torch.randn(1, 32, generator=torch.Generator().manual_seed(place)), cloud.lengths)
        for place, cloud in enumerate(clouds)
    ]


def successes(table, system):
    ranks = [row["rank"] for row in table.to_pylist() if row["system"] == system and row["scorer"] == "maxsim"]
    assert len(ranks) == 48
    return np.mean(np.asarray(ranks) == 1)


def test_what_sets_a_language_apart_is_found_on_other_texts_of_it_and_removed(world):
    stages = prepare(world.recipe, world.store)
    evaluator = make_evaluator(world.recipe, stages, "test")
    clouds = perfect_clouds(stages, evaluator)
    ids = evaluator._samples.english_ids
    samples = [teacher_clouds(stages.teacher_tokens(ids, None), ids)] * 4  # other sentences, of the same encoder
    aligned = evaluator.outcomes(clouds, samples)
    assert successes(aligned, "student") == successes(aligned, "mean-removed-train") == successes(aligned, "components-removed") == 1
    found = evaluator.outcomes(shifted(clouds), shifted(samples))
    assert successes(found, "student") < 0.5
    assert successes(found, "mean-removed-train") > 0.9
    assert successes(found, "components-removed") > successes(found, "student") + 0.2


def test_centring_by_language_means_is_what_validation_sees(world):
    recipe = world.recipe.override({"evaluation.centre": "language-mean"})
    stages = prepare(recipe, world.store)
    evaluator = make_evaluator(recipe, stages, "valid")
    clouds = perfect_clouds(stages, evaluator)
    ids = evaluator._samples.english_ids
    samples = [teacher_clouds(stages.teacher_tokens(ids, None), ids)] * 4
    assert min(evaluator.success_at_1(shifted(clouds), "maxsim", shifted(samples)).values()) > 0.8
    assert make_evaluator(world.recipe, stages, "valid")._samples is None, "no text is encoded for nothing"


def test_a_language_without_training_rows_takes_its_queries(world):
    stages = prepare(world.recipe, world.store)
    evaluator = make_evaluator(world.recipe, stages, "test")
    clouds = perfect_clouds(stages, evaluator)
    empty = [TokenClouds(torch.empty(0, 32), torch.empty(0, dtype=torch.int64))] * 4
    table = evaluator.outcomes(clouds, empty)
    assert table.equals(evaluator.outcomes(clouds, clouds))
    assert successes(table, "mean-removed-train") == successes(table, "mean-removed")


class Echo(torch.nn.Module):
    """Gives every token the vector that a table holds for it."""

    def __init__(self, table):
        super().__init__()
        self.table, self.projection = table, SimpleNamespace(out_features=table.shape[1])

    def forward(self, ids, attention):
        return self.table[ids]


def test_english_drift_is_that_of_a_plain_loop(world):
    stages = prepare(world.recipe, world.store)
    evaluator, tokenizer = make_evaluator(world.recipe, stages, "valid"), stages.tokenizer()
    table = torch.randn(len(tokenizer), 32, generator=torch.Generator().manual_seed(0))
    centre, sentences, losses = torch.tensor(stages.centre.centre), {}, []
    for task in evaluator.tasks:
        sentences |= {int(task.candidates[i]): task.candidate_texts[i] for i in task.gold}
    for english_id, text in sentences.items():
        ours = table[tokenizer(text)["input_ids"][1:-1]] - centre
        theirs = torch.tensor(stages.teacher_tokens([english_id], None).gather([english_id])[0]).float() - centre
        ours, theirs = ((side / side.norm(dim=1, keepdim=True)).sum(0) for side in (ours, theirs))
        losses.append(1 - torch.cosine_similarity(ours, theirs, dim=0).item())
    assert evaluator.english_drift(Echo(table)) == pytest.approx(np.mean(losses), abs=1e-5)


def test_a_real_student_has_a_drift(world):
    stages = prepare(world.recipe, world.store)
    centre = torch.tensor(stages.centre.centre)
    student = build_student(world.recipe.student, stages.tokenizer(), centre, stages.centre.spread, torch.Generator().manual_seed(0))
    assert 0 < make_evaluator(world.recipe, stages, "valid").english_drift(student.train()) < 2
    assert student.training, "the student comes back as it was"
