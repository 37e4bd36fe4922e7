from dataclasses import replace

import pytest
import torch
from training.pairs import Table, make_batch

from optical_ray.data.batches import Batch
from optical_ray.errors import NumericsError
from optical_ray.runs import names
from optical_ray.training.centres import LanguageCentres
from optical_ray.training.config import ObjectiveConfig
from optical_ray.training.objectives import LANGUAGE_SUMS, Distillation
from optical_ray.training.parallel import Parallel
from optical_ray.training.terms import count_pairs
from optical_ray.transport.config import SinkhornConfig
from optical_ray.transport.cost import GroundCost

HALVES = slice(0, 4), slice(4, 8)
ALONE = [{"transport": 0.0} | {term: 1.0} for term in names.LOSS_OF_TERM]
MIXED = [{"contrastive": 0.3}, {"transport": 0.0} | dict.fromkeys(names.LOSS_OF_TERM, 0.5) | {"english_by": "transport"}]


@pytest.mark.parametrize("centre", ["teacher-mean", "language-mean"])
@pytest.mark.parametrize("weights", [*ALONE, *MIXED], ids=lambda weights: ObjectiveConfig(**weights).arm)
def test_two_halves_price_a_batch_as_one_whole(weights, centre):
    """Gradients of the halves add up to the gradient of the whole, with unequal counts of real pairs."""
    batch = make_batch()
    batch.content_BN[1] = False  # an empty pair in the first half only
    batch.english_content_BK[2] = False  # and one with an empty English side
    config = ObjectiveConfig(**weights, temperature=0.1)
    centres = None if centre == "teacher-mean" else LanguageCentres(torch.randn(3, 5).double(), torch.tensor([True, False, True]))
    objective = Distillation(config, GroundCost(torch.full((5,), 0.1), 0.5), SinkhornConfig(), 4, Parallel(), centres)
    student = Table()
    counts = objective.counts(batch)
    whole, *halves = [objective.price(student, part, counts) for part in (batch, *(batch.part(half) for half in HALVES))]
    gradient, *gradients = [torch.autograd.grad(part.total, student.weight)[0] for part in (whole, *halves)]
    torch.testing.assert_close(sum(gradients), gradient, atol=1e-6, rtol=1e-5)
    scalars = objective.scalars([whole], counts)
    assert objective.scalars(halves, counts) == pytest.approx(scalars, rel=1e-6)
    assert objective(student, batch).scalars == pytest.approx(scalars, rel=1e-6)
    if centres is None:
        assert all(LANGUAGE_SUMS not in half.kept for half in halves)
    else:
        sums = centres.sums(student(batch.ids_BN, None), batch.content_BN, batch.language_B)
        torch.testing.assert_close(sum(half.kept[LANGUAGE_SUMS] for half in halves), sums)
    if config.transport:
        assert scalars[names.TRANSPORT_EMPTY] == 1


@pytest.mark.parametrize("english_by", ["transport", "pooled"])
def test_every_term_is_a_mean_over_the_pairs_that_it_prices(english_by):
    """Counted before the student reads anything: an empty foreign side, an empty English side of the student, a broken teacher token."""
    batch = make_batch()
    batch.content_BN[1] = False
    batch.english_content_BK[2] = False
    batch.teacher_BMD[3, 0] = float("inf")
    config = ObjectiveConfig(transport=1, greedy=1, english=1, english_by=english_by)
    counts = count_pairs(batch, config, SinkhornConfig(on_nonfinite="skip"))
    assert {name: int(count) for name, count in counts.items()} == {
        "transport": 6,
        "greedy": 7,
        "english": 6 if english_by == "transport" else 7,
    }


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
    weights = {term: 0.5 + place for place, term in enumerate(names.LOSS_OF_TERM)}
    config = ObjectiveConfig(**weights)
    losses = Distillation(config, GroundCost(None), SinkhornConfig(), 8, Parallel())(Table(), make_batch())
    scalars = losses.scalars
    expected = sum(weight * scalars[names.LOSS_OF_TERM[term]] for term, weight in weights.items())
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
    alone = [ObjectiveConfig(**{"transport": 0} | {term: 1}).arm for term in names.LOSS_OF_TERM]
    assert alone == ["OT", "greedy", "argmax", "pooled MSE", "contrastive", "score KL", "English"]
    assert ObjectiveConfig(greedy=1, english=0.5, contrastive=0.1).arm == "OT + greedy + contrastive + English"


def test_every_term_is_a_weight_and_only_terms_are():
    weights = {name for name, field in ObjectiveConfig.model_fields.items() if "Weight of" in (field.description or "")}
    assert weights == set(names.LOSS_OF_TERM)


def count_passes(**weights):
    calls = []
    table = Table()

    def student(ids, attention):
        calls.append(ids)
        return table(ids, attention)

    Distillation(ObjectiveConfig(**weights), GroundCost(None), SinkhornConfig(), 4, Parallel())(student, make_batch())
    return len(calls)


def test_only_the_english_term_costs_a_pass_of_the_encoder():
    for term in names.LOSS_OF_TERM:
        assert count_passes(**{"transport": 0.0} | {term: 1.0}) == (2 if term == "english" else 1)
    assert count_passes(**dict.fromkeys(names.LOSS_OF_TERM, 1.0)) == 2


@pytest.mark.parametrize(("english_by", "priced"), [("transport", "transport"), ("greedy", "greedy"), ("pooled", "pooled_mse")])
def test_the_english_term_is_the_term_it_names_on_the_english_side(english_by, priced):
    batch = make_batch()
    config = ObjectiveConfig(transport=0, english=1, english_by=english_by)
    cost, solver = GroundCost(torch.full((5,), 0.1), 0.5), SinkhornConfig()
    found = Distillation(config, cost, solver, 4, Parallel())(Table(), batch).scalars[names.LOSS_ENGLISH]
    turned = replace(batch, ids_BN=batch.english_ids_BK, attention_BN=batch.english_attention_BK, content_BN=batch.english_content_BK)
    alone = ObjectiveConfig(**{"transport": 0} | {priced: 1})
    assert found == pytest.approx(Distillation(alone, cost, solver, 4, Parallel())(Table(), turned).scalars[names.LOSS_OF_TERM[priced]])
