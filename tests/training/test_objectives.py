from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from optical_ray.data.batches import Batch
from optical_ray.encoders.interaction import TokenClouds, score
from optical_ray.errors import NumericsError
from optical_ray.runs import names
from optical_ray.training.config import ObjectiveConfig, TrainingConfig
from optical_ray.training.objectives import Distillation, contrastive_loss, group_scores
from optical_ray.training.parallel import Parallel
from optical_ray.training.state import rate_factor
from optical_ray.training.verdicts import verdicts
from optical_ray.transport.cost import GroundCost
from optical_ray.transport.sinkhorn import SinkhornConfig


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


class Table(torch.nn.Module):
    """A student that is a table of token vectors."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(20, 5, generator=torch.Generator().manual_seed(3)))

    def forward(self, ids, attention):
        return self.weight[ids]


def make_batch(seed=0, count=8):
    generator = torch.Generator().manual_seed(seed)
    lengths, teacher_lengths = torch.randint(1, 6, (count,), generator=generator), torch.randint(1, 5, (count,), generator=generator)
    content = torch.arange(7)[None] < lengths[:, None]
    return Batch(
        ids_BN=torch.randint(0, 20, (count, 7), generator=generator),
        attention_BN=content,
        content_BN=content,
        teacher_BMD=torch.randn(count, 6, 5, generator=generator),
        teacher_mask_BM=torch.arange(6)[None] < teacher_lengths[:, None],
        english_B=torch.arange(count),
        language_B=torch.zeros(count, dtype=torch.int64),
    )


def part_of(batch, part):
    return Batch(*(getattr(batch, name)[part] for name in Batch.__slots__))


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (1.0, 0.3)])
def test_two_halves_price_a_batch_as_one_whole(weights):
    """Gradients averaged over two workers equal the gradient of one worker with the whole batch, with unequal counts of real pairs."""
    batch = make_batch()
    batch.content_BN[1] = False  # an empty pair in the first half only
    config = ObjectiveConfig(transport=weights[0], contrastive=weights[1], temperature=0.1)

    def price(part, parallel):
        student = Table()
        losses = Distillation(config, GroundCost(torch.full((5,), 0.1), 0.5), SinkhornConfig(), 4, parallel)(student, part)
        losses.total.backward()
        return losses, student.weight.grad

    whole, gradient = price(batch, Parallel())
    sums, tables = [], []

    class Recorder(Parallel):
        def sum(self, values):
            sums.append(values)
            return values

        def gather(self, rows):
            tables.append(rows)
            return rows

    halves = [part_of(batch, slice(0, 4)), part_of(batch, slice(4, 8))]
    for half in halves:
        price(half, Recorder())

    class Reduced(Parallel):
        def sum(self, values):
            return sums[0] + sums[1]

        def gather(self, rows):
            return torch.cat(tables)

    outcomes = [price(half, Reduced(rank, 2)) for rank, half in enumerate(halves)]
    torch.testing.assert_close((outcomes[0][1] + outcomes[1][1]) / 2, gradient, atol=1e-6, rtol=1e-5)
    for losses, _ in outcomes:
        assert losses.scalars == pytest.approx(whole.scalars, rel=1e-6)
    if weights[0]:
        assert whole.scalars[names.TRANSPORT_EMPTY] == 1


def test_a_skipped_pair_counts_in_no_mean():
    """Its teacher tokens are broken: the others are priced, and averaged, as if it were not there."""
    batch = make_batch()
    spoiled = replace(batch, teacher_BMD=batch.teacher_BMD.clone())
    spoiled.teacher_BMD[3, 0] = float("nan")
    without = replace(batch, teacher_mask_BM=batch.teacher_mask_BM.clone())
    without.teacher_mask_BM[3] = False
    config = ObjectiveConfig(transport=1.0, contrastive=0.0)

    def price(part, solver):
        student = Table()
        losses = Distillation(config, GroundCost(None), solver, 4, Parallel())(student, part)
        losses.total.backward()
        return losses, student.weight.grad

    skipped, gradient = price(spoiled, SinkhornConfig(on_nonfinite="skip"))
    left_out, expected = price(without, SinkhornConfig())
    torch.testing.assert_close(gradient, expected)
    assert skipped.scalars[names.LOSS] == pytest.approx(left_out.scalars[names.LOSS])
    assert (skipped.scalars[names.TRANSPORT_SKIPPED], left_out.scalars[names.TRANSPORT_SKIPPED]) == (1, 0)
    with pytest.raises(NumericsError, match="pair 3 of the batch"):
        price(spoiled, SinkhornConfig())


def test_the_total_is_the_weighted_sum_of_its_terms():
    config = ObjectiveConfig(transport=2.0, contrastive=0.5)
    losses = Distillation(config, GroundCost(None), SinkhornConfig(), 8, Parallel())(Table(), make_batch())
    scalars = losses.scalars
    expected = 2.0 * scalars[names.LOSS_TRANSPORT] + 0.5 * scalars[names.LOSS_CONTRASTIVE]
    assert scalars[names.LOSS] == pytest.approx(expected)
    assert losses.total.item() == pytest.approx(expected, rel=1e-5)


def test_an_exact_copy_of_the_teacher_costs_nothing_cold():
    batch = make_batch()
    teacher = torch.zeros_like(batch.teacher_BMD)
    student = Table()
    lengths = batch.content_BN.sum(1)
    for pair in range(8):
        teacher[pair, : lengths[pair].clamp_max(6)] = student.weight.detach()[batch.ids_BN[pair, : lengths[pair].clamp_max(6)]]
    copied = Batch(
        batch.ids_BN,
        batch.attention_BN,
        batch.content_BN,
        teacher,
        torch.arange(6)[None] < lengths[:, None],
        batch.english_B,
        batch.language_B,
    )
    losses = Distillation(ObjectiveConfig(), GroundCost(None), SinkhornConfig(epsilon=0.01), 8, Parallel())(student, copied)
    assert losses.scalars[names.LOSS_TRANSPORT] < 0.01


def test_arms_are_named_by_their_terms():
    assert ObjectiveConfig().arm == "OT"
    assert ObjectiveConfig(contrastive=0.1).arm == "OT + contrastive"
    assert ObjectiveConfig(transport=0, contrastive=1).arm == "contrastive"
    assert ObjectiveConfig(transport=0).arm == "none"


def test_rates_rise_then_fall():
    config = TrainingConfig(max_steps=100, warmup_share=0.1)
    factors = [rate_factor(config, step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == 1.0
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[-1] < 0.01
    linear = config.override({"schedule": "linear"})
    assert rate_factor(linear, 55) == pytest.approx(0.5)
    assert rate_factor(config.override({"schedule": "constant"}), 99) == 1.0


def test_verdicts_tell_collapse_and_a_uniform_plan():
    healthy = {names.TRANSPORT_ENTROPY: 0.8, names.WITHIN_SENTENCE_COSINE: 0.55, names.COMMON_SHARE: 0.03}
    scratch = {names.WITHIN_SENTENCE_COSINE: 0.44, names.COMMON_SHARE: 0.06}
    assert verdicts(healthy, scratch) == []
    assert verdicts(healthy | {names.TRANSPORT_ENTROPY: 0.995}, scratch) == [names.PLAN_UNIFORM]
    assert verdicts(healthy | {names.WITHIN_SENTENCE_COSINE: 0.9}, scratch) == [names.COLLAPSED]
    assert verdicts(healthy | {names.COMMON_SHARE: 0.38}, scratch) == [names.COLLAPSED]
    anisotropic = {names.WITHIN_SENTENCE_COSINE: 0.87, names.COMMON_SHARE: 0.8}
    assert verdicts(anisotropic | {names.WITHIN_SENTENCE_COSINE: 0.985}, anisotropic) == [names.COLLAPSED]
    assert verdicts(anisotropic | {names.WITHIN_SENTENCE_COSINE: 0.9}, anisotropic) == []
    assert verdicts({names.WITHIN_SENTENCE_COSINE: 0.9}, {names.WITHIN_SENTENCE_COSINE: float("nan")}) == []
