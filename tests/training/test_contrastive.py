import math

import pytest
import torch
from torch.nn.functional import normalize
from training.pairs import Table, make_batch

from optical_ray.encoders.interaction import TokenClouds, score
from optical_ray.training.contrastive import contrastive_loss, group_scores, score_divergence
from optical_ray.transport.cost import GroundCost


def unit(count, seed):
    return normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


def grouped(student, teacher, group):
    return student.view(-1, group, 5) @ teacher.view(-1, group, 5).transpose(1, 2)


def naive_contrastive(student, teacher, english, valid, group, temperature):
    losses = []
    for i in range(len(student)):
        if not valid[i]:
            losses.append(0.0)
            continue
        first = i - i % group
        members = [j for j in range(first, first + group) if j == i or (valid[j] and english[j] != english[i])]
        forward = torch.tensor([float(student[i] @ teacher[j]) / temperature for j in members])
        backward = torch.tensor([float(student[j] @ teacher[i]) / temperature for j in members])
        place = members.index(i)
        losses.append(-(forward.log_softmax(0)[place] + backward.log_softmax(0)[place]).item() / 2)
    return losses


def test_the_contrastive_loss_is_that_of_a_plain_loop():
    student, teacher = unit(8, 0), unit(8, 1)
    english = torch.tensor([0, 1, 1, 2, 3, 4, 5, 3])
    valid = torch.tensor([True, True, True, True, True, False, True, True])
    found = contrastive_loss(grouped(student, teacher, 4), english, valid, 0.1)
    assert found.tolist() == pytest.approx(naive_contrastive(student, teacher, english, valid, 4, 0.1), abs=1e-5)


def test_groups_do_not_see_each_other():
    student, teacher, english, valid = unit(8, 0), unit(8, 1), torch.arange(8), torch.ones(8, dtype=torch.bool)
    whole = contrastive_loss(grouped(student, teacher, 4), english, valid, 0.1)
    parts = (slice(0, 4), slice(4, 8))
    halves = [contrastive_loss(grouped(student[part], teacher[part], 4), english[part], valid[part], 0.1) for part in parts]
    torch.testing.assert_close(whole, torch.cat(halves))


@pytest.mark.parametrize("scorer", ["maxsim", "pooled"])
def test_group_scores_are_those_of_the_evaluation(scorer):
    batch, cost = make_batch(), GroundCost(None)
    student = cost.normalise(Table()(batch.ids_BN, None)).detach().requires_grad_()
    teacher = cost.normalise(batch.teacher_BMD)
    found = group_scores(student, batch.content_BN, teacher, batch.teacher_mask_BM, 4, scorer)
    for group in range(2):
        part = slice(4 * group, 4 * group + 4)
        queries = TokenClouds(student.detach()[part][batch.content_BN[part]], batch.content_BN[part].sum(1))
        documents = TokenClouds(teacher[part][batch.teacher_mask_BM[part]], batch.teacher_mask_BM[part].sum(1))
        torch.testing.assert_close(found[group].detach(), score(queries, documents, [scorer])[scorer])
    found.sum().backward()
    assert student.grad.isfinite().all()
    assert student.grad[~batch.content_BN].abs().sum() == 0


def naive_divergence(student, teacher, valid, temperature):
    losses = []
    for group in range(len(student)):
        members = [j for j in range(len(student[group])) if valid[group][j]]
        for i in range(len(student[group])):
            if not valid[group][i]:
                losses.append(0.0)
                continue
            p, q = ([math.exp(scores[group][i][j] / temperature) for j in members] for scores in (teacher, student))
            p, q = ([value / sum(values) for value in values] for values in (p, q))
            losses.append(sum(one * math.log(one / other) for one, other in zip(p, q, strict=True)))
    return losses


def test_score_divergence_is_that_of_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.rand(2, 4, 4, generator=generator, dtype=torch.float64), torch.rand(2, 4, 4, generator=generator).double()
    valid = torch.tensor([True, True, False, True, False, False, True, False])
    found = score_divergence(student, teacher, valid, 0.3)
    expected = naive_divergence(student.tolist(), teacher.tolist(), valid.view(2, 4).tolist(), 0.3)
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    assert min(value for value, counts in zip(expected, valid, strict=True) if counts) == expected[6] == 0, "alone in its group"


def test_score_divergence_has_no_gradient_at_the_teachers_ranking_and_a_finite_one_beside_empty_pairs():
    scores = torch.rand(2, 3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    valid = torch.tensor([True, True, True, True, False, True])
    score_divergence(scores, scores.detach(), valid, 0.05).sum().backward()
    torch.testing.assert_close(scores.grad, torch.zeros(2, 3, 3), atol=1e-6, rtol=0)
    scores.grad = None
    score_divergence(scores, scores.detach().flip(2), valid, 0.05).sum().backward()
    assert scores.grad.isfinite().all()
    assert scores.grad[1, 1].abs().sum() == scores.grad[1, :, 1].abs().sum() == 0
