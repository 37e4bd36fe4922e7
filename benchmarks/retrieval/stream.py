"""A search among a million stored vectors, a block at a time: memory must stay flat, and workers must find the same.

Each worker is a process: python -m benchmarks.retrieval.stream JOB RANK
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.retrieval.rows import Row
from optical_ray.artifacts import Store
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS, DocumentBlock, Ranked
from optical_ray.retrieval.search.index import build_index, forecast_bytes, open_index
from optical_ray.retrieval.search.ranker import Ranker
from optical_ray.retrieval.search.token_scorer import TokenScorer

ROOT = Path(__file__).parents[2]
LANGUAGES = tuple(f"l{number:02d}" for number in range(50))
DEPTH = 100


@dataclass(frozen=True)
class NumberedDocuments:
    """Documents whose text is their number; of `texts` where those are given."""

    count: int
    texts: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        return f"numbered-{self.count}-{len(self.texts)}"

    @property
    def languages(self) -> tuple[str, ...]:
        return LANGUAGES

    def __len__(self) -> int:
        return self.count

    def blocks(self, start: int = 0, stop: int | None = None) -> Iterator[DocumentBlock]:
        last = self.count if stop is None else min(self.count, stop * BLOCK_DOCUMENTS)
        for first in range(start * BLOCK_DOCUMENTS, last, BLOCK_DOCUMENTS):
            places = range(first, min(first + BLOCK_DOCUMENTS, last))
            yield DocumentBlock(
                ids=tuple(f"Q{place}" for place in places),
                languages=tuple(LANGUAGES[place % len(LANGUAGES)] for place in places),
                passages=tuple(self.texts[place] if self.texts else str(place) for place in places),
                owner=np.arange(len(places)),
            )

    def places(self, ids: frozenset[str]) -> dict[str, int]:
        return {name: int(name[1:]) for name in ids}


@dataclass(frozen=True)
class DrawnSide:
    """One random token for each text."""

    dimension: int
    fingerprint: str = "drawn"

    def encode(self, texts: Sequence[str]) -> TokenClouds:
        draw = torch.Generator().manual_seed(int(texts[0]))
        return TokenClouds(torch.randn(len(texts), self.dimension, generator=draw), torch.ones(len(texts), dtype=torch.int64))


def measure_stream(count: int, queries: int, dimension: int, threads: int, work: Path, say: Callable[[str], None]) -> list[Row]:
    """Build an index of made-up pooled vectors of two sizes, search each with one worker and the larger with two.

    Raises:
        RuntimeError: a worker failed, or two workers found something else than one.
    """
    rows = []
    for size in (count // 4, count):
        say(f"stream: storing {size:,} vectors")
        started = time.perf_counter()
        documents = NumberedDocuments(size)
        index = build_index(Store(work / f"store-{size}"), DrawnSide(dimension), documents, "pooled")
        built = time.perf_counter() - started
        disk, forecast = sum(path.stat().st_size for path in index.folder.iterdir()), forecast_bytes(size, dimension, None)
        base = Row(
            "stream",
            f"{size:,} stored vectors of {dimension} dimensions, {queries:,} queries, best {DEPTH}",
            "",
            "",
            threads,
            disk_mb=disk / 1e6,
            note=f"forecast {forecast / 1e6:.1f} MB; written in {built:.0f} s",
        )
        job = {"index": str(index.folder), "count": size, "queries": queries, "dimension": dimension}
        alone, row = _search(job, 1, threads, work / f"one-{size}", say)
        rows.append(replace(base, contender="one worker", does="reads every block", **row))
        if size == count:
            both, row = _search(job, 2, max(1, threads // 2), work / f"two-{size}", say)
            if not is_same(alone, both):
                raise RuntimeError("two workers rank otherwise than one")
            rows.append(
                replace(base, contender="two workers", does="every other block each, then merged: the same ranks, bit for bit", **row)
            )
    return rows


def is_same(first: Ranked, second: Ranked) -> bool:
    """Whether two rankings are equal to the bit."""
    one, other = asdict(first), asdict(second)
    return all(one[name] == other[name] if isinstance(one[name], bool) else one[name].tobytes() == other[name].tobytes() for name in one)


def _search(job: dict[str, Any], workers: int, threads: int, folder: Path, say: Callable[[str], None]) -> tuple[Ranked, dict[str, Any]]:
    say(f"stream: {job['count']:,} vectors, workers: {workers}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "job.json"
    path.write_text(json.dumps(job | {"workers": workers, "threads": threads, "folder": str(folder)}), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "benchmarks.retrieval.stream", str(path)]
    running = [
        subprocess.Popen([*command, str(rank)], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) for rank in range(workers)
    ]
    told = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError("a worker failed; what it said is above")
    found = [json.loads(text.splitlines()[-1]) for text in told]
    seconds = max(each["seconds"] for each in found)
    return merge(folder, workers), {
        "threads": threads,
        "seconds": seconds,
        "per_second": job["queries"] * job["count"] / seconds,
        "memory_mb": max(each["peak_mb"] for each in found),
    }


def merge(folder: Path, workers: int) -> Ranked:
    """What the workers found together."""
    rankers: list[Ranker] = [pickle.loads((folder / f"ranker-{rank}").read_bytes()) for rank in range(workers)]  # our own, of a minute ago
    for other in rankers[1:]:
        rankers[0].merge(other)
    return rankers[0].finish()


def search_blocks(job: dict[str, Any], rank: int) -> None:
    """One worker's part."""
    torch.set_num_threads(job["threads"])
    draw = np.random.default_rng(0)
    queries = torch.from_numpy(draw.standard_normal((job["queries"], job["dimension"]), np.float32))
    relevant = [np.array([place]) for place in draw.integers(0, job["count"], job["queries"])]
    scorer = TokenScorer(TokenClouds(queries, torch.ones(len(queries), dtype=torch.int64)), open_index(Path(job["index"])), ("pooled",))
    ranker = Ranker(relevant, DEPTH, job["count"])
    documents = NumberedDocuments(job["count"])
    started = time.perf_counter()
    for number in range(rank, -(-job["count"] // BLOCK_DOCUMENTS), job["workers"]):
        for block in documents.blocks(number, number + 1):
            ranker.add(number * BLOCK_DOCUMENTS, scorer.scores(block)["pooled"])
    seconds = time.perf_counter() - started
    peak = next(line for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
    (Path(job["folder"]) / f"ranker-{rank}").write_bytes(pickle.dumps(ranker))
    print(json.dumps({"seconds": seconds, "peak_mb": int(peak.split()[1]) * 1024 / 1e6}))


if __name__ == "__main__":
    search_blocks(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), int(sys.argv[2]))
