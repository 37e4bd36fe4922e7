import math

import pytest
import torch
from torch.nn.functional import normalize

from optical_ray.training.matching import argmax_loss, greedy_loss, match_greedily
from optical_ray.training.pooling import pooled_loss

LOSSES = (greedy_loss, argmax_loss, pooled_loss)


def make_pairs(pairs=6, rows=5, columns=7, seed=0):
    """Unit tokens and masks in float64: holes inside a sentence, an empty student and an empty teacher among them."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (normalize(torch.randn(pairs, size, 4, generator=generator, dtype=torch.float64), dim=2) for size in (rows, columns))
    masks = [torch.rand(pairs, size, generator=generator) < 0.7 for size in (rows, columns)]
    masks[0][1] = False
    masks[1][2] = False
    return student.requires_grad_(), masks[0], teacher, masks[1]


def naive_matches(student, student_mask, teacher, teacher_mask):
    """All pairs of tokens from the most similar on, each taken if both are free."""
    rows, columns = ([i for i, real in enumerate(mask) if real] for mask in (student_mask, teacher_mask))
    ranked = sorted((-sum(x * y for x, y in zip(student[i], teacher[j], strict=True)), i, j) for i in rows for j in columns)
    found = {}
    for _, i, j in ranked:
        if i not in found and j not in found.values():
            found[i] = j
    return found


def naive_greedy(student, student_mask, teacher, teacher_mask):
    found = naive_matches(student, student_mask, teacher, teacher_mask)
    errors = [sum((x - y) ** 2 for x, y in zip(student[i], teacher[j], strict=True)) for i, j in found.items()]
    return sum(errors) / len(errors) if errors else 0.0


def naive_argmax(student, student_mask, teacher, teacher_mask):
    real = [token for token, kept in zip(teacher, teacher_mask, strict=True) if kept]
    costs = [
        min(1 - sum(x * y for x, y in zip(token, other, strict=True)) for other in real)
        for token, kept in zip(student, student_mask, strict=True)
        if kept and real
    ]
    return sum(costs) / len(costs) if costs else 0.0


def naive_pooled(student, student_mask, teacher, teacher_mask):
    means = []
    for tokens, mask in ((student, student_mask), (teacher, teacher_mask)):
        total = [sum(values) for values in zip(*[token for token, kept in zip(tokens, mask, strict=True) if kept], strict=True)]
        if not total:
            return 0.0
        length = math.sqrt(sum(value * value for value in total))
        means.append([value / length for value in total])
    return sum((x - y) ** 2 for x, y in zip(*means, strict=True))


@pytest.mark.parametrize("shape", [(5, 7), (7, 4), (1, 6)])
@pytest.mark.parametrize(("loss", "naive"), [(greedy_loss, naive_greedy), (argmax_loss, naive_argmax), (pooled_loss, naive_pooled)])
def test_a_loss_is_that_of_a_plain_loop(loss, naive, shape):
    for seed in range(5):
        pairs = make_pairs(6, *shape, seed)
        expected = [naive(*sides) for sides in zip(*(side.tolist() for side in pairs), strict=True)]
        assert loss(*pairs).tolist() == pytest.approx(expected, abs=1e-12)


def test_greedy_matches_are_those_of_a_plain_loop_and_one_to_one():
    student, student_mask, teacher, teacher_mask = make_pairs(20, 6, 5, seed=3)
    found = match_greedily(student @ teacher.transpose(1, 2), student_mask, teacher_mask)
    for pair in range(20):
        expected = naive_matches(*(side[pair].tolist() for side in (student, student_mask, teacher, teacher_mask)))
        assert {i: j for i, j in enumerate(found[pair].tolist()) if j >= 0} == expected
        assert len(expected) == min(int(student_mask[pair].sum()), int(teacher_mask[pair].sum()))


def test_equal_similarities_are_matched_in_reading_order():
    mask = torch.ones(1, 3, dtype=torch.bool)
    assert match_greedily(torch.zeros(1, 3, 3), mask, mask).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("loss", LOSSES)
def test_padding_is_worth_nothing_and_gets_no_gradient(loss):
    student, student_mask, teacher, teacher_mask = make_pairs()
    whole = loss(student, student_mask, teacher, teacher_mask)
    poisoned = torch.where(student_mask[:, :, None], student.detach(), 9.0).requires_grad_()
    again = loss(poisoned, student_mask, torch.where(teacher_mask[:, :, None], teacher, 9.0), teacher_mask)
    torch.testing.assert_close(again, whole)
    again.sum().backward()
    assert poisoned.grad.isfinite().all()
    assert poisoned.grad[~student_mask].abs().sum() == 0
    assert poisoned.grad[1:3].abs().sum() == 0, "a pair with an empty side"


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_that_of_finite_differences_and_of_the_student_alone(loss):
    student, student_mask, teacher, teacher_mask = make_pairs(4, 3, 4, seed=1)
    assert torch.autograd.gradcheck(lambda tokens: loss(tokens, student_mask, teacher, teacher_mask), student)


@pytest.mark.parametrize("loss", [greedy_loss, argmax_loss])
def test_a_broken_token_is_never_lost_in_silence(loss):
    student, student_mask, teacher, teacher_mask = make_pairs()
    student_mask[0, 0] = teacher_mask[0, 0] = True
    broken = student.detach().clone()
    broken[0, 0] = torch.nan
    assert loss(broken, student_mask, teacher, teacher_mask).isnan().tolist() == [True, *[False] * 5]


def test_one_to_one_matching_costs_more_than_the_nearest_and_at_least_the_best_assignment():
    student, student_mask, teacher, _ = make_pairs(30, 4, 6, seed=5)
    teacher_mask = torch.ones(30, 6, dtype=torch.bool)
    greedy, nearest = greedy_loss(student, student_mask, teacher, teacher_mask), argmax_loss(student, student_mask, teacher, teacher_mask)
    assert (greedy / 2 >= nearest - 1e-12).all(), "unit tokens: half the squared distance is the cosine distance"
    assert (greedy / 2 > nearest + 1e-3).any()
