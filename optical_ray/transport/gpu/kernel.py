"""Sinkhorn on a GPU, in one Triton kernel: a program for each pair, its cost and plan held in registers, every pair stops by itself.

Two token clouds of up to 128 tokens have a cost small enough to stay on the chip, so the kernel forms C = 1 - x e' itself and writes only
potentials and statistics; the plan is rebuilt from them where someone asks for it, and in the kernel of the gradient.

Scaling form on the plan itself: with T = a b exp((f + g - C) / epsilon), u = a / (T v) and v = b / (T' u). Every few iterations u and v
go into f and g, T is formed anew, and the violation is read off the very plan that the potentials stand for. Why float32 is enough at any
epsilon: the first iteration runs in the log domain, after which no update moves f or g by more than 2 epsilon log(1 / smallest mass), so
between two looks nothing that matters underflows; T does not exceed 1 after a look, so no sum overflows; and u and v are clamped, which
could only delay a pair, since Sinkhorn converges from any potentials.

The violation cannot fall below about 3e-8 / epsilon, the last digit of a float32 potential: 6e-6 at epsilon 0.005, 3e-4 at 1e-4.

B pairs, N student tokens, M teacher tokens, D dimensions. In a kernel, N and M are the tile, K is a chunk of D, and a name with a B in its
suffix is the address of the whole tensor.
"""

# A kernel's signature is Triton's language: its arguments are addresses and numbers, which no annotation tells apart.

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.jit import JITFunction

MAX_TOKENS = 128
CHECK_EVERY = 5  # iterations between two looks at the violation; a look costs about two iterations
CHUNK = tl.constexpr(16)  # dimensions a step; the least that a dot takes, and a dot holds its operands in registers
WARPS = {16: 1, 32: 2, 64: 8, 128: 16}
"""Tile to warps. A thread holds 8, 16, 16 or 32 entries of the cost and as many of the plan; the solver takes at most 128 registers and
spills none in the innermost loop (compiled for sm_90; with half the warps, 32 to 128 take 255 registers and spill more)."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the kernel wrote; all zeros for a pair without mass, or with a real cost that is not finite."""

    f_BN: Tensor
    """Student potentials in units of the cost, T = a b exp((f + g - C) / epsilon), float32 [B, N]; 0 without mass."""
    g_BM: Tensor
    """Teacher potentials, float32 [B, M]; 0 without mass."""
    cost_B: Tensor
    """<T, C>, float32 [B]."""
    divergence_B: Tensor
    """KL(T || a b') in nats, float32 [B]."""
    entropy_B: Tensor
    """H(T) in nats, float32 [B]."""
    violation_B: Tensor
    """L1 probability mass by which rows plus columns of T miss their marginals, float32 [B]."""
    cost_std_B: Tensor
    """Standard deviation of C over the pair's real entries, float32 [B]; 0 with fewer than two."""
    iterations_B: Tensor
    """int64 [B]."""
    finite_B: Tensor
    """Every real entry of C is finite, bool [B]."""


def is_available() -> bool:
    """Whether the kernels can run here: on a GPU, or in Triton's interpreter."""
    return is_interpreted() or torch.cuda.is_available()


def solve_tokens(
    student_BND: Tensor,
    teacher_BMD: Tensor,
    a_BN: Tensor,
    b_BM: Tensor,
    epsilon: float,
    tolerance: float,
    cap: int,
    start: tuple[Tensor, Tensor] | None = None,
) -> Found:
    """Solve every pair with the cost 1 - <x, e>.

    Args:
        student_BND: Student tokens of length 1, float32 [B, N, D]. At tokens without mass, anything: they are not read.
        teacher_BMD: Teacher tokens of length 1, float32 [B, M, D]; likewise.
        a_BN: Student mass, float32 [B, N]; rows sum to 1, or to 0 for an empty side.
        b_BM: Teacher mass, float32 [B, M]; likewise.
        epsilon: In units of the cost, positive.
        tolerance: A pair stops when its violation is at most this L1 probability mass.
        cap: Iterations, at least 1.
        start: Potentials (f, g) to start from, as a Found has them. Safe whatever they hold; near the answer they save iterations.

    Raises:
        ValueError: shapes, precision or device do not fit, or a side has more than `MAX_TOKENS`.
    """
    sizes = _check(epsilon, student_BND=student_BND, teacher_BMD=teacher_BMD, a_BN=a_BN, b_BM=b_BM)
    return _solve(sizes, student_BND, teacher_BMD, a_BN, b_BM, epsilon, tolerance, cap, start, given_cost=False)


