"""The GPU kernel, run by Triton's interpreter on the CPU, against POT in float64; and compiled, not run, for a GPU.

Padding and a token without mass (holding NaN) are in every fixture; lengths lie on both sides of a tile's edge.
"""

import os
import subprocess
import sys

import numpy as np
import ot
import pytest
import torch

from optical_ray.transport.config import SinkhornConfig
from optical_ray.transport.sinkhorn import solve_sinkhorn

LENGTHS = [(5, 7), (16, 17), (1, 6), (4, 1), (12, 9), (0, 3), (3, 0)]
SOLVED, EMPTY = [0, 1, 2, 3, 4], [5, 6]


def make_problem(lengths=LENGTHS, seed=4, dims=11, padding=(2, 3)):
    """Tokens of length 1 and masses: unequal, 0 at padding, and 0 at the second of three tokens or more, which holds NaN."""
    sides = []
    for side, extra in enumerate(padding):
        tokens, masses = [], []
        for pair, length in enumerate(n[side] for n in lengths):
            generator = torch.Generator().manual_seed(1000 * seed + 2 * pair + side)  # a pair is the same whatever lies beside it
            rows = torch.full((max(n[side] for n in lengths) + extra, dims), torch.nan)
            rows[:length] = torch.nn.functional.normalize(torch.randn(length, dims, generator=generator), dim=1)
            mass = torch.zeros(len(rows))
            mass[:length] = 0.5 + torch.rand(length, generator=generator)
            if length > 2:
                mass[1] = 0.0
                rows[1] = torch.nan
            tokens.append(rows)
            masses.append(mass / mass.sum().clamp_min(1e-9))
        sides.append((torch.stack(tokens), torch.stack(masses)))
    (student, a), (teacher, b) = sides
    return student, teacher, a, b


def cost_of(student, teacher):
    return 1 - student.nan_to_num() @ teacher.nan_to_num().transpose(1, 2)


def oracle(student, teacher, a, b, epsilon):
    """POT's plans in float64, zero where there is no mass."""
    cost, plans = cost_of(student.double(), teacher.double()), torch.zeros(*a.shape, b.shape[1], dtype=torch.float64)
    for pair in range(len(a)):
        rows, columns = a[pair].nonzero().flatten(), b[pair].nonzero().flatten()
        if len(rows) and len(columns):
            mass_a, mass_b = a[pair, rows].double().numpy(), b[pair, columns].double().numpy()
            block = cost[pair][rows][:, columns].numpy()
            plan = ot.sinkhorn(
                mass_a / mass_a.sum(), mass_b / mass_b.sum(), block, epsilon, method="sinkhorn_log", numItermax=100_000, stopThr=1e-10
            )
            plans[pair, rows[:, None], columns[None, :]] = torch.as_tensor(plan)
    return plans


@pytest.mark.parametrize(("epsilon", "tolerance", "error"), [(1.0, 1e-6, 1e-6), (0.1, 1e-5, 1e-5), (0.02, 1e-4, 1e-4), (0.005, 5e-4, 5e-4)])
def test_plans_and_their_numbers_are_pots(kernel, epsilon, tolerance, error):
    problem = student, teacher, a, b = make_problem()
    solution = kernel.solve_tokens(*problem, epsilon, tolerance, 20_000)
    plan = kernel.coupling_from_tokens(*problem, solution.f_BN, solution.g_BM, epsilon)
    expected, cost = oracle(*problem, epsilon), cost_of(student.double(), teacher.double())
    assert (solution.violation_B <= tolerance).all()
    assert ((solution.iterations_B <= 1) | (solution.iterations_B % 5 == 0)).all()
    assert solution.f_BN[a == 0].abs().sum() + solution.g_BM[b == 0].abs().sum() == 0
    torch.testing.assert_close(plan.double(), expected, atol=error, rtol=0)
    independent = (a[:, :, None] * b[:, None, :]).double()
    divergence = torch.xlogy(expected, expected) - torch.xlogy(expected, independent)
    for found, exact in [
        (solution.cost_B, expected * cost),
        (solution.divergence_B, divergence),
        (solution.entropy_B, -torch.xlogy(expected, expected)),
    ]:
        torch.testing.assert_close(found.double(), exact.sum((1, 2)), atol=5 * error, rtol=0)
    for pair in SOLVED:
        assert solution.cost_std_B[pair].item() == pytest.approx(cost[pair][independent[pair] > 0].std().item(), rel=1e-5)


