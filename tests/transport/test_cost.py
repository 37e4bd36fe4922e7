import numpy as np
import pytest
import torch
from transport.problems import LENGTHS

from optical_ray.errors import ConfigError
from optical_ray.transport import GroundCost, measure_centre, measure_unit
from optical_ray.transport.cost import cosine_cost


def test_the_cost_is_one_minus_the_centred_cosine(clouds):
    student, _, teacher, _ = clouds
    centre = torch.full((6,), 0.2)
    expected = 1 - torch.cosine_similarity(student[:, :, None] - centre, teacher[:, None] - centre, dim=3)
    torch.testing.assert_close(GroundCost(centre).between(student, teacher), expected, atol=1e-6, rtol=0)


def test_the_cost_is_formed_in_float32_under_autocast(clouds):
    student, _, teacher, _ = clouds
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = GroundCost(None).between(student.bfloat16(), teacher.bfloat16())
    assert cost.dtype == torch.float32
    torch.testing.assert_close(cost, GroundCost(None).between(student.bfloat16().float(), teacher.bfloat16().float()))


def test_unit_tokens_have_the_gradient_of_normalising():
    tokens = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    centre = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert torch.autograd.gradcheck(lambda x: GroundCost(centre).normalise(x), tokens)
    torch.testing.assert_close(GroundCost(centre).normalise(tokens), torch.nn.functional.normalize(tokens - centre, dim=2))


def test_padding_and_broken_tokens_become_zero_and_get_no_gradient():
    tokens = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    tokens[0, 1], tokens[0, 2] = float("nan"), 0.0
    leaf = tokens.requires_grad_()
    mask = torch.tensor([[True, True, True, False]])
    units, finite = GroundCost(None).unit_tokens(leaf, mask)
    assert finite.tolist() == [[True, False, True, True]]
    assert units[0, 1:].abs().sum() == 0
    units.backward(torch.ones_like(units))
    assert leaf.grad.isfinite().all()
    assert leaf.grad[0, 1:].abs().sum() == 0
    assert leaf.grad[0, 0].abs().sum() > 0


def test_other_objectives_see_a_broken_token_as_nan():
    """Only the transport loss knows how to leave a pair out."""
    tokens = torch.ones(1, 2, 3)
    tokens[0, 1, 0] = float("inf")
    units = GroundCost(None).normalise(tokens)
    assert units.isnan().any(2).tolist() == [[False, True]]
    with pytest.raises(ConfigError, match="a teacher token of the measured pairs is NaN or infinite"):
        measure_unit(tokens, torch.ones(1, 2, dtype=torch.bool), None)


def test_cosine_cost_keeps_the_precision_of_its_tokens():
    units = torch.nn.functional.normalize(torch.randn(1, 3, 4, dtype=torch.float64), dim=2)
    cost = cosine_cost(units, units)
    assert cost.dtype == torch.float64
    assert cost.diagonal(dim1=1, dim2=2).abs().max() < 1e-12


def test_the_unit_is_the_spread_between_different_tokens(clouds):
    _, _, teacher, teacher_mask = clouds
    values = []
    for pair, (_, m) in enumerate(LENGTHS):
        for i in range(m):
            for j in range(m):
                if i != j:
                    values.append(1 - torch.cosine_similarity(teacher[pair, i], teacher[pair, j], dim=0).item())
    assert measure_unit(teacher, teacher_mask, None) == pytest.approx(np.std(values, ddof=1), rel=1e-4)


def test_a_cost_without_spread_has_no_unit():
    with pytest.raises(ConfigError, match=r"cost\.scale=teacher-std"):
        measure_unit(torch.ones(2, 1, 3), torch.ones(2, 1, dtype=torch.bool), None)


def test_the_centre_is_the_mean_token():
    tokens = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert measure_centre(tokens).tolist() == [2.0, 4.0]