def solve_costs(
    cost_BNM: Tensor,
    a_BN: Tensor,
    b_BM: Tensor,
    epsilon: float,
    tolerance: float,
    cap: int,
    start: tuple[Tensor, Tensor] | None = None,
) -> Found:
    """Solve every pair with a given cost, float32 [B, N, M]; the rest as in `solve_tokens`."""
    sizes = _check(epsilon, cost_BNM=cost_BNM, a_BN=a_BN, b_BM=b_BM)
    return _solve(sizes, cost_BNM, cost_BNM, a_BN, b_BM, epsilon, tolerance, cap, start, given_cost=True)


def coupling_from_tokens(
    student_BND: Tensor,
    teacher_BMD: Tensor,
    a_BN: Tensor,
    b_BM: Tensor,
    f_BN: Tensor,
    g_BM: Tensor,
    epsilon: float,
    finite_B: Tensor | None = None,
) -> Tensor:
    """The plans that potentials stand for, float32 [B, N, M], by the solver's own arithmetic; zero where `finite_B` is False."""
    finite_B = torch.ones(len(a_BN), dtype=torch.bool, device=a_BN.device) if finite_B is None else finite_B
    inputs = {"student_BND": student_BND, "teacher_BMD": teacher_BMD, "a_BN": a_BN, "b_BM": b_BM, "f_BN": f_BN, "g_BM": g_BM}
    sizes = _check(epsilon, **inputs, finite_B=finite_B)
    coupling_BNM = a_BN.new_zeros(sizes["B"], sizes["N"], sizes["M"])
    _launch(_coupling_kernel, sizes, (*inputs.values(), finite_B), (coupling_BNM,), float(epsilon))
    return coupling_BNM


def coupling_from_costs(
    cost_BNM: Tensor, a_BN: Tensor, b_BM: Tensor, f_BN: Tensor, g_BM: Tensor, epsilon: float, finite_B: Tensor | None = None
) -> Tensor:
    """The plans that potentials stand for under a given cost, float32 [B, N, M]; zero where `finite_B` is False."""
    real_BNM = (a_BN > 0)[:, :, None] & (b_BM > 0)[:, None, :]
    if finite_B is not None:
        real_BNM = real_BNM & finite_B[:, None, None]
    exponent_BNM = (f_BN[:, :, None] - cost_BNM + g_BM[:, None, :]) / epsilon + (a_BN.log()[:, :, None] + b_BM.log()[:, None, :])
    return exponent_BNM.exp().masked_fill(~real_BNM, 0.0)


def envelope_gradient(
    grad_B: Tensor,
    student_BND: Tensor,
    teacher_BMD: Tensor,
    a_BN: Tensor,
    b_BM: Tensor,
    f_BN: Tensor,
    g_BM: Tensor,
    finite_B: Tensor,
    epsilon: float,
    want_teacher: bool,
) -> tuple[Tensor, Tensor | None]:
    """Gradient of sum(grad * <T, C>) with T held constant: -grad T e in the student's tokens, -grad T' x in the teacher's.

    In the tokens as they come in, of length 1: what normalising does to a gradient is left to the caller. Exactly 0 at tokens without
    mass, in empty pairs and where `finite_B` is False, whatever the tokens hold.

    Returns:
        float32 [B, N, D], and float32 [B, M, D] or None.
    """
    inputs = {
        "grad_B": grad_B,
        "student_BND": student_BND,
        "teacher_BMD": teacher_BMD,
        "a_BN": a_BN,
        "b_BM": b_BM,
        "f_BN": f_BN,
        "g_BM": g_BM,
    }
    sizes = _check(epsilon, **inputs, finite_B=finite_B)
    student_grad_BND = student_BND.new_zeros(student_BND.shape)
    teacher_grad_BMD = teacher_BMD.new_zeros(teacher_BMD.shape) if want_teacher else None
    outputs = (student_grad_BND, student_grad_BND if teacher_grad_BMD is None else teacher_grad_BMD)
    _launch(_gradient_kernel, sizes, (*inputs.values(), finite_B), outputs, float(epsilon), WANT_TEACHER=want_teacher)
    return student_grad_BND, teacher_grad_BMD


