import copy
import math

import pytest
import torch
from transport.problems import make_problem

from optical_ray.transport import SinkhornConfig, solve_sinkhorn
from optical_ray.transport.plan import diagnose


def test_diagnostics_sum_up_the_pairs_that_were_solved():
    problem = make_problem()
    problem.cost[0, 0, 0] = float("nan")
    problem.a[1] = 0
    plan = solve_sinkhorn(*problem, SinkhornConfig(on_nonfinite="skip"))
    found = plan.diagnostics()
    kept = [2, 3, 4]
    assert plan.solved_B.tolist() == [False, False, True, True, True]
    assert (found.pairs, found.skipped, found.empty, found.converged) == (5, 1, 1, 1.0)
    assert found.iterations_max == plan.iterations_B[kept].max()
    assert found.iterations_median == plan.iterations_B[kept].median()
    assert found.violation == pytest.approx(plan.violation_B[kept].mean().item())
    assert found.plan_entropy == pytest.approx(plan.normalised_entropy_B[4].item())  # the others' plans are forced
    assert found.cost_std == pytest.approx(plan.cost_std_B[kept].mean().item())
    assert not found.plan_uniform


def test_tables_of_two_halves_are_diagnosed_as_one_batch():
    problem = make_problem()
    whole = solve_sinkhorn(*problem, SinkhornConfig())
    halves = [solve_sinkhorn(*(tensor[part] for tensor in problem), SinkhornConfig()) for part in (slice(0, 2), slice(2, 5))]
    assert diagnose(torch.cat([half.table() for half in halves])) == whole.diagnostics()


def test_where_nothing_was_solved_means_are_nan_and_counts_are_counts():
    found = diagnose(torch.tensor([[1.0, 0, 1, 0, 0, float("nan"), 0]], dtype=torch.float64))
    assert (found.pairs, found.empty, found.iterations_max) == (1, 1, 0)
    for value in (found.converged, found.violation, found.plan_entropy, found.cost_std, found.iterations_median):
        assert math.isnan(value)
    assert not found.plan_uniform
    assert diagnose(torch.zeros(0, 7)).pairs == 0


def test_a_plan_is_uniform_when_it_aligns_nothing():
    problem = make_problem()
    assert solve_sinkhorn(*problem, SinkhornConfig(epsilon=50)).diagnostics().plan_uniform
    assert not solve_sinkhorn(*problem, SinkhornConfig(epsilon=0.1)).diagnostics().plan_uniform


def test_a_plan_can_be_copied():
    plan = solve_sinkhorn(*make_problem(), SinkhornConfig())
    assert torch.equal(copy.deepcopy(plan).coupling_BNM, plan.coupling_BNM)