@pytest.mark.parametrize("epsilon", [0.1, 0.02])
def test_the_numbers_are_those_of_the_plan_that_is_returned(kernel, epsilon):
    problem = student, teacher, a, b = make_problem()
    solution = kernel.solve_tokens(*problem, epsilon, 1e-3, 3)  # stopped early: nothing hides behind convergence
    plan = kernel.coupling_from_tokens(*problem, solution.f_BN, solution.g_BM, epsilon).double()
    assert solution.iterations_B.tolist() == [3, 3, 1, 1, 3, 0, 0]
    violation = ((plan.sum(2) - a).abs().sum(1) + (plan.sum(1) - b).abs().sum(1))[SOLVED]
    assert (violation > 1e-3).any()
    torch.testing.assert_close(solution.violation_B[SOLVED].double(), violation, atol=1e-6, rtol=0)
    cost, independent = cost_of(student.double(), teacher.double()), (a[:, :, None] * b[:, None, :]).double()
    divergence = (torch.xlogy(plan, plan) - torch.xlogy(plan, independent)).sum((1, 2))
    torch.testing.assert_close(solution.cost_B.double(), (plan * cost).sum((1, 2)), atol=1e-6, rtol=0)
    torch.testing.assert_close(solution.divergence_B.double(), divergence, atol=1e-5, rtol=0)
    torch.testing.assert_close(solution.entropy_B.double(), -torch.xlogy(plan, plan).sum((1, 2)), atol=1e-5, rtol=0)


def test_a_given_cost_is_solved_like_the_tokens_it_came_from(kernel):
    problem = student, teacher, a, b = make_problem()
    cost = cost_of(student, teacher).masked_fill((a == 0)[:, :, None] | (b == 0)[:, None, :], torch.nan)
    formed, given = kernel.solve_tokens(*problem, 0.05, 1e-4, 1000), kernel.solve_costs(cost, a, b, 0.05, 1e-4, 1000)
    for name in ("f_BN", "g_BM", "cost_B", "divergence_B", "entropy_B", "violation_B", "cost_std_B"):
        torch.testing.assert_close(getattr(given, name), getattr(formed, name), atol=1e-5, rtol=1e-5)
    assert torch.equal(given.iterations_B, formed.iterations_B)
    plan = kernel.coupling_from_costs(cost, a, b, given.f_BN, given.g_BM, 0.05, given.finite_B)
    torch.testing.assert_close(plan, kernel.coupling_from_tokens(*problem, formed.f_BN, formed.g_BM, 0.05), atol=1e-5, rtol=0)


@pytest.mark.parametrize("cap", [1, 4, 12])
def test_an_iteration_is_sinkhorns_in_the_log_domain_from_the_c_transforms(kernel, cap):
    student, teacher, a, b = (tensor[SOLVED] for tensor in make_problem())
    cost, log_a, log_b = cost_of(student.double(), teacher.double()), a.double().log()[:, :, None], b.double().log()[:, None, :]
    f = cost.masked_fill(log_b.isneginf(), torch.inf).amin(2, keepdim=True)
    g = (cost - f).masked_fill(log_a.isneginf(), torch.inf).amin(1, keepdim=True)
    for _ in range(cap):
        f = -0.05 * ((g - cost) / 0.05 + log_b).logsumexp(2, keepdim=True)
        g = -0.05 * ((f - cost) / 0.05 + log_a).logsumexp(1, keepdim=True)
    found = kernel.solve_tokens(student, teacher, a, b, 0.05, 1e-9, cap)
    plan = kernel.coupling_from_tokens(student, teacher, a, b, found.f_BN, found.g_BM, 0.05)
    assert (found.iterations_B <= cap).all()
    assert (found.iterations_B[[0, 1, 4]] == cap).all()
    torch.testing.assert_close(plan.double(), ((f + g - cost) / 0.05 + log_a + log_b).exp(), atol=1e-6, rtol=0)


def test_the_torch_reference_finds_the_same(kernel):
    student, teacher, a, b = make_problem()
    cost = cost_of(student, teacher)
    found = kernel.solve_costs(cost, a, b, 0.1, 1e-5, 400)
    reference = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=0.1, tolerance=1e-5, max_iterations=400, backend="torch"))
    torch.testing.assert_close(found.cost_B, reference.cost_B, atol=1e-5, rtol=0)


