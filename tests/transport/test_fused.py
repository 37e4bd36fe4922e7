"""The Triton backend from outside: `backend="triton"` in the solver and the loss, interpreted on the CPU, against the torch reference."""

import pytest
import torch
from transport.problems import make_clouds, make_problem

from optical_ray.errors import NumericsError
from optical_ray.transport import GroundCost, Potentials, SinkhornConfig, solve_sinkhorn, transport_loss, uniform_mass
from optical_ray.transport import sinkhorn as sinkhorn_module

PLAIN = GroundCost(None)
SETTINGS = {"epsilon": 0.2, "tolerance": 1e-5, "max_iterations": 5000}
KINDS = pytest.mark.parametrize("gradient", ["envelope", "implicit"])


def price(clouds, backend, cost=PLAIN, masses=(None, None), **fields):
    student, student_mask, teacher, teacher_mask = clouds
    student, teacher = student.clone().requires_grad_(), teacher.clone().requires_grad_()
    config = SinkhornConfig(**(SETTINGS | fields), backend=backend)
    loss = transport_loss(student, student_mask, teacher, teacher_mask, cost, config, *masses)
    loss.value_B.sum().backward()
    return loss, student.grad, teacher.grad


def test_given_costs_get_the_references_plan(interpreted):
    problem = make_problem(dtype=torch.float32)
    plans = [solve_sinkhorn(*problem, SinkhornConfig(**SETTINGS, backend=backend)) for backend in ("triton", "torch")]
    torch.testing.assert_close(plans[0].coupling_BNM, plans[1].coupling_BNM, atol=2e-5, rtol=0)
    for name in ("cost_B", "regularised_cost_B", "normalised_entropy_B", "cost_std_B"):
        torch.testing.assert_close(getattr(plans[0], name), getattr(plans[1], name), atol=2e-5, rtol=1e-4, equal_nan=True)
    assert plans[0].converged_B.all()
    warm = solve_sinkhorn(*problem, SinkhornConfig(**SETTINGS, backend="triton"), start=plans[0].potentials)
    assert (warm.iterations_B == 1).all()
    hostile = Potentials(1e4 * torch.randn(problem.a.shape), 1e4 * torch.randn(problem.b.shape))
    far = solve_sinkhorn(*problem, SinkhornConfig(**SETTINGS, backend="triton"), start=hostile)
    torch.testing.assert_close(far.coupling_BNM, plans[1].coupling_BNM, atol=2e-5, rtol=0)


@KINDS
@pytest.mark.parametrize("marginals", ["uniform", "norm"])
def test_the_fused_loss_is_the_references_and_so_are_its_gradients(interpreted, gradient, marginals):
    clouds = make_clouds(dimension=20)
    cost = GroundCost(torch.full((20,), 0.1), unit=0.7, marginals=marginals)
    fused, *gradients = price(clouds, "triton", cost, gradient=gradient)
    reference, *expected = price(clouds, "torch", cost, gradient=gradient)
    torch.testing.assert_close(fused.value_B, reference.value_B, atol=1e-5, rtol=1e-5)
    for found, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-3)
    torch.testing.assert_close(fused.plan.coupling_BNM, reference.plan.coupling_BNM, atol=2e-5, rtol=0)
    ours, theirs = fused.diagnostics(), reference.diagnostics()
    assert (ours.converged, ours.empty) == (theirs.converged, theirs.empty)
    assert ours.plan_entropy == pytest.approx(theirs.plan_entropy, abs=1e-4)
    assert ours.cost_std == pytest.approx(theirs.cost_std, abs=1e-5)


@KINDS
def test_a_frozen_teacher_gets_no_gradient(interpreted, gradient):
    student, student_mask, teacher, teacher_mask = make_clouds()
    leaf = student.requires_grad_()
    config = SinkhornConfig(**SETTINGS, backend="triton", gradient=gradient)
    transport_loss(leaf, student_mask, teacher, teacher_mask, PLAIN, config).value_B.sum().backward()
    torch.testing.assert_close(leaf.grad, price(make_clouds(), "torch", gradient=gradient)[1], atol=2e-5, rtol=1e-3)


