"""From token clouds to per-pair losses: what is differentiated, what is left out, and under which of torch's modes it works."""

import pickle

import pytest
import torch
from torch.utils.checkpoint import checkpoint
from transport.problems import LENGTHS, make_clouds

from optical_ray.errors import NumericsError
from optical_ray.transport import (
    GroundCost,
    SinkhornConfig,
    norm_mass,
    solve_sinkhorn,
    transport_loss,
    uniform_mass,
    weighted_mass,
)

PLAIN = GroundCost(None)
KINDS = pytest.mark.parametrize("gradient", ["envelope", "implicit"])


def price(clouds, cost=PLAIN, masses=(None, None), **fields):
    """(loss, gradient of the student's tokens, gradient of the teacher's)"""
    student, student_mask, teacher, teacher_mask = clouds
    student, teacher = student.clone().requires_grad_(), teacher.clone().requires_grad_()
    loss = transport_loss(student, student_mask, teacher, teacher_mask, cost, SinkhornConfig(**fields), *masses)
    loss.value_B.sum().backward()
    return loss, student.grad, teacher.grad


def test_the_value_is_the_price_of_the_plan(clouds):
    student, student_mask, teacher, teacher_mask = clouds
    cost = GroundCost(torch.full((6,), 0.1), unit=0.5)
    loss, _, _ = price(clouds, cost, epsilon=0.3)
    matrix = torch.stack(
        [1 - torch.cosine_similarity(x[:, None] - 0.1, e[None] - 0.1, dim=2) for x, e in zip(student, teacher, strict=True)]
    )
    plan = solve_sinkhorn(matrix, uniform_mass(student_mask), uniform_mass(teacher_mask), SinkhornConfig(epsilon=0.15))
    torch.testing.assert_close(loss.value_B, (plan.coupling_BNM * matrix).sum((1, 2)), atol=1e-5, rtol=1e-5)
    assert loss.plan.epsilon == pytest.approx(0.15)
    assert loss.mean().item() == pytest.approx(loss.value_B.mean().item())


