"""What the transport loss adds to a training step: its forward and backward against those of the encoder that it trains.

B pairs, N student tokens, M teacher tokens, D dimensions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn
from transformers import BertConfig, BertModel

from benchmarks.sinkhorn.problems import draw_tokens
from benchmarks.sinkhorn.rows import Row
from benchmarks.tables import quartiles
from optical_ray.transport import GroundCost, SinkhornConfig, measure_centre, measure_unit, transport_loss

WIDTH, HEADS, VOCABULARY = 384, 12, 1000
EPSILONS = (0.15, 0.05)
"""In standard deviations of the cost, as a recipe gives them; the first is the product's default."""
LOSS_REPEATS = 5  # inside one timing


@dataclass(frozen=True, slots=True)
class Step:
    """Size of the training step."""

    layers: int = 12
    batch: int = 64
    tokens: int = 48

    def __str__(self) -> str:
        return f"BERT {self.layers} x {WIDTH}, batch {self.batch} x {self.tokens} tokens"


def measure_share(step: Step, threads: list[int], repeats: int, say: Callable[[str], None]) -> list[Row]:
    """A row for the encoder and one per epsilon, for each number of threads; encoder and losses take turns."""
    before = torch.get_num_threads()
    try:
        return [row for count in threads for row in _measure(step, count, repeats, say)]
    finally:
        torch.set_num_threads(before)


def _measure(step: Step, threads: int, repeats: int, say: Callable[[str], None]) -> list[Row]:
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    tokens = draw_tokens([(step.tokens, step.tokens)] * step.batch, WIDTH, True, generator)
    student_BND, student_mask, teacher_BMD, teacher_mask = tokens
    centre_D = measure_centre(teacher_BMD[teacher_mask])
    cost = GroundCost(centre_D, measure_unit(teacher_BMD, teacher_mask, centre_D))
    encode = _encoder_step(step)

    def price(epsilon: float) -> str:
        """The loss's forward and backward, and what the solver said."""
        student = student_BND.clone().requires_grad_()
        loss = transport_loss(student, student_mask, teacher_BMD, teacher_mask, cost, SinkhornConfig(epsilon=epsilon))
        loss.value_B.mean().backward()
        return f"converged {loss.plan.converged_B.float().mean().item():.0%}, most iterations {int(loss.plan.iterations_B.max())}"

    encode()
    said = {epsilon: price(epsilon) for epsilon in EPSILONS}
    encoder_times: list[float] = []
    loss_times: dict[float, list[float]] = {epsilon: [] for epsilon in EPSILONS}
    for repeat in range(repeats):
        say(f"share of a step, {threads} thread{'s' * (threads > 1)}, repeat {repeat + 1} of {repeats}")
        encoder_times.append(_seconds(encode, 1))
        for epsilon in EPSILONS[:: -1 if repeat % 2 else 1]:
            loss_times[epsilon].append(_seconds(partial(price, epsilon), LOSS_REPEATS))
    row = Row("share", str(step), "bert-like", None, "encoder forward + backward", threads, repeats=repeats)
    rows = [_with_times(row, encoder_times)]
    for epsilon in EPSILONS:
        _, share, _ = quartiles([100 * loss / encoder for loss, encoder in zip(loss_times[epsilon], encoder_times, strict=True)])
        note = f"epsilon in std of the cost: {epsilon * cost.unit:.3g} as cosine distance; tolerance 1e-3 (default); {said[epsilon]}"
        row = replace(row, epsilon=epsilon, contender="transport_loss forward + backward", share_percent=share, note=note)
        rows.append(_with_times(row, loss_times[epsilon]))
    return rows


def _encoder_step(step: Step) -> Callable[[], None]:
    """Forward and backward of a random encoder, dropout on, as in training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            num_hidden_layers=step.layers,
            num_attention_heads=HEADS,
            intermediate_size=4 * WIDTH,
            max_position_embeddings=max(64, step.tokens),
        )
        encoder: nn.Module = BertModel(config, add_pooling_layer=False).train()
        ids_BN = torch.randint(0, VOCABULARY, (step.batch, step.tokens))
        upstream_BND = torch.randn(step.batch, step.tokens, WIDTH)

    def encode() -> None:
        encoder.zero_grad(set_to_none=True)
        encoder(input_ids=ids_BN, attention_mask=torch.ones_like(ids_BN)).last_hidden_state.backward(upstream_BND)

    return encode


def _seconds(run: Callable[[], object], times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - begin) / times


def _with_times(row: Row, seconds: list[float]) -> Row:
    low, middle, high = (1000 * value for value in quartiles(seconds))
    return replace(row, median_ms=middle, q1_ms=low, q3_ms=high)
