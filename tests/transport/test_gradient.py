"""Each value against its own gradient: autograd's gradcheck in float64, and finite differences of a solve from scratch."""

import pytest
import torch
from transport.problems import make_problem

from optical_ray.transport import SinkhornConfig, regularised_cost, solve_sinkhorn, transport_cost
from optical_ray.transport.gradient import implicit_gradient

VALUES = {"envelope": regularised_cost, "implicit": transport_cost}
TIGHT = {"tolerance": 1e-12, "max_iterations": 100_000}
SMALL = ((3, 4), (4, 2), (1, 3), (2, 1))
KINDS = pytest.mark.parametrize("kind", ["envelope", "implicit"])


def value_of(kind, problem, **fields):
    """The cost as the only argument: solve, then price."""

    def value(cost):
        return VALUES[kind](cost, solve_sinkhorn(cost, problem.a, problem.b, SinkhornConfig(**(TIGHT | fields))))

    return value


@KINDS
@pytest.mark.parametrize(("backend", "epsilon"), [("torch", 0.3), ("cpu", 0.5), ("cpu", 0.1)])
def test_gradcheck(kind, backend, epsilon):
    problem = make_problem(SMALL)
    value = value_of(kind, problem, backend=backend, epsilon=epsilon)
    assert torch.autograd.gradcheck(value, problem.cost.requires_grad_(), eps=1e-6, atol=1e-5, rtol=1e-4)


@KINDS
@pytest.mark.parametrize("epsilon", [0.3, 0.05, 0.02])
def test_a_random_direction_agrees_with_finite_differences(kind, epsilon):
    problem = make_problem()
    value = value_of(kind, problem, epsilon=epsilon)
    direction = torch.randn(problem.cost.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cost = problem.cost.clone().requires_grad_()
    value(cost).sum().backward()
    step = 1e-5
    numeric = (value(problem.cost + step * direction) - value(problem.cost - step * direction)).sum() / (2 * step)
    assert (cost.grad * direction).sum().item() == pytest.approx(numeric.item(), rel=1e-5)


def test_each_gradient_belongs_to_its_own_value_only():
    """The plan held constant is not the gradient of <T, C>: were the two the same, one of them would be untested."""
    problem = make_problem()
    gradients = []
    for kind in VALUES:
        cost = problem.cost.clone().requires_grad_()
        value_of(kind, problem, epsilon=0.2)(cost).sum().backward()
        gradients.append(cost.grad)
    assert (gradients[0] - gradients[1]).norm() > 0.1 * gradients[0].norm()


def test_the_envelope_gradient_is_the_plan(problem):
    plan = solve_sinkhorn(*problem, SinkhornConfig())
    cost = problem.cost.requires_grad_()
    regularised_cost(cost, plan).backward(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=torch.float64))
    scale = torch.arange(1.0, 6.0, dtype=torch.float64)[:, None, None]
    torch.testing.assert_close(cost.grad, scale * plan.coupling_BNM)


def test_the_implicit_gradient_is_that_of_unrolled_iterations():
    """Autograd through 400 log-domain iterations is the expensive way to the same derivative."""
    problem = make_problem(((5, 4),))
    epsilon = 0.2
    cost = problem.cost[:, :5, :4].clone().requires_grad_()
    log_a, log_b = problem.a[:, :5].log(), problem.b[:, :4].log()
    f, g = torch.zeros_like(log_a), torch.zeros_like(log_b)
    for _ in range(400):
        f = -epsilon * torch.logsumexp(log_b[:, None] + (g[:, None] - cost) / epsilon, 2)
        g = -epsilon * torch.logsumexp(log_a[:, :, None] + (f[:, :, None] - cost) / epsilon, 1)
    plan = (log_a[:, :, None] + log_b[:, None] + (f[:, :, None] + g[:, None] - cost) / epsilon).exp()
    (plan * cost).sum().backward()
    torch.testing.assert_close(implicit_gradient(cost.detach(), plan.detach(), epsilon), cost.grad, atol=1e-9, rtol=1e-7)


def test_gradients_are_zero_where_there_is_no_mass_and_finite_everywhere():
    problem = make_problem(((6, 6), (0, 3), (2, 0), (5, 2)), dtype=torch.float32)
    for kind in VALUES:
        for epsilon in (1.0, 0.05, 0.002):
            cost = problem.cost.clone().requires_grad_()
            plan = solve_sinkhorn(cost, problem.a, problem.b, SinkhornConfig(epsilon=epsilon, tolerance=1e-5))
            VALUES[kind](cost, plan).sum().backward()
            assert cost.grad.isfinite().all()
            assert cost.grad[~problem.real].abs().sum() == 0
            assert cost.grad[[0, 3]].abs().sum((1, 2)).gt(0).all()


def test_a_singular_system_gives_a_finite_gradient():
    """Blocks that exchange no mass at all: each has a constant of its own."""
    plan = torch.block_diag(torch.full((2, 2), 0.125), torch.full((2, 2), 0.125)).double()[None]
    gradient = implicit_gradient(torch.rand(1, 4, 4, dtype=torch.float64), plan, 1e-3)
    assert gradient.isfinite().all()


def test_padding_and_broken_pairs_give_no_nan(problem):
    problem.cost[~problem.real] = float("nan")
    problem.cost[3, 0, 0] = float("inf")
    for kind in VALUES:
        cost = problem.cost.clone().requires_grad_()
        plan = solve_sinkhorn(cost, problem.a, problem.b, SinkhornConfig(on_nonfinite="skip"))
        VALUES[kind](cost, plan).sum().backward()
        assert cost.grad.isfinite().all()
        assert cost.grad[3].abs().sum() == 0


def test_the_exact_plan_stands_still(problem):
    plan = solve_sinkhorn(*problem, SinkhornConfig(epsilon=0))
    for value in VALUES.values():
        cost = problem.cost.clone().requires_grad_()
        value(cost, plan).sum().backward()
        torch.testing.assert_close(cost.grad, plan.coupling_BNM)


@KINDS
def test_a_second_derivative_is_refused_in_plain_words(kind, problem):
    cost = problem.cost.requires_grad_()
    value = value_of(kind, problem, tolerance=1e-4)(cost).sum()
    (first,) = torch.autograd.grad(value, cost, create_graph=True)  # a first derivative with a graph is fine ...
    assert first.isfinite().all()
    with pytest.raises(RuntimeError, match="first derivatives only"):  # ... using that graph is not
        torch.autograd.grad(first.square().sum() + value, cost)


def test_without_grad_nothing_is_kept(problem):
    with torch.no_grad():
        value = regularised_cost(problem.cost.requires_grad_(), solve_sinkhorn(*problem, SinkhornConfig()))
    assert not value.requires_grad
