"""Our contender: the training of one worker (`distil_worker`, all of it) in a process of its own, paced by `Blocks`.

python -m benchmarks.training.ours JOB RANK
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from benchmarks.training.batches import read_fixed
from benchmarks.training.parts import timed_parts
from benchmarks.training.peers.blocks import Blocks
from optical_ray.artifacts import Store, write_json
from optical_ray.data.batches import Batch, PairSource, UntaughtBatch, read_batches
from optical_ray.data.plan import START, BatchPlan, Position
from optical_ray.distillation import distil_worker
from optical_ray.encoders.pretrained import silence_transformers
from optical_ray.encoders.student import Student
from optical_ray.recipe import Recipe, Resources
from optical_ray.runs.folder import TrialFolder, utc_now
from optical_ray.runs.schemas import TrialStatus
from optical_ray.training.parallel import Parallel
from optical_ray.training.state import TrainingState

Item = tuple[Batch | UntaughtBatch, Position]


def run(job: dict[str, Any], rank: int, blocks: Blocks) -> None:
    """Train until the parent asks for no more.

    Args:
        job: `recipe`, `store`, `folder`, `threads`, `workers`; `rendezvous` of two or more; `batches`, a file of `write_fixed`, or None:
            what the recipe reads; `warm_up`, steps that come before the plan's first.
        rank: Of this worker.
        blocks: Paces the steps.
    """
    recipe = Recipe.parse(job["recipe"], "job")
    resources = Resources(workers=job["workers"], threads=job["threads"])
    folder = TrialFolder(Path(job["folder"]))
    if rank == 0:
        folder.path.mkdir(parents=True)
        write_json(folder.recipe, recipe.to_dict())
        status = TrialStatus(trial_id=recipe.trial_id, state="running", max_steps=recipe.training.max_steps, started_at=utc_now())
        folder.write_status(status)
    if resources.workers > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{job['rendezvous']}", rank=rank, world_size=resources.workers)

    def read(source: PairSource, plan: BatchPlan, start: Position, rank: int, workers: int) -> Iterator[Item]:
        if job["batches"] is not None:
            items: Iterator[Item] = ((batch, START) for batch in itertools.cycle(read_fixed(Path(job["batches"]))))
        else:  # warmed up on another window: what is measured then is a window of the plan, all of it
            warm_up = itertools.islice(read_batches(source, plan, Position(1), rank, workers), job["warm_up"])
            items = itertools.chain(warm_up, read_batches(source, plan, start, rank, workers))
        return paced(blocks, items, reads_english=recipe.objective.english > 0)

    def start(state: TrainingState[Student]) -> None:
        trained = sum(each.numel() for each in state.model.parameters() if each.requires_grad)
        blocks.facts = {"parameters": trained, "torch_threads": torch.get_num_threads()}
        if job["batches"] is not None:
            blocks.facts["states"] = measure_states(state.model, read_fixed(Path(job["batches"]))[0])

    with timed_parts(blocks, start):
        distil_worker(
            recipe, resources, Store(Path(job["store"])), folder, lambda step, metrics: None, Parallel(rank, resources.workers), read
        )


def measure_states(student: Student, batch: Batch) -> float:
    """Mean size of the encoder's states of a batch in evaluation mode: of the same encoder, the others' `describe` gives the same."""
    student.encoder.eval()
    with torch.no_grad():
        states_BND = student.encoder(input_ids=batch.ids_BN, attention_mask=batch.attention_BN).last_hidden_state
    student.encoder.train()
    return float(states_BND[batch.attention_BN].double().abs().mean())


def paced(blocks: Blocks, items: Iterator[Item], reads_english: bool) -> Iterator[Item]:
    """The batches, each read when its step begins; counts pairs and the student's tokens."""
    while True:
        blocks.before_step()
        with blocks.timed("data"):
            batch, after = next(items)
        sides = [batch.attention_BN, batch.english_attention_BK if reads_english else None]
        for attention in sides:
            if attention is not None:
                blocks.count(padded_tokens=attention.numel(), tokens=int(attention.sum()))
        blocks.count(pairs=len(batch.language_B))
        yield batch, after


def main() -> None:
    job, rank = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), int(sys.argv[2])
    blocks = Blocks()
    silence_transformers()
    if job["workers"] > 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with ExitStack() as stack:
        if job["workers"] > 1:
            stack.callback(end_group)
        run(job, rank, blocks)


def end_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