def _solve(
    sizes: dict[str, int],
    left: Tensor,
    right: Tensor,
    a_BN: Tensor,
    b_BM: Tensor,
    epsilon: float,
    tolerance: float,
    cap: int,
    start: tuple[Tensor, Tensor] | None,
    given_cost: bool,
) -> Found:
    if cap < 1:
        raise ValueError(f"transport: a cap of {cap} iterations; expected at least 1")
    if start is not None:
        _check(epsilon, a_BN=a_BN, b_BM=b_BM, start_f_BN=start[0], start_g_BM=start[1])
    f_BN, g_BM = a_BN.new_zeros(a_BN.shape), b_BM.new_zeros(b_BM.shape)
    statistics_SB = a_BN.new_empty(5, sizes["B"])
    iterations_B = torch.empty(sizes["B"], dtype=torch.int64, device=a_BN.device)
    finite_B = torch.empty(sizes["B"], dtype=torch.bool, device=a_BN.device)
    _launch(
        _solve_kernel,
        sizes,
        (left, right, a_BN, b_BM, b_BM if start is None else start[1]),  # not f: the first half-iteration makes it from g
        (f_BN, g_BM, statistics_SB, iterations_B, finite_B),
        float(epsilon),
        float(tolerance),
        int(cap),
        CHECK_EVERY=CHECK_EVERY,
        GIVEN_COST=given_cost,
        HAS_START=start is not None,
    )
    cost_B, divergence_B, entropy_B, violation_B, cost_std_B = statistics_SB.unbind(0)
    return Found(f_BN, g_BM, cost_B, divergence_B, entropy_B, violation_B, cost_std_B, iterations_B, finite_B)


def _launch(
    kernel: Any, sizes: dict[str, int], inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], *numbers: float, **constants: int
) -> None:
    """Run a kernel over all pairs, once per tile that the padded batch has room for; a program whose pair has another tile returns at once.

    So no length has to reach the host, and an empty program is cheap. The tile depends on the pair alone, hence so does its result, to the
    last bit: not on the padding that its neighbours bring.
    """
    arguments = *(tensor.detach().contiguous() for tensor in inputs), *outputs, sizes["N"], sizes["M"], sizes.get("D", 0), *numbers
    smaller = -1
    with torch.cuda.device(outputs[0].get_device()):  # Triton launches on the current device, wherever the tensors are
        for tile, num_warps in WARPS.items():
            if sizes["B"] and smaller < max(sizes["N"], sizes["M"]):
                kernel[(sizes["B"],)](
                    *arguments,
                    **constants,
                    LONGER_THAN=smaller,
                    TILE=tile,
                    MAX_TOKENS=MAX_TOKENS,
                    num_warps=num_warps,
                    enable_fp_fusion=True,
                )
            smaller = tile


