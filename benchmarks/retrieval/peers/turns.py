"""What the contenders of MaxSim do alike: read the clouds, find their fastest chunk, and score some queries in each step.

Run by path in the others' environments: nothing of this project is imported but `blocks`. Q queries, C passages, T tokens, D dimensions.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from blocks import Blocks
from torch import Tensor

TUNING_PASSAGES = 1000
"""That ways of chunking are tried on, with all queries of a step."""


def read_job() -> tuple[dict[str, Any], Blocks]:
    """The job (JSON, first argument), with torch's threads set as it says; what it is to answer with."""
    blocks = Blocks()
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    return job, blocks


def read_side(job: dict[str, Any], name: str) -> tuple[Tensor, list[int]]:
    """Vectors [T, D] of `queries` or `passages`, in memory that all contenders share, and their lengths."""
    folder = Path(job["clouds"])
    vectors = torch.from_numpy(np.load(folder / f"{name}.npy", mmap_mode="c"))
    with np.load(folder / "lengths.npz") as lengths:
        return vectors, lengths[name].tolist()


def split(side: tuple[Tensor, list[int]]) -> list[Tensor]:
    """One tensor for each text, without copying."""
    return list(side[0].split(side[1]))


def memory(field: str) -> int:
    """Bytes, from /proc/self/status."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}: memory is measured on Linux only")


def fastest(ways: Sequence[Any], score: Callable[[Any], Any]) -> Any:
    """Which of some ways takes least time (the second time)."""
    seconds = []
    for way in ways:
        score(way)
        started = time.perf_counter()
        score(way)
        seconds.append(time.perf_counter() - started)
    return ways[int(np.argmin(seconds))]


def answer(job: dict[str, Any], blocks: Blocks, inputs: Sequence[Tensor], score: Callable[[int, int], Tensor]) -> None:
    """Score the next queries in each step, until the parent asks for no more.

    The first step's scores, sums over the query's tokens, are kept for the parent to compare. `over_inputs_mb` is the most memory that a
    block needs beyond what the process held when its inputs were read and nothing had been scored.

    Args:
        inputs: Touched first, so that they count as read.
        score: Of queries `first` to `stop - 1`: [Q, C].
    """
    for tensor in inputs:
        tensor.sum()
    before, done, count, total = memory("VmRSS"), 0, job["queries"], job["queries_in_all"]
    while True:
        blocks.before_step()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        first = done % max(1, total - count + 1)
        scores = score(first, first + count)
        if done == 0:
            np.save(Path(job["scores"]), scores.numpy())
        blocks.count(pairs=scores.numel(), over_inputs_mb=(memory("VmHWM") - before) / 1e6)
        done += count