@KINDS
@pytest.mark.parametrize("side", [0, 1])
def test_the_gradient_of_the_tokens_agrees_with_finite_differences(gradient, side):
    """Of the regularised cost for `envelope`, of the loss itself for `implicit`; in float64, for either side's tokens."""
    clouds = list(make_clouds(torch.float64))
    cost = GroundCost(torch.full((6,), 0.1, dtype=torch.float64))
    tight = {"epsilon": 0.3, "tolerance": 1e-12, "max_iterations": 100_000, "gradient": gradient}
    analytic = price(clouds, cost, **tight)[1 + side]
    direction = torch.randn(clouds[2 * side].shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def value(step):
        moved = [*clouds]
        moved[2 * side] = clouds[2 * side] + step * direction
        loss = price(moved, cost, **tight)[0]
        return (loss.plan.regularised_cost_B if gradient == "envelope" else loss.value_B).sum().item()

    numeric = (value(1e-5) - value(-1e-5)) / 2e-5
    assert (analytic * direction).sum().item() == pytest.approx(numeric, rel=1e-5)
    assert analytic[~clouds[2 * side + 1]].abs().sum() == 0


@KINDS
def test_gradcheck_of_the_whole_loss_in_float64(gradient):
    student, student_mask, teacher, teacher_mask = make_clouds(torch.float64, lengths=((2, 3), (3, 1)), dimension=3)
    solver = SinkhornConfig(epsilon=0.4, tolerance=1e-12, max_iterations=100_000, gradient=gradient)

    def value(tokens):
        loss = transport_loss(tokens, student_mask, teacher, teacher_mask, PLAIN, solver)
        # The envelope's derivative is that of the regularised cost: give gradcheck the value that belongs to it.
        return loss.value_B if gradient == "implicit" else loss.value_B + (loss.plan.regularised_cost_B - loss.plan.cost_B)

    assert torch.autograd.gradcheck(value, student.requires_grad_(), atol=1e-5, rtol=1e-4)


@KINDS
def test_an_empty_pair_costs_nothing_and_has_no_gradient(clouds, gradient):
    clouds[1][1] = False
    clouds[3][4] = False
    loss, student_grad, _ = price(clouds, gradient=gradient)
    assert loss.plan.empty_B.tolist() == [False, True, False, False, True]
    assert loss.value_B[[1, 4]].abs().sum() == 0
    assert student_grad[[1, 4]].abs().sum() == 0
    assert student_grad[[0, 2]].abs().sum((1, 2)).gt(0).all()
    assert loss.mean().item() == pytest.approx(loss.value_B[[0, 2, 3]].mean().item())
    assert loss.diagnostics().empty == 2


def test_a_batch_of_empty_pairs_has_a_mean_of_zero_and_a_gradient_of_zero(clouds):
    student, student_mask, teacher, teacher_mask = clouds
    leaf = student.requires_grad_()
    loss = transport_loss(leaf, torch.zeros_like(student_mask), teacher, teacher_mask, PLAIN, SinkhornConfig())
    loss.mean().backward()
    assert loss.mean().item() == 0
    assert leaf.grad.abs().sum() == 0


@KINDS
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_broken_token_is_named_or_skipped_and_spoils_no_other_pair(clouds, poison, gradient):
    clean, expected, _ = price(clouds, gradient=gradient)
    clouds[0][3, 1] = poison
    with pytest.raises(NumericsError, match=r"pair 3 of the batch \(1 of 5\)"):
        price(clouds)
    loss, student_grad, teacher_grad = price(clouds, gradient=gradient, on_nonfinite="skip")
    others = [0, 1, 2, 4]
    torch.testing.assert_close(student_grad[others], expected[others])
    torch.testing.assert_close(loss.value_B[others], clean.value_B[others])
    assert student_grad[3].abs().sum() == teacher_grad[3].abs().sum() == loss.value_B[3] == 0
    assert (loss.diagnostics().skipped, loss.diagnostics().empty) == (1, 0)
    assert loss.mean().item() == pytest.approx(clean.value_B[others].mean().item())


def test_nan_at_padding_reaches_nothing(clouds):
    """Attention over a fully masked row leaves NaN there."""
    _, expected, _ = price(clouds)
    clouds[0][~clouds[1]] = float("nan")
    clouds[2][~clouds[3]] = float("nan")
    loss, student_grad, teacher_grad = price(clouds)
    torch.testing.assert_close(student_grad, expected)
    assert teacher_grad.isfinite().all()
    assert loss.plan.converged_B.all()


@KINDS
def test_a_zero_vector_has_cosine_zero_and_no_gradient(clouds, gradient):
    clouds[0][0, 0] = 0
    clouds[2][1, 0] = 0
    loss, student_grad, teacher_grad = price(clouds, gradient=gradient)
    assert loss.value_B.isfinite().all()
    assert student_grad.isfinite().all()
    assert teacher_grad.isfinite().all()
    assert student_grad[0, 0].abs().sum() == teacher_grad[1, 0].abs().sum() == 0
    assert student_grad[0, 1].abs().sum() > 0


def test_a_token_at_the_centre_has_no_direction(clouds):
    centre = clouds[0][0, 0].clone()
    _, student_grad, _ = price(clouds, GroundCost(centre))
    assert student_grad[0, 0].abs().sum() == 0
    assert student_grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_tokens_are_solved_in_float32_also_under_autocast(clouds, dtype):
    student, student_mask, teacher, teacher_mask = clouds
    halves = student.to(dtype), student_mask, teacher.to(dtype), teacher_mask
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, half_grad, _ = price(halves)
    full, full_grad, _ = price((halves[0].float(), student_mask, halves[2].float(), teacher_mask))
    assert half.value_B.dtype == torch.float32
    torch.testing.assert_close(half.value_B, full.value_B)
    assert half_grad.dtype == dtype
    torch.testing.assert_close(half_grad.float(), full_grad, atol=2e-3, rtol=1e-2)


def test_no_grad_prices_without_a_graph(clouds):
    student, student_mask, teacher, teacher_mask = clouds
    with torch.no_grad():
        loss = transport_loss(student.requires_grad_(), student_mask, teacher, teacher_mask, PLAIN, SinkhornConfig())
    assert not loss.value_B.requires_grad


def test_gradient_checkpointing_repeats_the_same_loss(clouds):
    student, student_mask, teacher, teacher_mask = clouds
    weight = torch.eye(6).requires_grad_()

    def value(weight):
        return transport_loss(student @ weight, student_mask, teacher, teacher_mask, PLAIN, SinkhornConfig()).value_B.sum()

    value(weight).backward()
    expected, weight.grad = weight.grad, None
    checkpoint(value, weight, use_reentrant=False).backward()
    assert torch.equal(weight.grad, expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own, at any graph break
@pytest.mark.parametrize("whole", [False, True])
def test_it_works_behind_a_compiled_model_and_inside_a_compiled_step(clouds, whole):
    student, student_mask, teacher, teacher_mask = clouds
    model = torch.nn.Linear(6, 6)

    def step(tokens):
        return transport_loss(model(tokens), student_mask, teacher, teacher_mask, PLAIN, SinkhornConfig()).value_B.sum()

    step(student).backward()
    expected, model.weight.grad = model.weight.grad.clone(), None
    if whole:
        value = torch.compile(step, backend="aot_eager")(student)
    else:
        compiled = torch.compile(model, backend="aot_eager")
        value = transport_loss(compiled(student), student_mask, teacher, teacher_mask, PLAIN, SinkhornConfig()).value_B.sum()
    value.backward()
    torch.testing.assert_close(model.weight.grad, expected)


@KINDS
def test_a_second_derivative_is_refused(clouds, gradient):
    student, student_mask, teacher, teacher_mask = clouds
    leaf = student.requires_grad_()
    loss = transport_loss(leaf, student_mask, teacher, teacher_mask, PLAIN, SinkhornConfig(gradient=gradient))
    (first,) = torch.autograd.grad(loss.value_B.sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        first.square().sum().backward()


def test_given_masses_are_used(clouds):
    _, student_mask, teacher, teacher_mask = clouds
    rarity = torch.rand(student_mask.shape, generator=torch.Generator().manual_seed(2)) + 0.1
    masses = weighted_mass(rarity, student_mask), norm_mass(teacher, teacher_mask)
    loss, _, _ = price(clouds, masses=masses)
    torch.testing.assert_close(loss.plan.coupling_BNM.sum(1), masses[1], atol=1e-3, rtol=0)
    torch.testing.assert_close(loss.plan.coupling_BNM.sum(2), masses[0], atol=1e-3, rtol=0)


def test_tokens_of_two_precisions_are_priced_in_the_wider(clouds):
    student, student_mask, teacher, teacher_mask = clouds
    loss, student_grad, _ = price((student.double(), student_mask, teacher, teacher_mask))
    assert loss.value_B.dtype == student_grad.dtype == torch.float64
    torch.testing.assert_close(loss.value_B.float(), price(clouds)[0].value_B, atol=1e-3, rtol=0)


def test_a_token_of_mass_zero_takes_no_part(clouds):
    student, student_mask, teacher, teacher_mask = clouds
    weights = torch.ones(student_mask.shape)
    weights[0, 2] = 0
    loss, student_grad, _ = price(clouds, masses=(weighted_mass(weights, student_mask), None))
    without = student_mask.clone()
    without[0, 2] = False
    expected, _, _ = price((student, without, teacher, teacher_mask))
    torch.testing.assert_close(loss.value_B, expected.value_B)
    assert student_grad[0, 2].abs().sum() == 0


def test_norm_marginals_weigh_tokens_by_their_length_after_centring(clouds):
    student, student_mask, _, _ = clouds
    centre = torch.full((6,), 0.3)
    loss, _, _ = price(clouds, GroundCost(centre, marginals="norm"))
    lengths = (student - centre).norm(dim=2) * student_mask
    torch.testing.assert_close(loss.plan.coupling_BNM.sum(2), lengths / lengths.sum(1, keepdim=True), atol=1e-3, rtol=0)


def test_the_exact_plan_trains_too(clouds):
    loss, student_grad, _ = price(clouds, epsilon=0)
    assert loss.plan.converged_B.all()
    assert student_grad.abs().sum() > 0


def test_a_loss_survives_pickling(clouds):
    loss, _, _ = price(clouds)
    copied = pickle.loads(pickle.dumps(loss.plan))
    assert torch.equal(copied.coupling_BNM, loss.plan.coupling_BNM)
    assert copied.diagnostics() == loss.plan.diagnostics()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"student": c["student"][0]}, "student tokens"),
        (lambda c: c | {"student_mask": c["student_mask"][:, :2]}, "student tokens"),
        (lambda c: c | {"teacher": c["teacher"][:, :, :3]}, "with the same B and D"),
        (lambda c: c | {"teacher": c["teacher"][:2], "teacher_mask": c["teacher_mask"][:2]}, "with the same B and D"),
        (lambda c: c | {"student_mask": c["student_mask"].float()}, "expected a floating dtype and torch.bool"),
        (lambda c: c | {"student": c["student"].long()}, "expected a floating dtype and torch.bool"),
        (lambda c: c | {"cost": GroundCost(torch.zeros(4))}, "the centre has 4 dimensions, student tokens 6"),
        (lambda c: c | {"student_mass_BN": uniform_mass(c["student_mask"])[:, :3]}, r"student masses \[5, 3\]; expected \[5, 9\]"),
        (lambda c: c | {"student_mass_BN": torch.full(c["student_mask"].shape, 1 / 9)}, "lies on a token that the mask leaves out"),
        (lambda c: c | {"teacher_mass_BM": 2 * uniform_mass(c["teacher_mask"])}, "teacher_mass of pair 0 sums to 2"),
    ],
)
def test_shapes_dtypes_and_masses_are_checked(clouds, change, message):
    given = dict(zip(("student", "student_mask", "teacher", "teacher_mask"), clouds, strict=True)) | {"cost": PLAIN}
    given = change(given)
    positional = [given.pop(name) for name in ("student", "student_mask", "teacher", "teacher_mask", "cost")]
    with pytest.raises(ValueError, match=message):
        transport_loss(*positional, SinkhornConfig(), **given)


def test_pairs_are_as_many_as_the_lengths(clouds):
    assert price(clouds)[0].diagnostics().pairs == len(LENGTHS)
