"""bf16 runs, and tells nearly what float32 tells; nothing but the student's passes is in it."""

import pytest
import torch
from training.tiny import gradients, make_batch, make_objective, make_student

from optical_ray.errors import ResourceError
from optical_ray.runs import names
from optical_ray.training.config import TrainingConfig
from optical_ray.training.precision import prepare_forward


def price(precision):
    student = make_student()
    tokens = []

    def encode(ids, attention):
        tokens.append(forward(ids, attention))
        return tokens[0]

    forward = prepare_forward(student, TrainingConfig(precision=precision), "cpu")
    losses = make_objective()(encode, make_batch())
    losses.total.backward()
    return tokens[0].detach(), losses.scalars, gradients(student)


def test_bf16_is_near_float32_and_ends_at_the_tokens():
    (exact, expected, wanted), (tokens, scalars, found) = price("fp32"), price("bf16")
    assert tokens.dtype == torch.float32
    assert not torch.equal(tokens, exact)
    torch.testing.assert_close(tokens, exact, atol=0.05, rtol=0.05)
    assert scalars[names.LOSS] == pytest.approx(expected[names.LOSS], rel=0.02)
    used = [name for name, value in wanted.items() if value is not None]
    assert all(found[name].dtype == torch.float32 for name in used)
    one, other = (torch.cat([side[name].flatten() for name in used]) for side in (wanted, found))
    assert torch.cosine_similarity(one, other, dim=0) > 0.99


def test_auto_is_float32_on_a_cpu():
    assert torch.equal(price("auto")[0], price("fp32")[0])


def test_bf16_on_a_gpu_without_it_is_refused_and_auto_goes_on_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(ResourceError, match="training.precision=bf16: Tesla V100 has no bfloat16; use auto or fp32"):
        prepare_forward(make_student(), TrainingConfig(precision="bf16"), "cuda:0")
    assert not prepare_forward(make_student(), TrainingConfig(), "cuda:0").bf16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert prepare_forward(make_student(), TrainingConfig(), "cuda:0").bf16