def _check(epsilon: float, **tensors: Tensor) -> dict[str, int]:
    """Sizes by letter, read off the tensors by the suffixes of their names."""
    if not epsilon > 0.0:
        raise ValueError(f"transport: epsilon {epsilon:g}; the kernel needs it above 0")
    sizes: dict[str, int] = {}
    for name, tensor in tensors.items():
        letters = name.rpartition("_")[2]
        if tensor.dim() != len(letters) or any(sizes.setdefault(*item) != item[1] for item in zip(letters, tensor.shape, strict=True)):
            expected = ", ".join(f"{letter}={sizes[letter]}" if letter in sizes else letter for letter in letters)
            raise ValueError(f"transport: {name} is {list(tensor.shape)}; expected [{expected}]")
        expected_dtype = torch.bool if name == "finite_B" else torch.float32
        if tensor.dtype != expected_dtype:
            raise ValueError(
                f"transport.backend=triton: {name} is {tensor.dtype}; expected {expected_dtype}: convert it, or use backend=auto"
            )
        if not tensor.is_cuda and not is_interpreted():
            raise ValueError(
                f"transport.backend=triton: {name} is on {tensor.device}; use backend=auto, "
                "or set TRITON_INTERPRET=1 before Python starts: that runs the kernels on the CPU, slowly, for tests"
            )
    if max(sizes["N"], sizes["M"]) > MAX_TOKENS:
        raise ValueError(
            f"transport.backend=triton: {sizes['N']} student and {sizes['M']} teacher tokens; the kernel takes at most {MAX_TOKENS}; "
            "use backend=auto, or shorter sentences"
        )
    return sizes


def is_interpreted() -> bool:
    return not isinstance(_solve_kernel, JITFunction)