def test_a_tiny_epsilon_stays_finite_and_is_not_called_converged_when_it_is_not(kernel):
    problem = _, _, a, b = make_problem()
    solution = kernel.solve_tokens(*problem, 1e-4, 1e-3, 60)
    plan = kernel.coupling_from_tokens(*problem, solution.f_BN, solution.g_BM, 1e-4)
    assert plan.isfinite().all()
    assert all(getattr(solution, name).isfinite().all() for name in solution.__dataclass_fields__)
    violation = (plan.sum(2) - a).abs().sum(1) + (plan.sum(1) - b).abs().sum(1)
    torch.testing.assert_close(solution.violation_B[SOLVED], violation[SOLVED], atol=1e-6, rtol=0)
    assert (solution.violation_B > 1e-3).any()
    assert (solution.iterations_B[solution.violation_B > 1e-3] == 60).all()


def test_a_token_without_mass_stays_out_when_the_others_are_as_far_apart_as_can_be(kernel):
    axis = torch.nn.functional.one_hot(torch.tensor([[0, 2, 0]]), 4).float()
    ends = torch.stack([axis[:, 0], -axis[:, 0], axis[:, 1]], dim=1)
    half, uneven = torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([[0.5, 0.5, 0.0]])
    for problem in ((axis, ends, half, uneven), (ends, axis, uneven, half)):  # a potential of 2: exp(2 / 1e-3) would overflow
        solution = kernel.solve_tokens(*problem, 1e-3, 1e-3, 100)
        plan = kernel.coupling_from_tokens(*problem, solution.f_BN, solution.g_BM, 1e-3)
        torch.testing.assert_close(plan, problem[2][:, :, None] * problem[3][:, None, :], atol=1e-3, rtol=0)


def test_many_student_tokens_for_three_teacher_tokens(kernel):
    problem = make_problem([(100, 3)], padding=(28, 125))  # 128 on both sides: the largest tile, full
    solution = kernel.solve_tokens(*problem, 0.1, 1e-4, 200)
    plan = kernel.coupling_from_tokens(*problem, solution.f_BN, solution.g_BM, 0.1)
    assert solution.violation_B.item() <= 1e-4
    torch.testing.assert_close(plan.double(), oracle(*problem, 0.1), atol=1e-5, rtol=0)


def test_more_than_128_tokens_are_refused(kernel):
    with pytest.raises(ValueError, match="130 student and 5 teacher tokens; the kernel takes at most 128"):
        kernel.solve_tokens(*make_problem([(128, 2)]), 0.1, 1e-3, 10)


def test_a_pair_without_mass_has_a_plan_of_zero_and_no_numbers(kernel):
    problem = make_problem()
    solution = kernel.solve_tokens(*problem, 0.1, 1e-4, 200)
    plan = kernel.coupling_from_tokens(*problem, solution.f_BN, solution.g_BM, 0.1)
    assert solution.finite_B.all()
    for tensor in (plan, *(getattr(solution, name) for name in solution.__dataclass_fields__ if name != "finite_B")):
        assert tensor[EMPTY].abs().sum() == 0


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_broken_pair_is_flagged_and_leaves_the_others_alone(kernel, poison):
    student, teacher, a, b = make_problem()
    clean = kernel.solve_tokens(student, teacher, a, b, 0.05, 1e-4, 400)
    broken = student.clone()
    broken[1, 0, 3] = poison
    with np.errstate(invalid="ignore"):  # the interpreter multiplies with numpy
        found = kernel.solve_tokens(broken, teacher, a, b, 0.05, 1e-4, 400)
        plan = kernel.coupling_from_tokens(broken, teacher, a, b, found.f_BN, found.g_BM, 0.05, found.finite_B)
    assert found.finite_B.tolist() == [True, False, True, True, True, True, True]
    assert plan[1].abs().sum() == 0
    others = torch.arange(len(a)) != 1
    for name in found.__dataclass_fields__:
        assert not getattr(found, name)[1].any()
        assert torch.equal(getattr(found, name)[others], getattr(clean, name)[others])


def test_a_pair_does_not_depend_on_its_neighbours_nor_on_their_padding(kernel):
    together = kernel.solve_tokens(*make_problem(), 0.05, 1e-4, 400)
    for pair in SOLVED:
        problem = tuple(tensor[pair : pair + 1] for tensor in make_problem())
        student, teacher, a, b = problem
        n, m = LENGTHS[pair]
        alone = kernel.solve_tokens(student[:, :n], teacher[:, :m], a[:, :n], b[:, :m], 0.05, 1e-4, 400)
        assert torch.equal(alone.f_BN[0], together.f_BN[pair, :n])
        assert torch.equal(alone.g_BM[0], together.g_BM[pair, :m])
        assert alone.cost_B[0] == together.cost_B[pair]
        assert alone.iterations_B[0] == together.iterations_B[pair]


