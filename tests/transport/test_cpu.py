"""What only the compiled backend has: vectors, Newton steps, threads, its own scratch."""

import ast
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit
from transport.problems import make_problem

from optical_ray.transport import SinkhornConfig, solve_sinkhorn
from optical_ray.transport.cpu import simd
from optical_ray.transport.cpu import solve as cpu


@njit
def _exp(source, target):
    for at in range(0, len(source), simd.lanes(source)):
        simd.store(target, at, simd.exp(source, simd.load(source, at)))


@njit
def _transpose(source, stride, target, target_stride):
    simd.transpose_block(source, 0, stride, target, 0, target_stride)


@njit
def _folds(source):
    vector = simd.load(source, 0)
    return simd.total(vector), simd.smallest(vector), simd.largest(vector)


@pytest.mark.parametrize(("dtype", "lowest", "error"), [(np.float32, -87, 3e-7), (np.float64, -708, 1e-15)])
def test_exp_is_exact_to_the_last_places_and_zero_beyond(dtype, lowest, error):
    x = np.concatenate([np.linspace(lowest, 20, 4080), [-1e4, -3e38, lowest - 1, 0, -0.0, 1e-30, 1, -1, 80, 2, 3, 4, 5, 6, 7, 8]]).astype(
        dtype
    )
    found = np.empty_like(x)
    _exp(x, found)
    inside = x >= lowest
    np.testing.assert_allclose(found[inside], np.exp(x[inside].astype(np.longdouble)).astype(dtype), rtol=error)
    assert (found[~inside] == 0).all()
    assert found[x == 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_blocks_are_transposed_and_lanes_folded(dtype):
    size = 64 // np.dtype(dtype).itemsize
    source = np.random.default_rng(0).random((size, 40)).astype(dtype)
    target = np.zeros((size, 32), dtype)
    _transpose(source.reshape(-1), 40, target.reshape(-1), 32)
    np.testing.assert_array_equal(target[:, :size], source[:, :size].T)
    total, smallest, largest = _folds(source.reshape(-1))
    lanes = source.reshape(-1)[:size]
    assert total == pytest.approx(lanes.sum(), rel=1e-6)
    assert (smallest, largest) == (lanes.min(), lanes.max())


def hard(dtype=torch.float32):
    """Pairs that Sinkhorn alone needs thousands of iterations for."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(6, 40, 64, generator=generator, dtype=torch.float64)
    noisy = tokens[:, torch.randperm(40, generator=generator)] * 0.5 + torch.randn(6, 40, 64, generator=generator, dtype=torch.float64)
    units = (torch.nn.functional.normalize(cloud, dim=2) for cloud in (tokens, noisy))
    student, teacher = units
    a, b = torch.zeros(6, 40, dtype=torch.float64), torch.zeros(6, 40, dtype=torch.float64)
    for pair in range(6):
        a[pair, : 40 - 4 * pair] = 1 / (40 - 4 * pair)
        b[pair, : 20 + 2 * pair] = 1 / (20 + 2 * pair)
    return (1 - student @ teacher.transpose(1, 2)).to(dtype), a, b


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("epsilon", [0.02, 0.005, 0.001])
def test_newton_steps_finish_what_sinkhorn_does_not(dtype, epsilon):
    problem = hard(dtype)
    plan = solve_sinkhorn(*problem, SinkhornConfig(epsilon=epsilon, tolerance=1e-5, max_iterations=1000, backend="cpu"))
    assert plan.converged_B.all(), plan.violation_B
    assert plan.iterations_B.max() <= 400
    violation = (plan.coupling_BNM.sum(2) - problem[1]).abs().sum(1) + (plan.coupling_BNM.sum(1) - problem[2]).abs().sum(1)
    assert violation.max() <= 1.2e-5


def test_newton_reaches_the_plan_that_sinkhorn_reaches():
    problem = hard(torch.float64)
    exact = {"epsilon": 0.03, "tolerance": 1e-8, "max_iterations": 200_000}
    newton = solve_sinkhorn(*problem, SinkhornConfig(**exact, backend="cpu"))
    sinkhorn = solve_sinkhorn(*problem, SinkhornConfig(**exact, backend="torch"))
    assert newton.converged_B.all()
    assert newton.iterations_B.max() < sinkhorn.iterations_B.max() / 3
    torch.testing.assert_close(newton.coupling_BNM, sinkhorn.coupling_BNM, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_number_of_threads_changes_nothing(dtype, monkeypatch):
    monkeypatch.setattr(cpu, "WORK_PER_THREAD", 1)
    lengths = [(1 + 7 * k % 40, 1 + 11 * k % 40) for k in range(50)]
    problem = make_problem(lengths, dtype=dtype)
    given = (*problem, 0.02, 1e-4, 1000)
    coupling, solution = cpu.solve_pairs(*given, threads=1)
    for threads in (2, 5):
        again, found = cpu.solve_pairs(*given, threads=threads)
        assert torch.equal(again, coupling)
        for name in ("f_BN", "g_BM", "cost_B", "iterations_B", "cost_std_B"):
            assert torch.equal(getattr(found, name), getattr(solution, name)), name


def test_as_many_threads_work_as_torch_was_given(monkeypatch):
    """Resources.threads sets torch's; a batch too small to share stays on the caller's thread."""
    asked = []
    run = cpu._run
    monkeypatch.setattr(cpu, "_run", lambda threads, *given: (asked.append(threads), run(threads, *given)))
    before = torch.get_num_threads()
    try:
        for threads, work, expected in ((2, 500, 2), (1, 500, 1), (2, 10**9, 1)):
            monkeypatch.setattr(cpu, "WORK_PER_THREAD", work)
            torch.set_num_threads(threads)
            solve_sinkhorn(*hard(), SinkhornConfig())
            assert asked[-1] == expected
    finally:
        torch.set_num_threads(before)


def test_two_threads_are_at_work_at_once(monkeypatch):
    """More processor time than time: the GIL is released and the list shared. Not how fast: the machine may be busy with other things."""
    monkeypatch.setattr(cpu, "WORK_PER_THREAD", 1)
    problem = make_problem([(60, 60)] * 64, dtype=torch.float32)
    cpu.solve_pairs(*problem, 0.002, 1e-4, 100_000, threads=2)
    shares = []
    for _ in range(5):
        wall, used = time.perf_counter(), time.process_time()
        for _ in range(10):
            cpu.solve_pairs(*problem, 0.002, 1e-4, 100_000, threads=2)
        shares.append((time.process_time() - used) / (time.perf_counter() - wall))
    cores = len(os.sched_getaffinity(0))
    if max(shares) <= 1.1 and os.getloadavg()[0] > cores:
        pytest.skip(f"load {os.getloadavg()[0]:.0f} on {cores} cores: a process gets less than a core of them")
    assert max(shares) > 1.1 or cores == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_openmp_pythons_threads_find_the_same(dtype, monkeypatch):
    monkeypatch.setattr(cpu, "WORK_PER_THREAD", 1)
    given = (*hard(dtype), 0.02, 1e-4, 1000)
    expected = cpu.solve_pairs(*given, threads=2)[0]
    monkeypatch.setattr(cpu, "_has_safe_pool", lambda: False)
    assert torch.equal(cpu.solve_pairs(*given, threads=3)[0], expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_pivot_that_rounding_takes_costs_nobody_a_plan(threads, monkeypatch):
    """Masses over 29 orders of magnitude at a tiny epsilon: the Laplacian's factorisation meets a zero."""
    monkeypatch.setattr(cpu, "WORK_PER_THREAD", 1)
    generator = torch.Generator().manual_seed(3)
    cost = torch.rand(1, 32, 32, generator=generator)
    masses = [10 ** (-35 * torch.rand(1, 32, generator=generator).double()) for _ in "ab"]
    a, b = (torch.where(mass / mass.sum() < 1e-29, 0.0, mass / mass.sum()) for mass in masses)
    easy = make_problem([(32, 32)] * 63, dtype=torch.float32, equal=True)
    cost, a, b = (
        torch.cat([hard_one, easy_ones])
        for hard_one, easy_ones in zip(
            (cost, a, b), (easy.cost[:, :32, :32], easy.a[:, :32].double(), easy.b[:, :32].double()), strict=True
        )
    )
    coupling, solution = cpu.solve_pairs(cost, a, b, 1e-4, 1e-4, 4000, threads=threads)
    assert solution.iterations_B.gt(0).all()
    assert coupling.isfinite().all()
    torch.testing.assert_close(coupling.sum((1, 2)), torch.ones(64), atol=1e-3, rtol=0)
    violation = (coupling.sum(2) - a).abs().sum(1) + (coupling.sum(1) - b).abs().sum(1)
    torch.testing.assert_close(solution.violation_B.double(), violation, atol=1e-5, rtol=1e-4)


FORKED = """
import os, torch
from optical_ray.transport import SinkhornConfig, solve_sinkhorn
torch.set_num_threads(1)  # for torch itself: its own threads do not survive a fork either
problem = torch.rand(64, 32, 32), torch.full((64, 32), 1 / 32), torch.full((64, 32), 1 / 32)
torch.set_num_threads(2)
plan = solve_sinkhorn(*problem, SinkhornConfig()).coupling_BNM.numpy()
child = os.fork()
if child == 0:
    os._exit(0 if (solve_sinkhorn(*problem, SinkhornConfig()).coupling_BNM.numpy() == plan).all() else 1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_forked_child_solves_on_one_thread():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def test_the_disk_cache_is_keyed_by_every_source_that_machine_code_depends_on():
    folder = Path(cpu.__file__).parent
    constants = {f"optical_ray.transport.{name}" for name in ("config", "log_domain", "marginals")}  # hashed beside the folder's own files
    for path in folder.glob("*.py"):
        if path.name == "solve.py":
            continue
        imported = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        own = {name for name in imported if name.startswith("optical_ray.")}
        assert {name for name in own if not name.startswith("optical_ray.transport.cpu")} <= constants, path


def test_callers_in_several_threads_do_not_disturb_each_other():
    problem = hard()
    expected = solve_sinkhorn(*problem, SinkhornConfig(epsilon=0.02)).coupling_BNM
    found = [None] * 6

    def call(place):
        for _ in range(5):
            found[place] = solve_sinkhorn(*problem, SinkhornConfig(epsilon=0.02)).coupling_BNM

    callers = [threading.Thread(target=call, args=(place,)) for place in range(len(found))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(torch.equal(coupling, expected) for coupling in found)


def test_scratch_does_not_grow_with_the_batch_and_its_contents_do_not_matter():
    small, large = make_problem([(9, 4)], seed=1), hard(torch.float64)
    expected = cpu.solve_pairs(*small, 0.1, 1e-6, 1000)[0]
    cpu.solve_pairs(*large, 0.005, 1e-4, 1000)
    for array in cpu._scratch.of(1, 11, 5, np.dtype(np.float64)):
        array[:] = np.nan if array.dtype.kind == "f" else -1
    assert torch.equal(cpu.solve_pairs(*small, 0.1, 1e-6, 1000)[0], expected)
    held = sum(array.nbytes for array in cpu._scratch.of(1, 40, 40, np.dtype(np.float32)))
    assert held < 100_000  # three matrices of 48 x 48, whatever the batch


def test_inputs_are_not_written_to():
    problem = make_problem(dtype=torch.float32)
    copies = [tensor.clone() for tensor in problem]
    solve_sinkhorn(*problem, SinkhornConfig(epsilon=0.01))
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(problem, copies, strict=True))


def test_strided_inputs_are_read_as_what_they_are():
    problem = make_problem(dtype=torch.float32)
    strided = problem.cost.transpose(1, 2).contiguous().transpose(1, 2)
    assert not strided.is_contiguous()
    expected = solve_sinkhorn(*problem, SinkhornConfig()).coupling_BNM
    assert torch.equal(solve_sinkhorn(strided, problem.a, problem.b, SinkhornConfig()).coupling_BNM, expected)
    assert expected.is_contiguous()


def test_tokens_without_mass_between_others_are_gathered_around():
    cost, a, b = make_problem([(20, 20)], equal=True)
    a[0, [0, 3, 7, 8]] = 0
    b[0, [1, 19]] = 0
    a, b = a / a.sum(), b / b.sum()
    plan = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=0.05, tolerance=1e-9, max_iterations=10_000, backend="cpu"))
    reference = solve_sinkhorn(cost, a, b, SinkhornConfig(epsilon=0.05, tolerance=1e-9, max_iterations=10_000, backend="torch"))
    torch.testing.assert_close(plan.coupling_BNM, reference.coupling_BNM, atol=1e-8, rtol=0)
