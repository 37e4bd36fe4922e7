"""Masked-LM as an objective: against a naive reference, and the same however a global batch is cut."""

import math
from dataclasses import replace

import pytest
import torch
from training import masked
from training.masked import ALONE, GROUP, PIECES, gradient_of, make_batch, make_model

from optical_ray.data.masking import IGNORED
from optical_ray.runs import names
from optical_ray.training.config import TrainingConfig
from optical_ray.training.masked_lm import MaskedLM, masked_cross_entropy
from optical_ray.training.masked_lm_validation import HeldOut, losses_by_language, validation_metrics
from optical_ray.training.precision import prepare_forward


def naive(model, batch):
    """Scores everywhere, a softmax by hand, one token after the other."""
    states = model(batch.ids_BN, batch.attention_BN)
    scores = model.guess(states.flatten(0, 1)).view(*batch.ids_BN.shape, PIECES)
    found = []
    for row, place in (batch.labels_BN != IGNORED).nonzero().tolist():
        probability = torch.exp(scores[row, place]) / torch.exp(scores[row, place]).sum()
        found.append(-torch.log(probability[batch.labels_BN[row, place]]))
    return torch.stack(found)


def test_the_loss_is_the_mean_over_the_tokens_to_be_guessed_alone():
    model, batch = make_model(), make_batch()
    expected = naive(model, batch)
    torch.testing.assert_close(masked_cross_entropy(model, model(batch.ids_BN, batch.attention_BN), batch.labels_BN), expected)
    objective = MaskedLM(model, GROUP, ALONE)
    counts = objective.counts(batch)
    assert counts == {"masked_lm": float((batch.labels_BN != IGNORED).sum())}
    priced = objective.price(model, batch, counts)
    scalars = objective.scalars([priced], counts)
    assert scalars[names.LOSS] == scalars[names.LOSS_MASKED_LM] == pytest.approx(expected.mean().item())
    torch.testing.assert_close(priced.total, expected.mean())


def test_what_stands_at_padding_changes_nothing():
    batch = make_batch()
    poisoned = replace(batch, ids_BN=torch.where(batch.attention_BN, batch.ids_BN, PIECES - 1))
    (expected, scalars), (found, other) = gradient_of(batch), gradient_of(poisoned)
    assert other[names.LOSS] == pytest.approx(scalars[names.LOSS], rel=1e-12)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-12, rtol=1e-9, msg=name)


def test_a_batch_with_nothing_to_guess_has_no_loss_and_a_gradient_of_zero():
    batch = make_batch()
    found, scalars = gradient_of(replace(batch, labels_BN=torch.full_like(batch.labels_BN, IGNORED)))
    assert scalars[names.LOSS] == 0.0
    assert all(gradient is None or not gradient.any() for gradient in found.values())


@pytest.mark.parametrize("micro_groups", [1, 3])
def test_micro_batches_give_the_gradient_of_the_whole(micro_groups):
    (expected, scalars), (found, other) = gradient_of(make_batch()), gradient_of(make_batch(), micro_groups=micro_groups)
    assert other == pytest.approx(scalars, rel=1e-12)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-13, rtol=1e-10, msg=name)


@pytest.mark.parametrize("pairs", [8, 6], ids=["equal parts", "unequal parts"])
def test_two_workers_give_the_gradient_of_one(two_workers, pairs):
    """The first worker has fewer tokens to guess: a mean of means would show."""
    expected, scalars = gradient_of(make_batch(pairs))
    for found, other in two_workers.run(masked.price, pairs):
        assert other == pytest.approx(scalars, rel=1e-12)
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-13, rtol=1e-10, msg=name)


def test_bf16_keeps_the_cross_entropy_in_float32():
    model, batch = make_model().float(), make_batch()
    forward = prepare_forward(model, TrainingConfig(precision="bf16"), "cpu")
    found = masked_cross_entropy(model, forward(batch.ids_BN, batch.attention_BN), batch.labels_BN, bf16=True)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, naive(model, batch), atol=0.15, rtol=0.05)


def test_validation_is_a_mean_over_tokens_by_language_and_leaves_the_model_as_it_was():
    model = make_model().train()
    batches = tuple(make_batch(seed=seed) for seed in (1, 2))
    guessed = sum(int((batch.labels_BN != IGNORED).sum()) for batch in batches)
    nothing = replace(batches[0], labels_BN=torch.full_like(batches[0].labels_BN, IGNORED))
    held_out = [HeldOut("sw", batches, guessed, 3.0), HeldOut("yo", (nothing,), 0, math.nan)]
    found = losses_by_language(model, held_out, "cpu")
    assert model.training
    assert found["sw"] == pytest.approx(torch.cat([naive(model, batch) for batch in batches]).mean().item())
    assert math.isnan(found["yo"])
    metrics = validation_metrics({"sw": 2.0, "ha": 4.0, "yo": 5.0, "so": math.nan}, ["sw", "ha"])
    assert metrics[names.VALID_MASKED_LM] == 3.0
    assert metrics[names.VALID_MASKED_LM_UNSEEN] == 5.0
    assert metrics[names.valid_masked_lm("ha")] == 4.0
