"""The solver against POT and against what must hold for any plan. Padding is in every fixture."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from optical_ray.errors import NumericsError
from optical_ray.transport.cost import GroundCost, measure_unit
from optical_ray.transport.loss import transport_loss
from optical_ray.transport.sinkhorn import SinkhornConfig, solve_sinkhorn, uniform_mass

BACKENDS = pytest.mark.parametrize("backend", ["torch", "cpu"])
LENGTHS = [(5, 7), (8, 3), (1, 6), (4, 1), (8, 7)]


def make_problem(lengths=LENGTHS, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    rows, columns = max(n for n, _ in lengths) + 2, max(m for _, m in lengths) + 1  # padding for everyone
    cost = torch.rand(len(lengths), rows, columns, generator=generator, dtype=dtype)
    a = uniform_mass(torch.tensor([[i < n for i in range(rows)] for n, _ in lengths])).to(dtype)
    b = uniform_mass(torch.tensor([[j < m for j in range(columns)] for _, m in lengths])).to(dtype)
    return cost, a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)


@BACKENDS
@pytest.mark.parametrize("epsilon", [0.5, 0.1, 0.02])
def test_plans_are_pots(epsilon, backend):
    cost, a, b = make_problem()
    plan = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=epsilon, tolerance=1e-9, max_iterations=20000, backend=backend))
    assert plan.converged_B.all()
    for pair, (n, m) in enumerate(LENGTHS):
        oracle = ot.sinkhorn(
            a[pair, :n].numpy(),
            b[pair, :m].numpy(),
            cost[pair, :n, :m].numpy(),
            epsilon,
            method="sinkhorn_log",
            numItermax=50000,
            stopThr=1e-11,
        )
        np.testing.assert_allclose(plan.coupling_BNM[pair, :n, :m].numpy(), oracle, atol=1e-8)
        assert plan.coupling_BNM[pair, n:].abs().sum() == 0
        assert plan.coupling_BNM[pair, :, m:].abs().sum() == 0


def test_epsilon_zero_is_the_exact_plan():
    cost, a, b = make_problem()
    plan = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=0))
    for pair, (n, m) in enumerate(LENGTHS):
        oracle = ot.emd2(a[pair, :n].numpy(), b[pair, :m].numpy(), cost[pair, :n, :m].numpy())
        assert plan.cost_B[pair].item() == pytest.approx(oracle, abs=1e-9)
    cold = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=0.002, tolerance=1e-6, max_iterations=20000))
    assert (cold.cost_B >= plan.cost_B - 1e-6).all()
    torch.testing.assert_close(cold.cost_B, plan.cost_B, atol=0.01, rtol=0)


@BACKENDS
def test_a_large_epsilon_gives_the_independent_plan(backend):
    cost, a, b = make_problem()
    plan = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=1e4, backend=backend))
    torch.testing.assert_close(plan.coupling_BNM, a[:, :, None] * b[:, None, :], atol=1e-5, rtol=0)
    assert plan.mean_entropy() == pytest.approx(1.0, abs=1e-4)
    assert plan.normalised_entropy_B.isnan().tolist() == [False, False, True, True, False]  # a forced plan says nothing


def test_the_unit_scales_epsilon():
    cost, a, b = make_problem()
    one = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=0.5), unit=0.2)
    other = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=0.1))
    torch.testing.assert_close(one.coupling_BNM, other.coupling_BNM)


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5),
    epsilon=st.floats(0.01, 2.0),
    seed=st.integers(0, 100),
    backend=st.sampled_from(["torch", "cpu"]),
)
def test_marginals_hold_and_empty_pairs_are_flagged(lengths, epsilon, seed, backend):
    cost, a, b = make_problem(lengths, seed, torch.float32)
    a, b = a.nan_to_num(0), b.nan_to_num(0)
    plan = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=epsilon, max_iterations=20000, backend=backend))
    empty = torch.tensor([n == 0 or m == 0 for n, m in lengths])
    assert torch.equal(plan.empty_B, empty)
    assert plan.converged_B.all()
    assert (plan.coupling_BNM >= 0).all()
    assert plan.coupling_BNM[empty].abs().sum() == 0
    kept = ~empty
    rows = (plan.coupling_BNM.sum(2) - a)[kept].abs().sum(1)
    columns = (plan.coupling_BNM.sum(1) - b)[kept].abs().sum(1)
    assert (rows + columns <= 1e-3 + 1e-5).all()
    torch.testing.assert_close(plan.violation_B[kept], rows + columns, atol=1e-6, rtol=0)
    entropy = plan.normalised_entropy_B
    assert ((entropy <= 1 + 1e-5) | entropy.isnan()).all()


@BACKENDS
def test_padding_moves_no_mass_whatever_it_costs(backend):
    cost, a, b = make_problem()
    padding = ~((a > 0)[:, :, None] & (b > 0)[:, None, :])
    for poison in (1e6, -1e6, float("nan"), float("inf")):
        poisoned = solve_sinkhorn(cost.masked_fill(padding, poison), a, b, SinkhornConfig(backend=backend))
        torch.testing.assert_close(poisoned.coupling_BNM, solve_sinkhorn(cost, a, b, SinkhornConfig(backend=backend)).coupling_BNM)


@BACKENDS
def test_a_pair_does_not_depend_on_its_neighbours(backend):
    cost, a, b = make_problem()
    together = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=0.05, backend=backend))
    for pair in range(len(cost)):
        alone = solve_sinkhorn(cost[pair : pair + 1], a[pair : pair + 1], b[pair : pair + 1], SinkhornConfig(epsilon=0.05, backend=backend))
        torch.testing.assert_close(alone.coupling_BNM[0], together.coupling_BNM[pair], atol=1e-12, rtol=0)
        assert alone.iterations_B[0] == together.iterations_B[pair]


def test_permuting_tokens_permutes_the_plan():
    cost, a, b = make_problem([(6, 5)])
    order = torch.tensor([3, 0, 5, 1, 4, 2, 6, 7])
    plan = solve_sinkhorn(cost, a, b, SinkhornConfig(tolerance=1e-8, max_iterations=5000))
    permuted = solve_sinkhorn(cost[:, order], a[:, order], b, SinkhornConfig(tolerance=1e-8, max_iterations=5000))
    torch.testing.assert_close(permuted.coupling_BNM, plan.coupling_BNM[:, order])


@BACKENDS
def test_a_capped_solve_is_reported(backend):
    cost, a, b = make_problem()
    plan = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=0.005, tolerance=1e-6, max_iterations=3, backend=backend))
    assert not plan.converged_B.all()
    assert (plan.violation_B[~plan.converged_B] > 1e-6).all()
    assert (plan.iterations_B <= 3).all()


@BACKENDS
def test_a_tiny_epsilon_stays_finite(backend):
    cost, a, b = make_problem(dtype=torch.float32)
    plan = solve_sinkhorn(cost, a.float(), b.float(), SinkhornConfig(epsilon=1e-4, backend=backend))
    assert plan.coupling_BNM.isfinite().all()
    assert plan.cost_B.isfinite().all()


def test_nan_in_a_real_token_names_the_pair():
    cost, a, b = make_problem()
    cost[1, 0, 0] = float("nan")
    with pytest.raises(NumericsError, match=r"pair 1 of the batch \(1 of 5\)"):
        solve_sinkhorn(cost, a, b, SinkhornConfig())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cost, a, b: (cost, a * 0.5, b), r"a of pair 0 sums to 0\.5; expected 1"),
        (lambda cost, a, b: (cost, a, b - 1), "b holds a negative mass"),
        (lambda cost, a, b: (cost, b, a), r"expected \[B, N, M\]"),
        (lambda cost, a, b: (cost[0], a, b), r"expected \[B, N, M\]"),
        (lambda cost, a, b: (cost, a * float("nan"), b), "a of pair 0 sums to nan"),
    ],
)
def test_masses_and_shapes_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        solve_sinkhorn(*change(*make_problem()), SinkhornConfig())


def test_a_negative_epsilon_is_refused():
    with pytest.raises(ValueError, match="epsilon"):
        SinkhornConfig(epsilon=-0.1)


def clouds(dtype=torch.float32, seed=0, lengths=LENGTHS, dimension=6):
    generator = torch.Generator().manual_seed(seed)
    rows, columns = max(n for n, _ in lengths) + 1, max(m for _, m in lengths) + 1
    student = torch.randn(len(lengths), rows, dimension, generator=generator, dtype=dtype)
    teacher = torch.randn(len(lengths), columns, dimension, generator=generator, dtype=dtype)
    student_mask = torch.tensor([[i < n for i in range(rows)] for n, _ in lengths])
    teacher_mask = torch.tensor([[j < m for j in range(columns)] for _, m in lengths])
    return student, student_mask, teacher, teacher_mask


def test_the_gradient_is_that_of_the_regularised_cost():
    """Envelope theorem: finite differences of min_T <T, C> + eps KL(T || ab') in a random direction."""
    student, student_mask, teacher, teacher_mask = clouds(torch.float32)
    cost = GroundCost(torch.full((6,), 0.1))
    solver = SinkhornConfig(epsilon=0.3, tolerance=1e-10, max_iterations=20000)
    leaf = student.clone().requires_grad_()
    loss = transport_loss(leaf, student_mask, teacher, teacher_mask, cost, solver)
    loss.value_B.sum().backward()
    direction = torch.randn(student.shape, generator=torch.Generator().manual_seed(1))

    def regularised(step):
        matrix = cost.between(student + step * direction, teacher).double()
        return solve_sinkhorn(matrix, uniform_mass(student_mask), uniform_mass(teacher_mask), solver).regularised_cost_B.sum().item()

    numeric = (regularised(2e-3) - regularised(-2e-3)) / 4e-3
    assert (leaf.grad * direction).sum().item() == pytest.approx(numeric, rel=1e-3)
    assert leaf.grad[~student_mask].abs().sum() == 0


def test_an_empty_pair_costs_nothing_and_has_no_gradient():
    student, student_mask, teacher, teacher_mask = clouds()
    student_mask[1] = False
    teacher_mask[4] = False
    leaf = student.clone().requires_grad_()
    loss = transport_loss(leaf, student_mask, teacher, teacher_mask, GroundCost(None), SinkhornConfig())
    loss.value_B.sum().backward()
    assert loss.plan.empty_B.tolist() == [False, True, False, False, True]
    assert loss.value_B[[1, 4]].abs().sum() == 0
    assert leaf.grad[[1, 4]].abs().sum() == 0
    assert leaf.grad[[0, 2, 3]].abs().sum((1, 2)).gt(0).all()


def test_half_precision_tokens_are_solved_in_float32():
    student, student_mask, teacher, teacher_mask = clouds()
    student, teacher = student.bfloat16(), teacher.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = transport_loss(student, student_mask, teacher, teacher_mask, GroundCost(None), SinkhornConfig())
    full = transport_loss(student.float(), student_mask, teacher.float(), teacher_mask, GroundCost(None), SinkhornConfig())
    assert half.value_B.dtype == torch.float32
    torch.testing.assert_close(half.value_B, full.value_B)


def test_a_zero_vector_has_a_finite_gradient():
    student, student_mask, teacher, teacher_mask = clouds()
    student[0, 0] = 0
    leaf = student.clone().requires_grad_()
    loss = transport_loss(leaf, student_mask, teacher, teacher_mask, GroundCost(None), SinkhornConfig())
    loss.value_B.sum().backward()
    assert leaf.grad.isfinite().all()


def test_the_unit_is_the_spread_between_different_tokens():
    _, _, teacher, teacher_mask = clouds()
    unit = measure_unit(teacher, teacher_mask, None)
    values = []
    for pair, (_, m) in enumerate(LENGTHS):
        for i in range(m):
            for j in range(m):
                if i != j:
                    values.append(1 - torch.cosine_similarity(teacher[pair, i], teacher[pair, j], dim=0).item())
    assert unit == pytest.approx(np.std(values, ddof=1), rel=1e-4)
