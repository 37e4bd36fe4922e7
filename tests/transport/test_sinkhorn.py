"""Every backend against POT, against the others, and against what must hold for any plan. The Triton kernel has its own file."""

import numpy as np
import ot
import ot.batch
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transport.problems import LENGTHS, make_problem

from optical_ray.errors import ConfigError, NumericsError
from optical_ray.transport import Potentials, SinkhornConfig, solve_sinkhorn

BACKENDS = pytest.mark.parametrize("backend", ["torch", "cpu"])
TIGHT = {"tolerance": 1e-9, "max_iterations": 50_000}


def solve(problem, start=None, **fields):
    return solve_sinkhorn(*problem, SinkhornConfig(**fields), start=start)


@BACKENDS
class TestEveryBackend:
    @pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.02])
    def test_plans_are_pots(self, problem, epsilon, backend):
        plan = solve(problem, epsilon=epsilon, backend=backend, **TIGHT)
        assert plan.converged_B.all()
        for pair in range(len(LENGTHS)):
            rows, columns = problem.a[pair].nonzero().flatten(), problem.b[pair].nonzero().flatten()
            cost = problem.cost[pair][rows][:, columns].numpy()
            a, b = problem.a[pair, rows].numpy(), problem.b[pair, columns].numpy()
            oracle = ot.sinkhorn(a, b, cost, epsilon, method="sinkhorn_log", numItermax=100_000, stopThr=1e-12, warn=False)
            found = plan.coupling_BNM[pair][rows][:, columns].numpy()
            np.testing.assert_allclose(found, oracle, atol=1e-8)
            assert plan.coupling_BNM[pair].sum().item() == pytest.approx(found.sum())
            assert plan.cost_B[pair].item() == pytest.approx((oracle * cost).sum(), abs=1e-8)
            divergence = (oracle * np.log(oracle / (a[:, None] * b))).sum()
            assert plan.regularised_cost_B[pair].item() == pytest.approx((oracle * cost).sum() + epsilon * divergence, abs=1e-8)
            if min(len(rows), len(columns)) > 1:
                independent = -(a * np.log(a)).sum() - (b * np.log(b)).sum()
                entropy = -(oracle * np.log(oracle)).sum() / independent
                assert plan.normalised_entropy_B[pair].item() == pytest.approx(entropy, abs=1e-7)
                assert plan.cost_std_B[pair].item() == pytest.approx(cost.std(ddof=1))

    def test_a_whole_batch_is_pots_batch(self, backend):
        problem = make_problem([(6, 6)] * 4, equal=True)
        square = problem.cost[:, :6, :6].contiguous(), problem.a[:, :6].contiguous(), problem.b[:, :6].contiguous()
        plan = solve(square, epsilon=0.1, backend=backend, **TIGHT)
        oracle = ot.batch.solve_batch(
            square[0], 0.1, square[1], square[2], max_iter=20_000, tol=1e-12, method="log_sinkhorn", grad="detach"
        )
        torch.testing.assert_close(plan.coupling_BNM, oracle.plan, atol=1e-8, rtol=0)

    def test_a_cold_plan_costs_what_the_exact_one_does(self, problem, backend):
        exact = solve(problem, epsilon=0)
        cold = solve(problem, epsilon=0.0005, backend=backend, tolerance=1e-7, max_iterations=200_000)
        assert cold.converged_B.all()
        assert (cold.cost_B >= exact.cost_B - 1e-6).all()
        torch.testing.assert_close(cold.cost_B, exact.cost_B, atol=2e-3, rtol=0)

    def test_a_large_epsilon_gives_the_independent_plan(self, problem, backend):
        plan = solve(problem, epsilon=1e4, backend=backend)
        torch.testing.assert_close(plan.coupling_BNM, problem.a[:, :, None] * problem.b[:, None, :], atol=1e-5, rtol=0)
        assert plan.diagnostics().plan_entropy == pytest.approx(1.0, abs=1e-4)
        assert plan.diagnostics().plan_uniform
        assert plan.normalised_entropy_B.isnan().tolist() == [False, False, True, True, False]  # a forced plan says nothing

    @pytest.mark.parametrize("poison", [1e6, -1e6, float("nan"), float("inf")])
    def test_padding_moves_no_mass_whatever_it_costs(self, problem, poison, backend):
        spoiled = solve((problem.cost.masked_fill(~problem.real, poison), problem.a, problem.b), backend=backend)
        clean = solve(problem, backend=backend)
        torch.testing.assert_close(spoiled.coupling_BNM, clean.coupling_BNM)
        torch.testing.assert_close(spoiled.cost_std_B, clean.cost_std_B)
        assert spoiled.coupling_BNM[~problem.real].abs().sum() == 0

    @pytest.mark.parametrize("epsilon", [0.2, 0.05, 0.005])
    def test_a_pair_does_not_depend_on_its_neighbours(self, problem, epsilon, backend):
        together = solve(problem, epsilon=epsilon, backend=backend)
        for pair in range(len(LENGTHS)):
            alone = solve(problem.part(pair), epsilon=epsilon, backend=backend)
            torch.testing.assert_close(alone.coupling_BNM[0], together.coupling_BNM[pair], atol=1e-12, rtol=0)
            assert alone.iterations_B[0] == together.iterations_B[pair]

    def test_permuting_tokens_permutes_the_plan(self, backend):
        cost, a, b = make_problem([(6, 5)])
        order, turn = torch.tensor([3, 0, 5, 1, 7, 4, 2, 6]), torch.tensor([4, 5, 0, 2, 1, 3])
        plan = solve((cost, a, b), backend=backend, **TIGHT)
        permuted = solve((cost[:, order][:, :, turn], a[:, order], b[:, turn]), backend=backend, **TIGHT)
        torch.testing.assert_close(permuted.coupling_BNM, plan.coupling_BNM[:, order][:, :, turn], atol=1e-8, rtol=0)
        torch.testing.assert_close(permuted.potentials.f_BN, plan.potentials.f_BN[:, order], atol=1e-6, rtol=0)

    def test_transposing_the_problem_transposes_the_plan(self, problem, backend):
        plan = solve(problem, backend=backend, **TIGHT)
        turned = solve((problem.cost.transpose(1, 2), problem.b, problem.a), backend=backend, **TIGHT)
        torch.testing.assert_close(turned.coupling_BNM.transpose(1, 2), plan.coupling_BNM, atol=1e-8, rtol=0)

    def test_potentials_rebuild_the_plan(self, problem, backend):
        plan = solve(problem, epsilon=0.1, backend=backend)
        f, g = plan.potentials.f_BN, plan.potentials.g_BM
        rebuilt = problem.a[:, :, None] * problem.b[:, None, :] * ((f[:, :, None] + g[:, None, :] - problem.cost) / 0.1).exp()
        torch.testing.assert_close(rebuilt, plan.coupling_BNM, atol=1e-9, rtol=1e-6)
        assert f[problem.a == 0].abs().sum() == g[problem.b == 0].abs().sum() == 0

    @pytest.mark.parametrize("epsilon", [0.1, 0.01])
    def test_a_warm_start_from_the_answer_stops_at_the_first_look(self, problem, epsilon, backend):
        cold = solve(problem, epsilon=epsilon, backend=backend)
        warm = solve(problem, start=cold.potentials, epsilon=epsilon, backend=backend)
        assert (warm.iterations_B <= 5).all()
        assert warm.iterations_B.sum() < cold.iterations_B.sum()
        assert warm.converged_B.all()

    @pytest.mark.parametrize("size", [1e4, -1e4, 1e30])
    def test_any_finite_start_is_safe(self, problem, size, backend):
        generator = torch.Generator().manual_seed(3)
        start = Potentials(*(size * torch.randn(mass.shape, generator=generator, dtype=mass.dtype) for mass in (problem.a, problem.b)))
        plan = solve(problem, start=start, epsilon=0.1, backend=backend, max_iterations=5000)
        torch.testing.assert_close(plan.coupling_BNM, solve(problem, epsilon=0.1, backend=backend).coupling_BNM, atol=2e-3, rtol=0)

    def test_annealing_changes_the_way_and_not_the_answer(self, problem, backend):
        plans = [solve(problem, epsilon=0.01, annealing=annealing, backend=backend, **TIGHT) for annealing in (True, False)]
        torch.testing.assert_close(plans[0].coupling_BNM, plans[1].coupling_BNM, atol=1e-8, rtol=0)
        assert not torch.equal(plans[0].iterations_B, plans[1].iterations_B)

    def test_a_capped_solve_is_reported(self, problem, backend):
        plan = solve(problem, epsilon=0.005, tolerance=1e-6, max_iterations=3, backend=backend)
        assert not plan.converged_B.all()
        assert (plan.violation_B[~plan.converged_B] > 1e-6).all()
        assert (plan.iterations_B <= 3).all()
        assert plan.diagnostics().converged < 1
        rows = (plan.coupling_BNM.sum(2) - problem.a).abs().sum(1) + (plan.coupling_BNM.sum(1) - problem.b).abs().sum(1)
        torch.testing.assert_close(plan.violation_B, rows, atol=1e-9, rtol=0)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_a_tiny_epsilon_stays_finite(self, dtype, backend):
        plan = solve(make_problem(dtype=dtype), epsilon=1e-4, max_iterations=2000, backend=backend)
        for value in (plan.coupling_BNM, plan.cost_B, plan.regularised_cost_B, plan.violation_B, plan.potentials.f_BN):
            assert value.isfinite().all()
        assert (plan.converged_B == (plan.violation_B <= 1e-3)).all()

    def test_a_long_thin_pair_is_solved(self, backend):
        problem = make_problem([(180, 3), (3, 180)], dtype=torch.float32)
        plan = solve(problem, epsilon=0.02, backend=backend)
        assert plan.converged_B.all()
        assert (plan.coupling_BNM.sum(2) - problem.a).abs().sum(1).max() <= 2e-3

    def test_one_token_takes_all(self, backend):
        problem = make_problem([(1, 1), (1, 5), (5, 1)])
        plan = solve(problem, backend=backend)
        torch.testing.assert_close(plan.coupling_BNM, problem.a[:, :, None] * problem.b[:, None, :], atol=1e-9, rtol=0)
        assert plan.normalised_entropy_B.isnan().all()

    def test_tiny_masses_are_moved(self, backend):
        cost, a, b = make_problem([(4, 4)])
        a = torch.tensor([[1e-12, 1e-25, 0.5, 0.5, 0, 0]], dtype=torch.float64)
        plan = solve((cost, a, b), backend=backend, epsilon=0.05)
        assert plan.converged_B.all()
        assert plan.coupling_BNM[0, 0].sum().item() == pytest.approx(1e-12, rel=1e-2)
        assert plan.coupling_BNM.isfinite().all()

    def test_an_empty_batch_has_an_empty_plan(self, backend):
        for shape in ((0, 4, 5), (3, 0, 5), (3, 4, 0)):
            plan = solve((torch.zeros(shape), torch.zeros(shape[:2]), torch.zeros(shape[0], shape[2])), backend=backend)
            assert plan.coupling_BNM.shape == shape
            assert plan.empty_B.all()

    @pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
    def test_a_broken_pair_is_named_or_skipped_and_spoils_no_other(self, problem, poison, backend):
        clean = solve(problem, epsilon=0.05, backend=backend)
        problem.cost[1, 0, 0] = problem.cost[3, 2, 0] = poison
        with pytest.raises(NumericsError, match=r"NaN or infinite cost in pair 1, 3 of the batch \(2 of 5\)"):
            solve(problem, epsilon=0.05, backend=backend)
        plan = solve(problem, epsilon=0.05, backend=backend, on_nonfinite="skip")
        assert plan.skipped_B.tolist() == [False, True, False, True, False]
        for name in ("coupling_BNM", "cost_B", "iterations_B", "violation_B"):
            found, expected = getattr(plan, name), getattr(clean, name)
            assert torch.equal(found[[0, 2, 4]], expected[[0, 2, 4]]), name
            assert found[[1, 3]].abs().sum() == 0, name
        diagnostics = plan.diagnostics()
        assert (diagnostics.skipped, diagnostics.empty, diagnostics.pairs) == (2, 0, 5)
        assert diagnostics.converged == 1  # of those that were solved

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_solved_in_float32(self, dtype, backend):
        cost, a, b = make_problem(dtype=torch.float32)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = solve((cost.to(dtype), a, b), epsilon=0.1, backend=backend)
        full = solve((cost.to(dtype).float(), a, b), epsilon=0.1, backend=backend)
        assert half.cost_B.dtype == half.coupling_BNM.dtype == torch.float32
        assert torch.equal(half.coupling_BNM, full.coupling_BNM)
        rounded = solve((cost, a.to(dtype), b.to(dtype)), epsilon=0.1, backend=backend)
        assert rounded.converged_B.all()  # against the rounded masses, made to sum to 1

    def test_a_tolerance_beyond_float32_is_met_in_float64(self, backend):
        plan = solve(make_problem(dtype=torch.float32), epsilon=0.05, tolerance=1e-8, max_iterations=20_000, backend=backend)
        assert plan.converged_B.all()
        assert plan.coupling_BNM.dtype == torch.float32

    @settings(max_examples=30, deadline=None)
    @given(
        lengths=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=5),
        epsilon=st.floats(0.002, 3.0),
        seed=st.integers(0, 1000),
        single=st.booleans(),
    )
    def test_marginals_hold_and_empty_pairs_are_flagged(self, lengths, epsilon, seed, single, backend):
        problem = make_problem(lengths, seed, torch.float32 if single else torch.float64)
        plan = solve(problem, epsilon=epsilon, max_iterations=50_000, backend=backend)
        empty = torch.tensor([n == 0 or m == 0 for n, m in lengths])
        assert torch.equal(plan.empty_B, empty)
        assert plan.converged_B.all()
        assert (plan.coupling_BNM >= 0).all()
        assert plan.coupling_BNM[empty].abs().sum() == 0
        kept = ~empty
        rows = (plan.coupling_BNM.sum(2) - problem.a)[kept].abs().sum(1)
        columns = (plan.coupling_BNM.sum(1) - problem.b)[kept].abs().sum(1)
        assert (rows + columns <= 1e-3 + 1e-5).all()
        torch.testing.assert_close(plan.violation_B[kept], rows + columns, atol=2e-6, rtol=0)
        torch.testing.assert_close(plan.cost_B, (plan.coupling_BNM * problem.cost).sum((1, 2)), atol=2e-6, rtol=1e-5)
        entropy = plan.normalised_entropy_B
        assert ((entropy <= 1 + 1e-3) | entropy.isnan()).all()


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 70), st.integers(0, 70)), min_size=1, max_size=3),
    epsilon=st.floats(0.01, 2.0),
    seed=st.integers(0, 1000),
)
def test_backends_agree(lengths, epsilon, seed):
    """Stated: at a tolerance of 1e-5, plans agree to 2e-4 of the mass and costs to 1e-4, whatever the shape, float32 against float64."""
    problem = make_problem(lengths, seed, torch.float32)
    wide = tuple(tensor.double() for tensor in problem)
    ours = solve(problem, epsilon=epsilon, tolerance=1e-5, max_iterations=200_000, backend="cpu")
    reference = solve(wide, epsilon=epsilon, tolerance=1e-5, max_iterations=200_000, backend="torch")
    assert ours.converged_B.all()
    assert reference.converged_B.all()
    apart = (ours.coupling_BNM.double() - reference.coupling_BNM).abs().sum((1, 2))
    assert apart.max() <= 2e-4 * max(1.0, 0.05 / epsilon), apart
    torch.testing.assert_close(ours.cost_B.double(), reference.cost_B, atol=1e-4, rtol=0)
    torch.testing.assert_close(ours.regularised_cost_B.double(), reference.regularised_cost_B, atol=1e-4, rtol=0)


