"""The gradient of a global batch: in one piece, in micro-batches, on two workers, with memory that runs out."""

import copy
from functools import partial

import pytest
import torch
from training import scenarios
from training.tiny import (
    GROUP,
    LANGUAGES,
    ScarceMemory,
    gradient_of,
    gradients,
    in_double,
    make_batch,
    make_objective,
    make_student,
    part_of,
)

from optical_ray.errors import NumericsError, ResourceError
from optical_ray.runs import names
from optical_ray.training.accumulation import count_languages, is_out_of_memory, split_batch
from optical_ray.training.contrastive import contrastive_loss
from optical_ray.training.parallel import Parallel
from optical_ray.transport.loss import transport_loss

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:multiprocessing")


def assert_same(found, expected, tolerance=1e-12):
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        if gradient is None:
            assert found[name] is None, name
        else:
            torch.testing.assert_close(found[name], gradient, atol=tolerance, rtol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture(scope="module")
def whole():
    """Gradient and scalars of one worker that reads everything at once."""
    found, gradient, _ = gradient_of(make_batch())
    return found, gradient.scalars


def test_the_gradient_is_that_of_a_plain_loop_over_pairs_and_groups(whole):
    batch, student, objective = in_double(make_batch()), make_student().double(), make_objective()
    valid = [pair for pair in range(8) if pair != 1]
    loss = torch.zeros((), dtype=torch.float64)
    for pair in valid:
        only = slice(pair, pair + 1)
        tokens = student(batch.ids_BN[only], batch.attention_BN[only])
        sides = tokens, batch.content_BN[only], batch.teacher_BMD[only], batch.teacher_mask_BM[only]
        loss = loss + transport_loss(*sides, objective.cost, objective.solver).value_B.sum() / len(valid)
    for first in range(0, 8, GROUP):
        scores = torch.zeros(GROUP, GROUP, dtype=torch.float64)
        pairs = range(first, first + GROUP)
        for row, query in enumerate(pairs):
            only = slice(query, query + 1)
            tokens = student(batch.ids_BN[only], batch.attention_BN[only])[0][batch.content_BN[query]]
            for column, document in enumerate(pairs):
                if len(tokens):
                    teacher = batch.teacher_BMD[document][batch.teacher_mask_BM[document]]
                    cosines = torch.nn.functional.cosine_similarity(tokens[:, None], teacher[None], dim=2)
                    scores[row, column] = cosines.max(1).values.mean()
        keep = torch.tensor([pair in valid for pair in pairs])
        loss = loss + 0.3 * contrastive_loss(scores[None], torch.arange(GROUP), keep, 0.1).sum() / len(valid)
    loss.backward()
    assert_same(whole[0], gradients(student), 1e-9)
    assert whole[1][names.LOSS] == pytest.approx(loss.item(), rel=1e-9)


@pytest.mark.parametrize("micro_groups", [1, 2, 3])
def test_accumulation_changes_nothing(whole, micro_groups):
    found, gradient, _ = gradient_of(make_batch(), micro_groups=micro_groups)
    assert_same(found, whole[0])
    assert gradient.scalars == pytest.approx(whole[1], rel=1e-12)


@pytest.mark.parametrize("micro_groups", [None, 1])
@pytest.mark.parametrize("pairs", [8, 10], ids=["equal parts", "unequal parts"])
def test_two_workers_with_half_the_batch_have_the_gradient_of_one_with_all_of_it(two_workers, pairs, micro_groups):
    expected, gradient, _ = gradient_of(make_batch(pairs))
    outcomes = two_workers.run(scenarios.price, pairs, micro_groups)
    for found, scalars in outcomes:
        assert_same(found, expected)
        assert scalars == pytest.approx(gradient.scalars, rel=1e-12)
    assert all(torch.equal(value, outcomes[1][0][name]) for name, value in outcomes[0][0].items() if value is not None)


@pytest.mark.parametrize("starved", [0, 1])
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_worker_that_runs_out_of_memory_makes_both_go_on_with_half(two_workers, whole, where, starved):
    for found, scalars, micro_groups in two_workers.run(scenarios.run_out_of_memory, where, starved):
        assert micro_groups == 1
        assert_same(found, whole[0])
        assert scalars == pytest.approx(whole[1], rel=1e-12)


def test_both_workers_give_up_where_one_has_no_memory_for_one_group(two_workers):
    main, other = two_workers.run(scenarios.never_enough_memory)
    assert main.startswith("step 1: out of memory at one group of 2 pairs (worker 1: CUDA out of memory. Tried")
    assert main == other


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_memory_that_runs_out_halves_the_micro_batch_until_it_fits(whole, where):
    spied = []

    def spoil(forward):
        spied.append(ScarceMemory(forward, pairs=2, where=where))
        return spied[0]

    found, gradient, state = gradient_of(make_batch(), spoil=spoil)
    assert spied[0].seen == [8, 4, 2, 2, 2, 2]
    assert state.micro_groups == 1
    assert_same(found, whole[0])
    assert gradient.scalars == pytest.approx(whole[1], rel=1e-12)


def test_dropout_draws_the_same_masks_when_a_batch_is_repeated():
    expected, _, _ = gradient_of(make_batch(), micro_groups=2, dropout=0.2)
    repeated, _, _ = gradient_of(make_batch(), dropout=0.2, spoil=partial(ScarceMemory, pairs=4, where="backward"))
    assert_same(repeated, expected, 0)
    other_step, _, _ = gradient_of(make_batch(), micro_groups=2, dropout=0.2, step=1)
    assert any(gradient is not None and not torch.equal(gradient, expected[name]) for name, gradient in other_step.items())


def test_the_callers_random_numbers_are_not_touched():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    gradient_of(make_batch(), dropout=0.2)
    assert torch.equal(torch.rand(3), expected)


def test_an_error_that_is_not_of_memory_is_raised_as_it_is():
    with pytest.raises(RuntimeError, match="a defect"):
        gradient_of(make_batch(), spoil=partial(ScarceMemory, pairs=0, error=lambda text: RuntimeError("a defect")))
    with pytest.raises(ResourceError, match="lower batch.group, the length limits"):
        gradient_of(make_batch(), spoil=partial(ScarceMemory, pairs=0))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("The size of tensor a (3) must match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_errors_of_memory_are_told_from_others(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_worker_that_finds_no_number_stops_both_before_gradients_are_reduced(two_workers):
    main, other = two_workers.run(scenarios.spoil_one_worker)
    for found, gradient, mix in (main, other):
        assert gradient.scalars == {}
        assert all(value is None for value in found.values())
        assert mix == {"sw": 10, "ha": 6}
    assert main[1].detail.startswith("worker 1, pairs from 0 of its part on: transport: NaN or infinite")
    assert main[1].detail == other[1].detail


def test_a_weight_that_no_worker_uses_gets_no_gradient_and_one_that_some_use_does(two_workers):
    main, other = two_workers.run(scenarios.leave_a_weight_unused)
    assert main == other == {"encoder.embeddings.word_embeddings.weight", "projection.weight", "projection.bias"}


def test_a_batch_is_split_into_whole_groups_in_order():
    batch = make_batch(10)
    parts = list(split_batch(batch, 4))
    assert [first for first, _ in parts] == [0, 4, 8]
    assert torch.cat([part.english_B for _, part in parts]).tolist() == list(range(10))
    assert torch.equal(torch.cat([part.teacher_BMD for _, part in parts]), batch.teacher_BMD)


def test_languages_are_counted_with_the_most_frequent_first():
    assert count_languages(make_batch(), LANGUAGES, Parallel()) == {"sw": 5, "ha": 3}


def test_teacher_tokens_that_are_broken_count_in_no_mean_when_they_are_skipped():
    batch = make_batch()
    batch.teacher_BMD[4, 0] = torch.nan
    without = copy.deepcopy(batch)
    without.teacher_mask_BM[4] = False
    objective = make_objective(contrastive=0.0, on_nonfinite="skip")
    assert objective.counts(batch) == objective.counts(without) == {"transport": 6.0}
    found, _, _ = gradient_of(batch, micro_groups=1, objective=objective)
    expected, _, _ = gradient_of(without, objective=objective)
    assert_same(found, expected)
    with pytest.raises(NumericsError, match="pair 0 of the batch"):
        make_objective().price(make_student(), part_of(batch, 2, 4), {"transport": 1.0, "contrastive": 1.0})
