"""What two workers do in the tests of this folder: functions that a spawned process can import. The test compares what they return."""

from functools import partial
from operator import itemgetter
from typing import NamedTuple

import torch
from training.tiny import LANGUAGES, ScarceMemory, gradient_of, in_double, make_batch, make_objective, make_student, stream, weights

from optical_ray.errors import NumericsError, ResourceError
from optical_ray.runs import names
from optical_ray.training import loop
from optical_ray.training import parallel as reduction
from optical_ray.training.accumulation import count_languages
from optical_ray.training.config import TrainingConfig
from optical_ray.training.loop import Hooks
from optical_ray.training.parallel import Parallel
from optical_ray.training.state import start_training


def reduce_values(parallel):
    rows = torch.arange(3.0 + parallel.rank)[:, None] + 10 * parallel.rank
    values = torch.tensor([1.0, -2.0]) * (parallel.rank + 1)
    return (
        parallel.sum(values),
        parallel.largest(values),
        parallel.gather(rows),
        values,
        parallel.gather_text("zwölf\nam Ende" if parallel.rank else ""),
    )


def share_weights(parallel):
    student = make_student(seed=parallel.rank)
    parallel.share_weights(student)
    return weights(student)


def sum_gradients(parallel, bucket_bytes):
    reduction.BUCKET_BYTES = bucket_bytes
    generator = torch.Generator().manual_seed(parallel.rank)
    module = torch.nn.ParameterList([torch.zeros(3, 4), torch.zeros(5), torch.zeros(2, dtype=torch.float64), torch.zeros(7)])
    for parameter in module:
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    if parallel.rank == 1:
        module[1].grad = None
    own = [None if parameter.grad is None else parameter.grad.clone() for parameter in module]
    parallel.sum_gradients(list(module))
    return own, [parameter.grad.clone() for parameter in module]


def price(parallel, pairs, micro_groups):
    found, gradient, _ = gradient_of(make_batch(pairs), parallel, micro_groups)
    return found, gradient.scalars


def run_out_of_memory(parallel, where, starved):
    """One rank has room for one group only."""
    spoil = partial(ScarceMemory, pairs=2, where=where) if parallel.rank == starved else None
    found, gradient, state = gradient_of(make_batch(8), parallel, spoil=spoil)
    return found, gradient.scalars, state.micro_groups


def never_enough_memory(parallel):
    try:
        gradient_of(make_batch(8), parallel, spoil=partial(ScarceMemory, pairs=0) if parallel.rank == 1 else None)
    except ResourceError as error:
        return str(error)


def spoil_one_worker(parallel):
    """Rank 1 cannot price its part; afterwards both go on."""

    def spoil(forward):
        return lambda ids, attention: forward(ids, attention) * torch.nan

    found, gradient, _ = gradient_of(make_batch(8), parallel, spoil=spoil if parallel.rank == 1 else None)
    mix = count_languages(make_batch(8), LANGUAGES, parallel)
    return found, gradient, mix


def leave_a_weight_unused(parallel):
    """The transformer's positions are never read by anyone; the projection's bias by rank 0 alone."""

    def spoil(forward):
        def encode(ids, attention):
            student = forward.model
            states = student.encoder.embeddings.word_embeddings(ids)
            tokens = states @ student.projection.weight.T
            return tokens + student.projection.bias if parallel.rank == 0 else tokens

        return encode

    found, _, _ = gradient_of(make_batch(8), parallel, spoil=spoil)
    return {name for name, gradient in found.items() if gradient is not None}


def train(parallel, steps, bad_step, skip_nonfinite, micro_groups=None):
    """A whole training; at `bad_step` (0-based) the last rank reads NaN. In float64: the keys' bias has a gradient of 0 but for
    rounding, and AdamW makes steps of float32's."""
    config = TrainingConfig(
        max_steps=steps, learning_rate=0.01, weight_decay=0.1, report_every=1, skip_nonfinite=skip_nonfinite, micro_groups=micro_groups
    )
    student = make_student(seed=parallel.rank).double()
    state = start_training(student, config)
    reports = []
    hooks = Hooks(
        validate=lambda state: {names.VALID_SUCCESS_AT_1: 0.5},
        judge=lambda metrics: metrics[names.VALID_SUCCESS_AT_1],
        report=lambda state, metrics: reports.append((state.step, metrics)),
        checkpoint=lambda state: None,
        announce=lambda step, metrics: None,
        last_checkpoint=lambda: "step-00000002",
    )

    def batches():
        for batch, after in stream(state.position, steps, parallel.rank, parallel.workers):
            if after.batch - 1 == bad_step and parallel.rank == parallel.workers - 1:
                batch.teacher_BMD[-1, 0] = torch.nan
            yield in_double(batch), after

    error = None
    try:
        loop.train(state, batches(), make_objective(parallel), config, parallel, 0, hooks, LANGUAGES)
    except NumericsError as raised:
        error = str(raised)
    return {"weights": weights(student), "reports": reports, "error": error, "step": state.step, "skipped": state.skipped}


class Trained(NamedTuple):
    """A student after its training, as one process tells it to another."""

    weights: dict[str, torch.Tensor]
    names: list[str]
    is_compiled: bool


def train_alone(config):
    state = start_training(make_student(), config)
    hooks = Hooks(
        lambda state: {names.VALID_SUCCESS_AT_1: 0.5}, itemgetter(names.VALID_SUCCESS_AT_1), *[lambda *told: None] * 3, lambda: "none"
    )
    loop.train(state, stream(state.position, config.max_steps), make_objective(), config, Parallel(), 0, hooks, LANGUAGES)
    is_compiled = state.model.encoder._compiled_call_impl is not None
    return Trained(weights(state.model), list(state.model.state_dict()), is_compiled)