def test_a_start_from_the_answer_stops_at_the_first_look(kernel):
    problem = make_problem()
    cold = kernel.solve_tokens(*problem, 0.05, 1e-4, 1000)
    warm = kernel.solve_tokens(*problem, 0.05, 1e-4, 1000, start=(cold.f_BN, cold.g_BM))
    assert warm.iterations_B.tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert (warm.violation_B <= 1e-4).all()
    torch.testing.assert_close(warm.cost_B, cold.cost_B, atol=1e-5, rtol=0)


@pytest.mark.parametrize("hostile", ["constant", "random", "spike", "nan"])
def test_no_start_keeps_a_pair_from_converging(kernel, hostile):
    problem = _, _, a, b = make_problem()
    cold = kernel.solve_tokens(*problem, 0.05, 1e-5, 2000)
    shapes = a.shape, b.shape
    if hostile == "constant":
        start = tuple(torch.full(shape, 1e4) for shape in shapes)
    elif hostile == "random":
        start = tuple(1e4 * torch.randn(shape, generator=torch.Generator().manual_seed(7)) for shape in shapes)
    elif hostile == "spike":
        start = tuple(torch.full(shape, -1e30).index_fill_(1, torch.tensor([0]), 1e30) for shape in shapes)
    else:
        start = tuple(torch.full(shape, torch.nan) for shape in shapes)
    warm = kernel.solve_tokens(*problem, 0.05, 1e-5, 2000, start=start)
    assert (warm.violation_B <= 1e-5).all()
    torch.testing.assert_close(warm.cost_B, cold.cost_B, atol=1e-5, rtol=0)


def test_the_gradient_is_autograds_with_the_plan_held_constant(kernel):
    student, teacher, a, b = make_problem()
    solution = kernel.solve_tokens(student, teacher, a, b, 0.1, 1e-5, 1000)
    potentials = solution.f_BN, solution.g_BM
    plan = kernel.coupling_from_tokens(student, teacher, a, b, *potentials, 0.1).double()
    grad = torch.linspace(-1, 2.5, len(a))  # nowhere 0
    leaves = [tokens.nan_to_num().double().requires_grad_() for tokens in (student, teacher)]
    (grad.double() * (plan * cost_of(*leaves)).sum((1, 2))).sum().backward()
    found = kernel.envelope_gradient(grad, student, teacher, a, b, *potentials, solution.finite_B, 0.1, want_teacher=True)
    for side, leaf, mass in zip(found, leaves, (a, b), strict=True):
        torch.testing.assert_close(side.double(), leaf.grad, atol=1e-6, rtol=0)
        assert side[mass == 0].abs().sum() == 0
        assert side[EMPTY].abs().sum() == 0
    alone, nothing = kernel.envelope_gradient(grad, student, teacher, a, b, *potentials, solution.finite_B, 0.1, want_teacher=False)
    assert nothing is None
    assert torch.equal(alone, found[0])


def test_empty_and_broken_pairs_have_no_gradient_whatever_they_hold(kernel):
    student, teacher, a, b = make_problem()
    teacher[5], student[6] = torch.nan, torch.nan  # the sides that do have mass in the two empty pairs
    teacher[1, 0, 0] = torch.nan
    solution = kernel.solve_tokens(student, teacher, a, b, 0.1, 1e-3, 100)
    assert solution.finite_B.tolist() == [True, False, True, True, True, True, True]
    grad = torch.ones(len(a)).index_fill_(0, torch.tensor([1, 5, 6]), torch.nan)
    found = kernel.envelope_gradient(grad, student, teacher, a, b, solution.f_BN, solution.g_BM, solution.finite_B, 0.1, want_teacher=True)
    for side in found:
        assert side.isfinite().all()
        assert side[[1, 5, 6]].abs().sum() == 0
        assert side[[0, 2, 3, 4]].abs().sum((1, 2)).gt(0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, e, a, b: (x, e[:, :, :5], a, b, 0.1), r"teacher_BMD is \[7, 20, 5\]; expected \[B=7, M=20, D=11\]"),
        (lambda x, e, a, b: (x, e, b, a, 0.1), r"a_BN is \[7, 20\]; expected \[B=7, N=18\]"),
        (lambda x, e, a, b: (x, e, a[0], b, 0.1), r"a_BN is \[18\]; expected"),
        (lambda x, e, a, b: (x.double(), e, a, b, 0.1), "student_BND is torch.float64; expected torch.float32"),
        (lambda x, e, a, b: (x, e, a, b, 0.0), "epsilon 0; the kernel needs it above 0"),
    ],
)
def test_shapes_and_precision_are_checked(kernel, change, message):
    with pytest.raises(ValueError, match=message):
        kernel.solve_tokens(*change(*make_problem()), 1e-3, 10)