def test_epsilon_zero_is_pots_exact_plan(problem):
    plan = solve(problem, epsilon=0)
    assert plan.converged_B.all()
    for pair in range(len(LENGTHS)):
        rows, columns = problem.a[pair].nonzero().flatten(), problem.b[pair].nonzero().flatten()
        oracle = ot.emd2(problem.a[pair, rows].numpy(), problem.b[pair, columns].numpy(), problem.cost[pair][rows][:, columns].numpy())
        assert plan.cost_B[pair].item() == pytest.approx(oracle, abs=1e-9)
        dual = (plan.potentials.f_BN[pair] * problem.a[pair]).sum() + (plan.potentials.g_BM[pair] * problem.b[pair]).sum()
        assert dual.item() == pytest.approx(oracle, abs=1e-9)
    assert torch.equal(plan.regularised_cost_B, plan.cost_B)
    broken = problem.cost.clone()
    broken[2, 0, 0] = float("nan")
    with pytest.raises(NumericsError, match="pair 2 of the batch"):
        solve((broken, problem.a, problem.b), epsilon=0)


def test_the_unit_scales_epsilon(problem):
    one = solve_sinkhorn(*problem, SinkhornConfig(epsilon=0.5), unit=0.2)
    other = solve_sinkhorn(*problem, SinkhornConfig(epsilon=0.1))
    torch.testing.assert_close(one.coupling_BNM, other.coupling_BNM)
    assert one.epsilon == pytest.approx(0.1)


