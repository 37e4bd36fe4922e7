import pytest
import torch

from optical_ray.transport import inverse_document_frequency, norm_mass, uniform_mass, weighted_mass

MASK = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])


def test_uniform_masses_sum_to_one_or_are_all_zero():
    assert uniform_mass(MASK).tolist() == [[0.5, 0.5, 0], [0, 0, 0], [pytest.approx(1 / 3)] * 3]


def test_weights_are_shared_out_among_real_tokens():
    weights = torch.tensor([[3.0, 1.0, float("nan")], [1.0, 1.0, 1.0], [1e38, 1e38, 0.0]])
    expected = torch.tensor([[0.75, 0.25, 0], [0, 0, 0], [0.5, 0.5, 0]])
    torch.testing.assert_close(weighted_mass(weights, MASK), expected)


def test_a_sentence_whose_tokens_weigh_nothing_gets_equal_masses():
    torch.testing.assert_close(weighted_mass(torch.zeros(3, 3), MASK), uniform_mass(MASK))


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="negative, NaN or infinite"):
        weighted_mass(torch.tensor([[bad, 1.0]]), torch.tensor([[True, True]]))


def test_norm_masses_follow_the_lengths_and_carry_no_gradient():
    tokens = torch.tensor([[[3.0, 4.0], [0.0, 1.0], [9.0, 9.0]]]).expand(3, 3, 2).clone().requires_grad_()
    masses = norm_mass(tokens, MASK)
    torch.testing.assert_close(masses[0], torch.tensor([5 / 6, 1 / 6, 0]))
    assert not masses.requires_grad
    spoiled = tokens.detach().clone()
    spoiled[0, 0] = float("nan")
    assert norm_mass(spoiled, MASK)[0].tolist() == [0, 1, 0]  # the broken token is for the loss to name


def test_rare_tokens_weigh_more():
    idf = inverse_document_frequency(torch.tensor([100, 10, 1, 0]), 100)
    assert (idf.diff() > 0).all()
    assert idf[0].item() == pytest.approx(torch.log(torch.tensor(2.0)).item())
    assert idf.isfinite().all()