@KINDS
def test_empty_and_broken_pairs_are_left_out(interpreted, clouds, gradient):
    clouds[1][1] = False
    clouds[0][~clouds[1]] = float("nan")  # padding may hold anything
    clouds[0][3, 1] = float("inf")
    with pytest.raises(NumericsError, match=r"pair 3 of the batch \(1 of 5\)"):
        price(clouds, "triton", gradient=gradient)
    loss, student_grad, teacher_grad = price(clouds, "triton", gradient=gradient, on_nonfinite="skip")
    reference, expected, _ = price(clouds, "torch", gradient=gradient, on_nonfinite="skip")
    assert loss.plan.empty_B.tolist() == [False, True, False, False, False]
    assert loss.plan.skipped_B.tolist() == [False, False, False, True, False]
    assert loss.value_B[[1, 3]].abs().sum() == student_grad[[1, 3]].abs().sum() == teacher_grad[[1, 3]].abs().sum() == 0
    torch.testing.assert_close(student_grad, expected, atol=2e-5, rtol=1e-3)
    torch.testing.assert_close(loss.mean(), reference.mean(), atol=1e-5, rtol=1e-5)
    assert loss.plan.coupling_BNM[[1, 3]].abs().sum() == 0


def test_improper_masses_are_refused(interpreted, clouds):
    with pytest.raises(ValueError, match="student_mass of pair 0 sums to 2"):
        price(clouds, "triton", masses=(2 * uniform_mass(clouds[1]), None))


def test_coarse_masses_are_balanced(interpreted, clouds):
    masses = uniform_mass(clouds[1]).bfloat16(), uniform_mass(clouds[3])
    loss, _, _ = price(clouds, "triton", masses=masses)
    assert loss.plan.converged_B.all()
    torch.testing.assert_close(loss.value_B, price(clouds, "torch", masses=masses)[0].value_B, atol=1e-5, rtol=1e-5)


@KINDS
def test_a_second_derivative_is_refused(interpreted, clouds, gradient):
    student, student_mask, teacher, teacher_mask = clouds
    leaf = student.requires_grad_()
    config = SinkhornConfig(backend="triton", gradient=gradient)
    loss = transport_loss(leaf, student_mask, teacher, teacher_mask, PLAIN, config)
    (first,) = torch.autograd.grad(loss.value_B.sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        first.square().sum().backward()


@pytest.mark.parametrize(
    ("dtype", "rows", "fields", "message"),
    [
        (torch.float64, 4, {}, "the kernel computes in float32; found torch.float64"),
        (torch.float32, 4, {"tolerance": 1e-8}, "a tolerance of 1e-08, which needs float64"),
        (torch.float32, 129, {}, "the kernel takes up to 128 tokens a side, found 129 and 5; use torch or auto"),
    ],
)
def test_what_the_kernel_cannot_do_is_said_and_not_done_otherwise(interpreted, dtype, rows, fields, message):
    mass = torch.full((1, rows), 1 / rows, dtype=dtype), torch.full((1, 5), 0.2, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        solve_sinkhorn(torch.rand(1, rows, 5, dtype=dtype), *mass, SinkhornConfig(backend="triton", **fields))


def test_auto_stays_with_the_compiled_solver_on_a_cpu(interpreted, problem):
    device = problem.cost.device
    assert sinkhorn_module.choose_backend(SinkhornConfig(), device, torch.float32, 8, 8) == "cpu"


@pytest.mark.parametrize(
    ("dtype", "rows", "tolerance", "expected"),
    [
        (torch.float32, 64, 1e-3, "triton"),
        (torch.float32, 200, 1e-3, "torch"),
        (torch.float64, 64, 1e-3, "torch"),
        (torch.float32, 64, 1e-7, "torch"),
    ],
)
def test_auto_on_a_gpu_goes_by_precision_and_shape(interpreted, dtype, rows, tolerance, expected):
    assert sinkhorn_module.choose_backend(SinkhornConfig(tolerance=tolerance), torch.device("cuda"), dtype, rows, 64) == expected


def test_without_triton_a_gpu_gets_the_reference_and_the_wish_an_instruction(monkeypatch, problem):
    monkeypatch.setattr(sinkhorn_module, "has_triton", lambda: False)
    assert sinkhorn_module.choose_backend(SinkhornConfig(), torch.device("cuda"), torch.float32, 64, 64) == "torch"
    with pytest.raises(ModuleNotFoundError, match=r"Triton is not installed; `pip install 'optical-ray\[gpu\]'`"):
        solve_sinkhorn(*problem, SinkhornConfig(backend="triton"))


def test_the_cpu_backend_refuses_a_gpu():
    with pytest.raises(ValueError, match="the tensors are on cuda; use torch or auto"):
        sinkhorn_module.choose_backend(SinkhornConfig(backend="cpu"), torch.device("cuda"), torch.float32, 8, 8)
