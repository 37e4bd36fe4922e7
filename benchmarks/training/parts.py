"""Where a step's time goes: clocks around the parts of the product's own loop, by hooks where torch has them, else around its functions.

The clocks read the wall: a part on a GPU would be timed by its launches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch import Tensor

from benchmarks.training.peers.blocks import Blocks
from optical_ray import distillation
from optical_ray.training import loop
from optical_ray.training.objectives import Distillation
from optical_ray.training.state import TrainingState

PARTS = ("data", "encoder", "loss", "optimiser")
"""What is timed; the rest of a step is its bookkeeping."""


@contextmanager
def timed_parts(blocks: Blocks, start: Callable[[TrainingState[Any]], None]) -> Iterator[None]:
    """Inside, a training counts seconds by part into the blocks (`data` is counted where batches are read); first it calls `start`.

    encoder: forward of the student's encoder, and backward from the moment its output has a gradient. Right for a student that reads one
    side; of two, the backward pass of the first side's loss falls into it. loss: the rest of pricing and of the backward pass before that
    moment: projection, cost, plan, every term. optimiser: clipping, AdamW, dropping the gradients.
    """
    arrived: list[float] = []
    forward_seconds = 0.0
    backward, price, train = Tensor.backward, Distillation.price, loop.train

    def timed_price(self: Distillation, *given: Any) -> Any:
        nonlocal forward_seconds
        forward_seconds, started = 0.0, time.perf_counter()
        priced = price(self, *given)
        blocks.count(loss_seconds=time.perf_counter() - started - forward_seconds, encoder_seconds=forward_seconds)
        return priced

    def timed_backward(self: Tensor, *given: Any, **named: Any) -> None:
        arrived.clear()
        started = time.perf_counter()
        backward(self, *given, **named)
        done = time.perf_counter()
        turn = arrived[0] if arrived else started
        blocks.count(loss_seconds=turn - started, encoder_seconds=done - turn)

    def timed_train(state: TrainingState[Any], *given: Any) -> None:
        begun = 0.0

        def begin(*_: Any) -> None:
            nonlocal begun
            begun = time.perf_counter()

        def end(_: Any, __: Any, output: Any) -> None:
            nonlocal forward_seconds
            forward_seconds += time.perf_counter() - begun
            if output.last_hidden_state.requires_grad:
                output.last_hidden_state.register_hook(lambda _: arrived.append(time.perf_counter()))

        def end_step(*_: Any) -> None:
            blocks.count(optimiser_seconds=time.perf_counter() - begun)

        start(state)
        state.model.encoder.register_forward_pre_hook(begin)
        state.model.encoder.register_forward_hook(end)
        state.optimizer.register_step_pre_hook(begin)
        state.optimizer.register_step_post_hook(end_step)
        train(state, *given)

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            with blocks.timed("optimiser"):
                return method(*given)

        return run

    with (
        mock.patch.object(Tensor, "backward", timed_backward),
        mock.patch.object(Distillation, "price", timed_price),
        mock.patch.object(TrainingState, "clip_gradients", timed(TrainingState.clip_gradients)),
        mock.patch.object(TrainingState, "drop_gradients", timed(TrainingState.drop_gradients)),
        mock.patch.object(distillation, "train", timed_train),
    ):
        yield