@triton.jit(do_not_specialize=["num_student", "num_teacher", "cap"])
def _solve_kernel(
    left,  # student_BND, or cost_BNM
    right,  # teacher_BMD; not read with a given cost
    a_BN,
    b_BM,
    start_g_BM,
    f_BN,
    g_BM,
    statistics_SB,
    iterations_B,
    finite_B,
    num_student,
    num_teacher,
    num_dims,
    epsilon,
    tolerance,
    cap,
    CHECK_EVERY: tl.constexpr,
    GIVEN_COST: tl.constexpr,
    HAS_START: tl.constexpr,
    LONGER_THAN: tl.constexpr,
    TILE: tl.constexpr,
    MAX_TOKENS: tl.constexpr,
):
    pair = tl.program_id(0).to(tl.int64)
    longest = tl.maximum(_length(a_BN, pair, num_student, MAX_TOKENS), _length(b_BM, pair, num_teacher, MAX_TOKENS))
    if (longest <= LONGER_THAN) | (longest > TILE):
        return
    a_N, b_M = _vector(a_BN, pair, num_student, TILE), _vector(b_BM, pair, num_teacher, TILE)
    real_NM = (a_N > 0)[:, None] & (b_M > 0)[None, :]
    if GIVEN_COST:
        token = tl.arange(0, TILE)
        cost_NM = tl.load(left + (pair * num_student + token)[:, None] * num_teacher + token[None, :], mask=real_NM, other=0.0)
        # Adds 0, but hands the cost over in a dot's layout, 4 x 4 entries a thread: an iteration then has a third of the instructions.
        zero_NK = tl.zeros([TILE, CHUNK], tl.float32)
        cost_NM = tl.dot(zero_NK, tl.trans(zero_NK), cost_NM, input_precision="ieee")
    else:
        cost_NM = _cost(left, right, pair, a_N, b_M, num_student, num_teacher, num_dims, TILE)
    num_real = _total(tl.where(real_NM, 1.0, 0.0))
    finite = _total(tl.where(real_NM & (tl.abs(cost_NM) < float("inf")), 1.0, 0.0)) == num_real
    # A pair without a plan loses its mass here: every number below comes out 0, and the loop does not start.
    num_real = tl.where(finite, num_real, 0.0)
    solvable = num_real > 0
    a_N, b_M = tl.where(solvable, a_N, 0.0), tl.where(solvable, b_M, 0.0)
    real_NM = (a_N > 0)[:, None] & (b_M > 0)[None, :]
    cost_NM = tl.where(real_NM, cost_NM, 0.0)
    inverse = 1.0 / epsilon

    if HAS_START:
        g_M = _vector(start_g_BM, pair, num_teacher, TILE)
        g_M = tl.where((b_M > 0) & (tl.abs(g_M) < float("inf")), g_M, 0.0)
        # Only differences count; without the shift, large numbers would take the last digits of f and g.
        g_M -= tl.max(tl.where(b_M > 0, g_M, float("-inf")), axis=0)
    else:
        # c-transforms: f + g <= C, with equality somewhere in every row and column.
        f_N = tl.min(tl.where(real_NM, cost_NM, float("inf")), axis=1)
        g_M = tl.min(tl.where(real_NM, cost_NM - f_N[:, None], float("inf")), axis=0)
    g_M = tl.where(b_M > 0, g_M, 0.0)
    # The first iteration, in the log domain: it makes safe potentials of any g, and keeps a g that was right.
    log_a_N, log_b_M = _log_mass(a_N), _log_mass(b_M)
    f_N = -epsilon * _log_sum((g_M[None, :] - cost_NM) * inverse + log_b_M[None, :], 1)
    g_M = -epsilon * _log_sum((f_N[:, None] - cost_NM) * inverse + log_a_N[:, None], 0)
    iteration = tl.where(solvable, 1, 0)
    plan_NM = _plan(cost_NM, f_N, g_M, a_N, b_M, inverse)
    violation = _violation(plan_NM, a_N, b_M)
    while (violation > tolerance) & (iteration < cap):
        num_steps = tl.minimum(CHECK_EVERY - iteration % CHECK_EVERY, cap - iteration)
        u_N, v_M = tl.full([TILE], 1.0, tl.float32), tl.full([TILE], 1.0, tl.float32)
        for _ in range(num_steps):
            u_N = _scaling(a_N, tl.sum(plan_NM * v_M[None, :], axis=1))
            v_M = _scaling(b_M, tl.sum(plan_NM * u_N[:, None], axis=0))
        f_N += epsilon * tl.log(u_N)
        g_M += epsilon * tl.log(v_M)
        iteration += num_steps
        plan_NM = _plan(cost_NM, f_N, g_M, a_N, b_M, inverse)
        violation = _violation(plan_NM, a_N, b_M)

    mean = _total(cost_NM) / tl.maximum(num_real, 1.0)
    deviation_NM = tl.where(real_NM, cost_NM - mean, 0.0)
    num_pairs = tl.num_programs(0)
    tl.store(statistics_SB + pair, _total(plan_NM * cost_NM))
    tl.store(statistics_SB + num_pairs + pair, _total(plan_NM * ((f_N[:, None] - cost_NM + g_M[None, :]) * inverse)))
    tl.store(statistics_SB + 2 * num_pairs + pair, -_total(plan_NM * tl.log(tl.maximum(plan_NM, 1e-37))))
    tl.store(statistics_SB + 3 * num_pairs + pair, violation)
    tl.store(statistics_SB + 4 * num_pairs + pair, tl.sqrt(_total(deviation_NM * deviation_NM) / tl.maximum(num_real - 1.0, 1.0)))
    tl.store(iterations_B + pair, iteration.to(tl.int64))
    tl.store(finite_B + pair, finite)
    token = tl.arange(0, TILE)
    tl.store(f_BN + pair * num_student + token, tl.where(a_N > 0, f_N, 0.0), mask=token < num_student)
    tl.store(g_BM + pair * num_teacher + token, tl.where(b_M > 0, g_M, 0.0), mask=token < num_teacher)


