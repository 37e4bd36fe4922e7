"""Rates, groups, the best validation."""

import math

import pytest
import torch
from training.tiny import make_student, weights

from optical_ray.training.config import TrainingConfig
from optical_ray.training.state import body_rate, rate_factor, start_training

CONFIG = TrainingConfig(
    max_steps=100,
    learning_rate=1e-3,
    embedding_learning_rate=1e-2,
    projection_learning_rate=1e-4,
    weight_decay=0.1,
    warmup_share=0.1,
)


def test_rates_rise_then_fall():
    factors = [rate_factor(CONFIG, step) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == 1.0
    assert factors[9:] == sorted(factors[9:], reverse=True)
    assert factors[-1] < 0.01
    assert factors[40] == pytest.approx((1 + math.cos(math.pi * 30 / 90)) / 2)
    linear = CONFIG.override({"schedule": "linear"})
    assert rate_factor(linear, 55) == pytest.approx(0.5)
    assert rate_factor(CONFIG.override({"schedule": "constant"}), 99) == 1.0
    assert rate_factor(CONFIG.override({"warmup_share": 0.0}), 0) == 1.0


def test_every_weight_is_in_one_group_of_its_own_rate_and_decay():
    student = make_student()
    state = start_training(student, CONFIG)
    found = {}
    for group in state.optimizer.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in found
            found[id(parameter)] = (group["peak"], group["weight_decay"])
    named = {name: found.pop(id(parameter)) for name, parameter in student.named_parameters()}
    assert found == {}
    assert named["encoder.embeddings.word_embeddings.weight"] == (1e-2, 0.0)
    assert named["projection.weight"] == (1e-4, 0.1)
    assert named["projection.bias"] == (1e-4, 0.0)
    assert named["encoder.encoder.layer.0.output.dense.weight"] == (1e-3, 0.1)
    assert named["encoder.encoder.layer.0.output.LayerNorm.weight"] == (1e-3, 0.0)


def test_rates_of_a_step_are_the_peaks_times_its_factor():
    state = start_training(make_student(), CONFIG)
    state.step = 55
    state.set_rates(CONFIG)
    factor = rate_factor(CONFIG, 55)
    assert {round(group["lr"] / group["peak"], 12) for group in state.optimizer.param_groups} == {round(factor, 12)}
    assert body_rate(state.optimizer) == pytest.approx(1e-3 * factor)


@pytest.mark.parametrize("share", [0.3, 1.0 - 1e-7, 1.0, 1.0 + 1e-6, 4.0])
def test_clipping_leaves_the_gradients_that_torch_leaves(share):
    """Around the limit too, where torch's 1e-6 decides."""
    states = [start_training(make_student(), CONFIG) for _ in range(2)]
    for state in states:
        generator = torch.Generator().manual_seed(0)
        for parameter in state.model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    next(iter(states[0].model.parameters())).grad = next(iter(states[1].model.parameters())).grad = None
    limit = float(torch.nn.utils.get_total_norm([each.grad for each in states[0].model.parameters() if each.grad is not None])) / share
    assert states[0].clip_gradients(limit) == float(torch.nn.utils.clip_grad_norm_(states[1].model.parameters(), limit))
    for one, other in zip(states[0].model.parameters(), states[1].model.parameters(), strict=True):
        assert (one.grad is None and other.grad is None) or torch.equal(one.grad, other.grad)


def test_clipping_tells_the_norm_before_and_leaves_small_gradients_alone():
    state = start_training(make_student(), CONFIG)
    parameters = list(state.model.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    count = sum(parameter.numel() for parameter in parameters)
    assert state.clip_gradients(1.0) == pytest.approx(math.sqrt(count))
    assert math.sqrt(sum(float(parameter.grad.square().sum()) for parameter in parameters)) == pytest.approx(1.0, rel=1e-4)
    assert state.clip_gradients(2.0) == pytest.approx(1.0, rel=1e-4)
    before = weights(state.model)
    state.drop_gradients()
    state.optimizer.step()
    assert all(parameter.grad is None for parameter in parameters)
    assert all(torch.equal(before[name], value) for name, value in weights(state.model).items())


def test_the_best_validation_is_the_first_of_equals():
    state = start_training(make_student(), CONFIG)
    outcomes = []
    for step, objective in [(10, 0.2), (20, 0.5), (30, 0.5), (40, 0.1), (50, float("nan"))]:
        state.step = step
        outcomes.append(state.note_validation(objective))
    assert outcomes == [True, True, False, False, False]
    assert state.best == (20, 0.5)