def test_no_graph_leads_through_the_solver(problem):
    cost = problem.cost.requires_grad_()
    plan = solve((cost, problem.a, problem.b))
    assert not plan.coupling_BNM.requires_grad
    assert not plan.cost_B.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cost, a, b: (cost, a * 0.5, b), r"a of pair 0 sums to 0\.5; expected 1, or 0 for an empty side"),
        (lambda cost, a, b: (cost, a, b + 0.5), r"b of pair 0 sums to"),
        (lambda cost, a, b: (cost, a, b - 1), "b holds a negative mass"),
        (lambda cost, a, b: (cost, b, a), r"expected \[B, N, M\]"),
        (lambda cost, a, b: (cost[0], a, b), r"expected \[B, N, M\]"),
        (lambda cost, a, b: (cost, a[:3], b), r"expected \[B, N, M\]"),
        (lambda cost, a, b: (cost, a * float("nan"), b), "a of pair 0 sums to nan"),
        (lambda cost, a, b: (cost, a * float("inf"), b), "a of pair 0 sums to"),
        (lambda cost, a, b: (cost, a > 0, b), r"a is torch.bool; expected a floating dtype; uniform_mass\(mask\) makes masses of a mask"),
        (lambda cost, a, b: ((cost * 10).long(), a, b), "cost is torch.int64; expected a floating dtype"),
        (lambda cost, a, b: (cost.to("meta"), a, b), "tensors on cpu and meta; expected one device"),
    ],
)
@BACKENDS
def test_masses_shapes_and_dtypes_are_checked(change, message, backend):
    with pytest.raises(ValueError, match=message):
        solve(change(*make_problem()), backend=backend)