@triton.jit(do_not_specialize=["num_student", "num_teacher"])
def _coupling_kernel(
    student_BND,
    teacher_BMD,
    a_BN,
    b_BM,
    f_BN,
    g_BM,
    finite_B,
    coupling_BNM,
    num_student,
    num_teacher,
    num_dims,
    epsilon,
    LONGER_THAN: tl.constexpr,
    TILE: tl.constexpr,
    MAX_TOKENS: tl.constexpr,
):
    pair = tl.program_id(0).to(tl.int64)
    longest = _longest_solved(a_BN, b_BM, finite_B, pair, num_student, num_teacher, MAX_TOKENS)
    if (longest <= LONGER_THAN) | (longest > TILE):
        return
    a_N, b_M = _vector(a_BN, pair, num_student, TILE), _vector(b_BM, pair, num_teacher, TILE)
    plan_NM = _rebuilt(student_BND, teacher_BMD, f_BN, g_BM, pair, a_N, b_M, num_student, num_teacher, num_dims, epsilon, TILE)
    token = tl.arange(0, TILE)
    inside_NM = (token < num_student)[:, None] & (token < num_teacher)[None, :]
    tl.store(coupling_BNM + (pair * num_student + token)[:, None] * num_teacher + token[None, :], plan_NM, mask=inside_NM)


@triton.jit(do_not_specialize=["num_student", "num_teacher"])
def _gradient_kernel(
    grad_B,
    student_BND,
    teacher_BMD,
    a_BN,
    b_BM,
    f_BN,
    g_BM,
    finite_B,
    student_grad_BND,
    teacher_grad_BMD,
    num_student,
    num_teacher,
    num_dims,
    epsilon,
    WANT_TEACHER: tl.constexpr,
    LONGER_THAN: tl.constexpr,
    TILE: tl.constexpr,
    MAX_TOKENS: tl.constexpr,
):
    pair = tl.program_id(0).to(tl.int64)
    longest = _longest_solved(a_BN, b_BM, finite_B, pair, num_student, num_teacher, MAX_TOKENS)
    if (longest <= LONGER_THAN) | (longest > TILE):
        return
    a_N, b_M = _vector(a_BN, pair, num_student, TILE), _vector(b_BM, pair, num_teacher, TILE)
    plan_NM = _rebuilt(student_BND, teacher_BMD, f_BN, g_BM, pair, a_N, b_M, num_student, num_teacher, num_dims, epsilon, TILE)
    weight_NM = -tl.load(grad_B + pair) * plan_NM
    token = tl.arange(0, TILE)
    for first in range(0, num_dims, CHUNK):
        dim_K = first + tl.arange(0, CHUNK)
        teacher_MK = _tokens(teacher_BMD, pair, b_M, num_teacher, dim_K, num_dims, TILE)
        cell_NK = (pair * num_student + token)[:, None] * num_dims + dim_K[None, :]
        inside_NK = (token < num_student)[:, None] & (dim_K < num_dims)[None, :]
        tl.store(student_grad_BND + cell_NK, tl.dot(weight_NM, teacher_MK, input_precision="ieee"), mask=inside_NK)
        if WANT_TEACHER:
            student_NK = _tokens(student_BND, pair, a_N, num_student, dim_K, num_dims, TILE)
            cell_MK = (pair * num_teacher + token)[:, None] * num_dims + dim_K[None, :]
            inside_MK = (token < num_teacher)[:, None] & (dim_K < num_dims)[None, :]
            tl.store(teacher_grad_BMD + cell_MK, tl.dot(tl.trans(weight_NM), student_NK, input_precision="ieee"), mask=inside_MK)


@triton.jit
def _length(mass_BN, pair, num_tokens, MAX_TOKENS: tl.constexpr):
    """One past the last token that carries mass."""
    token = tl.arange(0, MAX_TOKENS)
    mass = tl.load(mass_BN + pair * num_tokens + token, mask=token < num_tokens, other=0.0)
    return tl.max(tl.where(mass > 0, token + 1, 0), axis=0)


@triton.jit
def _longest_solved(a_BN, b_BM, finite_B, pair, num_student, num_teacher, MAX_TOKENS: tl.constexpr):
    """The longer side of a pair that has a plan; -1 for the others."""
    num_a, num_b = _length(a_BN, pair, num_student, MAX_TOKENS), _length(b_BM, pair, num_teacher, MAX_TOKENS)
    return tl.where((tl.minimum(num_a, num_b) > 0) & tl.load(finite_B + pair), tl.maximum(num_a, num_b), -1)


