"""What both of the others' processes do alike: count what their encoder reads, take steps on given batches, or let a trainer take its own.

Run by path in environments of their own: nothing of this project is imported but `blocks`, which lies beside it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blocks import Blocks, Ended
from torch import Tensor, nn
from transformers import TrainerCallback

RATE, MAX_GRAD_NORM = 2e-5, 1.0


def read_job() -> tuple[dict[str, Any], Blocks]:
    """The job (JSON, first argument), with torch's threads set as it says; what it is to answer with."""
    blocks = Blocks()
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    return job, blocks


def read_texts(job: dict[str, Any]) -> list[dict[str, str]]:
    """Pairs: english, foreign."""
    with Path(job["texts"]).open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def read_batches(job: dict[str, Any]) -> list[dict[str, Tensor]]:
    """The batches that every contender is given, by the names of our own `Batch`."""
    with np.load(job["batches"]) as arrays:
        numbers = sorted({int(name.partition("/")[0]) for name in arrays.files})
        found = [
            {name.partition("/")[2]: torch.from_numpy(arrays[name]) for name in arrays.files if name.startswith(f"{number}/")}
            for number in numbers
        ]
    return found


def features(batch: dict[str, Tensor], both_sides: bool) -> list[dict[str, Tensor]]:
    """The foreign side, and the English one, as a model of Sentence-Transformers takes them."""
    sides = [("ids_BN", "attention_BN"), ("english_ids_BK", "english_attention_BK")][: 2 if both_sides else 1]
    return [{"input_ids": batch[ids], "attention_mask": batch[attention].long()} for ids, attention in sides]


def count_tokens(transformer: nn.Module, blocks: Blocks) -> None:
    """Count what the encoder reads, padding apart.

    Args:
        transformer: The first module of a SentenceTransformer; it calls its encoder's `forward`, past any hook.
    """

    def before(_: nn.Module, given: Any) -> None:
        blocks.count(padded_tokens=given[0]["input_ids"].numel(), tokens=int(given[0]["attention_mask"].sum()))

    transformer.register_forward_pre_hook(before)


def describe(encoder: nn.Module, model: nn.Module, batches: list[dict[str, Tensor]]) -> dict[str, Any]:
    """What shows that all train the same: the encoder's states of the first batch, summed in evaluation mode, and how much is trained."""
    facts: dict[str, Any] = {"parameters": sum(each.numel() for each in model.parameters() if each.requires_grad)}
    facts["torch_threads"] = torch.get_num_threads()
    if batches:
        batch = batches[0]
        encoder.eval()
        with torch.no_grad():
            states = encoder(input_ids=batch["ids_BN"], attention_mask=batch["attention_BN"].long()).last_hidden_state
        facts["states"] = float(states[batch["attention_BN"]].double().abs().mean())
        encoder.train()
    return facts


def take_steps(blocks: Blocks, model: nn.Module, batches: list[dict[str, Tensor]], price: Callable[[dict[str, Tensor]], Tensor]) -> None:
    """A bare loop over the batches: price, backward, clip, fused AdamW. It only ends by `Ended`.

    Args:
        model: Whose parameters are trained.
        price: A batch's loss.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, fused=True)
    model.train()
    for batch in itertools.cycle(batches):
        blocks.before_step()
        price(batch).backward()
        with blocks.timed("optimiser"):
            nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        blocks.count(pairs=len(batch["ids_BN"]))


class Paced(TrainerCallback):
    """Stops a trainer at the beginning of a step until the parent asks for the next block. A batch is read before its step begins, so a
    block has the reading of the batches after each of its own."""

    def __init__(self, blocks: Blocks, pairs: int) -> None:
        self._blocks, self._pairs = blocks, pairs

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._blocks.before_step()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._blocks.count(pairs=self._pairs)


def trainer_settings(folder: str, pairs: int) -> dict[str, Any]:
    """Arguments of `SentenceTransformerTrainingArguments`: its own defaults but for the size of the batch and what writes or reports."""
    return {
        "output_dir": folder,
        "per_device_train_batch_size": pairs,
        "num_train_epochs": 1000,  # never reached
        "learning_rate": RATE,
        "dataloader_drop_last": True,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }


def until_ended(train: Callable[[], object]) -> None:
    """Train; to be told that no more is wanted is no failure."""
    with contextlib.suppress(Ended):
        train()