@BACKENDS
def test_a_start_may_hold_anything_where_there_is_no_mass(problem, backend):
    cold = solve(problem, backend=backend)
    f, g = (side.masked_fill(mass == 0, 1e38) for side, mass in ((cold.potentials.f_BN, problem.a), (cold.potentials.g_BM, problem.b)))
    warm = solve(problem, start=Potentials(f.float().bfloat16(), g.float()), backend=backend)
    assert warm.converged_B.all()
    torch.testing.assert_close(warm.coupling_BNM, cold.coupling_BNM, atol=2e-3, rtol=0)


@BACKENDS
def test_each_side_is_held_to_its_own_precision(problem, backend):
    cost, a, b = problem
    with pytest.raises(ValueError, match=r"a of pair 0 sums to 1\.005"):
        solve((cost, (1.005 * a).float(), b.bfloat16()), backend=backend)
    with pytest.raises(ValueError, match="a of pair 0 sums to"):
        solve((cost, torch.where(a > 0, 1e-32, 0.0), b), backend=backend)


@BACKENDS
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e3])
def test_costs_and_their_unit_may_be_scaled_together(scale, backend):
    problem = make_problem(dtype=torch.float32)
    plan = solve_sinkhorn(problem.cost * scale, problem.a, problem.b, SinkhornConfig(tolerance=1e-4, backend=backend), unit=scale)
    expected = solve(problem, tolerance=1e-4, backend="torch")
    torch.testing.assert_close(plan.coupling_BNM, expected.coupling_BNM, atol=5e-4, rtol=0)