def test_strides_do_not_matter(kernel):
    student, teacher, a, b = make_problem()
    turned = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in (student, teacher, a, b)]
    assert not any(tensor.is_contiguous() for tensor in turned)
    found, expected = kernel.solve_tokens(*turned, 0.1, 1e-3, 100), kernel.solve_tokens(student, teacher, a, b, 0.1, 1e-3, 100)
    assert torch.equal(found.f_BN, expected.f_BN)
    assert torch.equal(found.cost_B, expected.cost_B)


COMPILE = """
import re
import sys

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import optical_ray.transport.gpu.kernel as module

TYPES = {"finite_B": "*i1", "iterations_B": "*i64", "epsilon": "fp32", "tolerance": "fp32"}
TYPES |= dict.fromkeys(["num_student", "num_teacher", "num_dims", "cap"], "i32")


def compile(kernel, tile, **constants):
    constants |= {"LONGER_THAN": tile // 2, "TILE": tile, "MAX_TOKENS": module.MAX_TOKENS}
    signature = {name: "constexpr" if name in constants else TYPES.get(name, "*fp32") for name in kernel.arg_names}
    options = {"num_warps": module.WARPS[tile], "enable_fp_fusion": True}
    binary = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32), options=options)
    assert binary.asm["cubin"] and binary.metadata.shared <= 227 * 1024, (tile, binary.metadata.shared)
    assert "tf32" not in binary.asm["ptx"]


given, warm = {"GIVEN_COST": True, "HAS_START": False}, {"GIVEN_COST": False, "HAS_START": True}
compile(module._solve_kernel, 128, CHECK_EVERY=module.CHECK_EVERY, **warm)
compile(module._solve_kernel, 16, CHECK_EVERY=module.CHECK_EVERY, **given)
compile(module._coupling_kernel, 32)
compile(module._gradient_kernel, 128, WANT_TEACHER=True)
compile(module._gradient_kernel, 64, WANT_TEACHER=False)
mass = torch.ones(1, 1)
try:
    module.solve_tokens(torch.ones(1, 1, 4), torch.ones(1, 1, 4), mass, mass, 0.1, 1e-3, 10)
except ValueError as error:
    print(error)
"""


def test_the_kernels_compile_for_a_gpu_and_then_refuse_the_cpu(kernel, tmp_path):
    """In a process of its own, without the interpreter; no GPU is needed to compile for one."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment | {"TRITON_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "student_BND is on cpu; use backend=auto" in done.stdout


ON_A_GPU = """
import sys

import torch

import optical_ray.transport.gpu.kernel as module

problem = [tensor.to(sys.argv[1]) for tensor in torch.load(sys.argv[2])]
found = module.solve_tokens(*problem, 0.05, 1e-4, 400)
potentials = found.f_BN, found.g_BM
plan = module.coupling_from_tokens(*problem, *potentials, 0.05)
grads = module.envelope_gradient(torch.ones_like(found.cost_B), *problem, *potentials, found.finite_B, 0.05, True)
torch.save([tensor.cpu() for tensor in (found.cost_B, found.violation_B, found.cost_std_B, plan, *grads)], sys.argv[3])
"""


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: the compiled kernels do not run")
def test_a_gpu_finds_what_the_interpreter_finds(kernel, tmp_path):
    problem = make_problem([*LENGTHS, (60, 40), (120, 125)])
    torch.save(problem, tmp_path / "problem.pt")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", ON_A_GPU, "cuda", str(tmp_path / "problem.pt"), str(tmp_path / "found.pt")]
    subprocess.run(command, env=environment, check=True)
    on_gpu = torch.load(tmp_path / "found.pt")
    subprocess.run([*command[:3], "cpu", *command[4:]], env=environment | {"TRITON_INTERPRET": "1"}, check=True)
    for found, expected in zip(on_gpu, torch.load(tmp_path / "found.pt"), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
