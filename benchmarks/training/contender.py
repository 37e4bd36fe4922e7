"""A contender: one process (or one per worker) that takes steps in blocks when it is asked to, and waits in between."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.training.world import BOTH_SIDES, MAX_TOKENS, World

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
START_SECONDS, BLOCK_SECONDS = 600.0, 600.0
SENTENCE_TRANSFORMERS, PYLATE = "sentence-transformers", "pylate"
SCRIPTS = {SENTENCE_TRANSFORMERS: PEERS / "sentence_transformers_mse.py", PYLATE: PEERS / "pylate_contrastive.py"}
INSTALL = "not run: no environment of it; `make test-interop` makes one in .interop"


class ContenderFailed(Exception):
    """One line: who, and the last that it said."""


@dataclass(frozen=True, slots=True)
class Contender:
    """What is run, and what it does in a step."""

    name: str
    does: str
    job: dict[str, Any] = field(repr=False)
    environment: str | None = None
    """Of the others; None: ours."""
    threads: int = 1
    workers: int = 1
    module: str = "benchmarks.training.ours"
    """What is run where `environment` is None."""
    script: Path | None = None
    """What is run in an environment of the others; None: their training."""


def ours(name: str, does: str, world: World, threads: int, workers: int = 1, fixed: bool = False, **changes: Any) -> Contender:
    """Our training, with some fields of the recipe changed (`batch__length_window=1`); `fixed`: on the given batches."""
    recipe = world.recipe.override({field.replace("__", "."): value for field, value in changes.items()})
    return _ours(name, does, world, threads, workers, fixed, recipe.to_dict())


def ours_both_sides(name: str, does: str, world: World, threads: int, fixed: bool = False) -> Contender:
    """Our training with the terms that read English too."""
    return _ours(name, does, world, threads, 1, fixed, world.recipe.override(BOTH_SIDES).to_dict())


def _ours(name: str, does: str, world: World, threads: int, workers: int, fixed: bool, recipe: dict[str, Any]) -> Contender:
    job = {"recipe": recipe, "store": str(world.store), "batches": str(world.fixed) if fixed else None}
    return Contender(name, does, job, None, threads, workers)


def theirs(name: str, does: str, world: World, threads: int, environment: str, fixed: bool = False, **settings: Any) -> Contender:
    """A training of another library; `settings` are its script's."""
    job = {
        "encoder": str(world.encoder),
        "teacher": str(world.encoder),
        "texts": str(world.texts),
        "batches": str(world.fixed) if fixed else None,
        "pairs": world.recipe.batch.pairs,
        "max_tokens": MAX_TOKENS,
        **settings,
    }
    return Contender(name, does, job, environment, threads)


def find_python(interop: Path, environment: str | None) -> Path | None:
    """The interpreter that runs a contender; None where its environment has not been made."""
    if environment is None:
        return Path(sys.executable)
    python = interop.absolute() / environment / "bin" / "python"
    return python if python.is_file() else None


class Running:
    """A contender's processes, from their start to `close`.

    Args:
        contender: What to run.
        python: Its interpreter.
        folder: A fresh place for its files; what it prints goes to `log-<rank>`.
        warm_up: Steps of the block before the first one that counts.
    """

    def __init__(self, contender: Contender, python: Path, folder: Path, warm_up: int) -> None:
        self.contender, self._folder = contender, folder
        folder.mkdir(parents=True)
        job = contender.job | {
            "threads": contender.threads,
            "workers": contender.workers,
            "folder": str(folder / "run"),
            "rendezvous": str(folder / "rendezvous"),
            "warm_up": warm_up,
        }
        path = folder / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        threads = str(contender.threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_CACHE": str(folder / "datasets"),
            "PYTHONPATH": os.pathsep.join([str(PEERS)] + [str(ROOT)] * (contender.environment is None)),
        }
        self._started = time.time()
        self._processes: list[subprocess.Popen[bytes]] = []
        for rank in range(contender.workers):
            if contender.environment is None:
                command = [str(python), "-m", contender.module, str(path), str(rank)]
            else:
                command = [str(python), str(contender.script or SCRIPTS[contender.environment]), str(path)]
            with (folder / f"log-{rank}").open("wb") as log:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
                )
            self._processes.append(process)

    def wait(self) -> dict[str, Any]:
        """What it says when it is about to take its first step, and `start_seconds` until then."""
        told = [self._read(rank, START_SECONDS) for rank in range(len(self._processes))]
        return told[0] | {"start_seconds": max(each["ready"] for each in told) - self._started}

    def block(self, steps: int) -> dict[str, float]:
        """Take so many steps: `seconds` of the slowest worker; pairs and tokens of all, seconds of the parts of the first."""
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(f"{steps}\n".encode())
            except BrokenPipeError:
                raise self._failure(0) from None
        told = [self._read(rank, BLOCK_SECONDS) for rank in range(len(self._processes))]
        sums = {name: sum(each.get(name, 0) for each in told) for name in ("pairs", "tokens", "padded_tokens")}
        return told[0] | sums | {"seconds": max(each["seconds"] for each in told)}

    def close(self) -> None:
        """End it: asked first, then made to."""
        for process in self._processes:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def _read(self, rank: int, timeout: float) -> dict[str, Any]:
        stream = self._processes[rank].stdout
        assert stream is not None
        line, until = b"", time.monotonic() + timeout
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
            part = os.read(stream.fileno(), 1 << 16) if ready else b""
            if not part:
                raise self._failure(rank)
            line += part
        found: dict[str, Any] = json.loads(line)
        return found

    def _failure(self, rank: int) -> ContenderFailed:
        said = (self._folder / f"log-{rank}").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return ContenderFailed(f"{self.contender.name}: {said[-1] if said else 'said nothing'}")