@BACKENDS
@pytest.mark.parametrize("epsilon", [10.0, 1e3, 1e6])
def test_the_price_is_that_of_the_plan_however_warm(epsilon, backend):
    problem = make_problem(dtype=torch.float32)
    plan = solve(problem, epsilon=epsilon, backend=backend)
    torch.testing.assert_close(plan.cost_B, (plan.coupling_BNM * problem.cost).sum((1, 2)), atol=1e-6, rtol=1e-6)


def test_exact_plans_of_negative_costs(problem):
    plan = solve((problem.cost - 5, problem.a, problem.b), epsilon=0)
    torch.testing.assert_close(plan.cost_B + 5, solve(problem, epsilon=0).cost_B)
    dual = (plan.potentials.f_BN * problem.a).sum(1) + (plan.potentials.g_BM * problem.b).sum(1)
    torch.testing.assert_close(dual, plan.cost_B)


@pytest.mark.parametrize("unit", [0.0, -1.0, float("nan"), float("inf")])
def test_a_unit_that_is_none_is_refused(problem, unit):
    with pytest.raises(ValueError, match="the unit of epsilon is"):
        solve_sinkhorn(*problem, SinkhornConfig(), unit=unit)


def test_start_potentials_of_another_shape_are_refused(problem):
    with pytest.raises(ValueError, match="start potentials"):
        solve(problem, start=Potentials(problem.b, problem.a))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epsilon": -0.1}, "epsilon"),
        ({"tolerance": 0}, "tolerance"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"backend": "gpu"}, "backend"),
        ({"gradient": "unrolled"}, "gradient"),
        ({"epsilon": 0, "backend": "torch"}, "epsilon=0 is the exact plan, which backend=torch cannot find; use backend=auto or exact"),
        ({"epsilon": 0.1, "backend": "exact"}, "backend=exact solves epsilon=0 only"),
    ],
)
def test_settings_are_checked(fields, message):
    with pytest.raises(ConfigError, match=message):
        SinkhornConfig.parse(fields, "")


def test_the_cap_grows_as_epsilon_falls_and_with_every_digit():
    config = SinkhornConfig()
    caps = [config.cap(epsilon) for epsilon in (1.0, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 1e-4)]
    assert caps == sorted(caps)
    assert SinkhornConfig(tolerance=1e-6).cap(0.1) == 2 * config.cap(0.1)
    assert SinkhornConfig(max_iterations=7).cap(0.1) == 7


def test_annealing_begins_below_a_fiftieth():
    config = SinkhornConfig()
    assert [config.stages(epsilon) for epsilon in (0.1, 0.03, 0.02, 0.01, 0.005)] == [0, 0, 1, 2, 3]
    assert SinkhornConfig(annealing=False).stages(0.005) == 0
    assert SinkhornConfig(max_iterations=50).stages(1e-4) == 1  # at most half of the cap
    assert config.stages(1e-9) == 8  # rounding doubles with each