@triton.jit
def _rebuilt(student_BND, teacher_BMD, f_BN, g_BM, pair, a_N, b_M, num_student, num_teacher, num_dims, epsilon, TILE: tl.constexpr):
    """The plan that tokens and potentials stand for."""
    f_N, g_M = _vector(f_BN, pair, num_student, TILE), _vector(g_BM, pair, num_teacher, TILE)
    cost_NM = _cost(student_BND, teacher_BMD, pair, a_N, b_M, num_student, num_teacher, num_dims, TILE)
    return _plan(cost_NM, f_N, g_M, a_N, b_M, 1.0 / epsilon)


@triton.jit
def _vector(values_BN, pair, num_tokens, TILE: tl.constexpr):
    token = tl.arange(0, TILE)
    return tl.load(values_BN + pair * num_tokens + token, mask=token < num_tokens, other=0.0)


@triton.jit
def _tokens(tokens_BND, pair, mass_N, num_tokens, dim_K, num_dims, TILE: tl.constexpr):
    """A chunk of the tokens' dimensions; tokens without mass, and dimensions past the last, are 0 and not read."""
    cell_NK = (pair * num_tokens + tl.arange(0, TILE))[:, None] * num_dims + dim_K[None, :]
    return tl.load(tokens_BND + cell_NK, mask=(mass_N > 0)[:, None] & (dim_K < num_dims)[None, :], other=0.0)


@triton.jit
def _cost(student_BND, teacher_BMD, pair, a_N, b_M, num_student, num_teacher, num_dims, TILE: tl.constexpr):
    """1 - x e', in float32 throughout: tf32 has 10 bits, and an error of 1e-3 over an epsilon of 0.02 would move the plan by 5 %."""
    cosine_NM = tl.zeros([TILE, TILE], tl.float32)
    for first in range(0, num_dims, CHUNK):
        dim_K = first + tl.arange(0, CHUNK)
        student_NK = _tokens(student_BND, pair, a_N, num_student, dim_K, num_dims, TILE)
        teacher_MK = _tokens(teacher_BMD, pair, b_M, num_teacher, dim_K, num_dims, TILE)
        cosine_NM = tl.dot(student_NK, tl.trans(teacher_MK), cosine_NM, input_precision="ieee")
    return 1.0 - cosine_NM


@triton.jit
def _plan(cost_NM, f_N, g_M, a_N, b_M, inverse):
    """T = a b exp((f + g - C) / epsilon), 0 without mass. f - C comes first: they are close, so their difference is nearly exact."""
    f_N = tl.where(a_N > 0, f_N, float("-inf"))
    g_M = tl.where(b_M > 0, g_M, float("-inf"))
    return tl.exp((f_N[:, None] - cost_NM + g_M[None, :]) * inverse) * a_N[:, None] * b_M[None, :]


@triton.jit
def _violation(plan_NM, a_N, b_M):
    return tl.sum(tl.abs(tl.sum(plan_NM, axis=1) - a_N), axis=0) + tl.sum(tl.abs(tl.sum(plan_NM, axis=0) - b_M), axis=0)


@triton.jit
def _scaling(mass_N, sum_N):
    """mass / sum, held in a range whose products fit into float32; 1e-18 without mass, where the plan is 0 anyway."""
    return tl.minimum(tl.maximum(mass_N / tl.maximum(sum_N, 1e-37), 1e-18), 1e18)


@triton.jit
def _log_mass(mass_N):
    return tl.where(mass_N > 0, tl.log(tl.maximum(mass_N, 1e-37)), float("-inf"))


@triton.jit
def _log_sum(exponent_NM, axis: tl.constexpr):
    """log sum exp; 0 where every exponent is -inf."""
    top = tl.max(exponent_NM, axis=axis)
    top = tl.where(top > float("-inf"), top, 0.0)
    return top + tl.log(tl.maximum(tl.sum(tl.exp(exponent_NM - tl.expand_dims(top, axis)), axis=axis), 1.0))


@triton.jit
def _total(values_NM):
    return tl.sum(tl.sum(values_NM, axis=1), axis=0)
