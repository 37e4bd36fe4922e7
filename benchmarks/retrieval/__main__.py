"""Search beside PyLate and Sentence-Transformers: MaxSim, encoding, a million stored vectors.

python -m benchmarks.retrieval [--sections maxsim encode stream real gpu] [--encoder FOLDER] [--texts FILE] [--quick] [--out DIR]
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.retrieval.real import measure_real
from benchmarks.retrieval.rows import Results, Row, show
from benchmarks.retrieval.sections import NO_GPU, QUICK, Effort, encode_groups, maxsim_groups, measure
from benchmarks.retrieval.stream import measure_stream
from benchmarks.retrieval.world import make_model, read_texts
from benchmarks.sinkhorn.rows import describe_machine

ROOT = Path(__file__).parents[2]
SECTIONS = ("maxsim", "encode", "stream", "real", "gpu")
BUSY = 0.5  # load average above which two cores are not ours


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retrieval", description=__doc__.splitlines()[0])
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=["maxsim", "encode", "stream", "gpu"])
    parser.add_argument("--encoder", type=Path, help="a Hugging Face folder; without it, a random BERT of 12 layers and width 384")
    parser.add_argument("--texts", type=Path, help="one text a line; without it, made-up sentences")
    parser.add_argument("--interop", type=Path, default=ROOT / ".interop", help="environments of the others (`make test-interop`)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of every contender (default: all cores)")
    parser.add_argument("--vectors", type=int, default=1_003_893, help="of `stream` (default: the candidates of Mewsli-X)")
    parser.add_argument("--queries", type=int, default=2000, help="of `stream`")
    parser.add_argument("--count", type=int, default=20_000, help="texts of `real`")
    parser.add_argument("--quick", action="store_true", help="tiny: that it works, not how fast")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    given = parser.parse_args(arguments)
    effort = QUICK if given.quick else Effort()
    if given.quick:
        given.vectors, given.queries, given.count = min(given.vectors, 10_000), min(given.queries, 20), min(given.count, 100)
    done = Results.read(given.out)
    with tempfile.TemporaryDirectory(prefix="optical-benchmark-retrieval-") as name:
        work = Path(name)
        for section in given.sections:
            machine = describe_machine()
            if (load := os.getloadavg()[0]) > BUSY:
                say(f"load average {load:.1f}: the machine is busy; trust ratios of interleaved blocks, not seconds")
            found, told = run_section(section, given, effort, work, load)
            about = {
                "measured_at": time.strftime("%Y-%m-%d %H:%M"),
                "machine": machine,
                "settings": settings(given, effort),
                "blocks": told,
            }
            done.put(section, [dataclasses.replace(row, load=round(load, 2)) for row in found], about)
            done.write(given.out)
            print(show(found) + "\n")


def run_section(section: str, given: argparse.Namespace, effort: Effort, work: Path, load: float) -> tuple[list[Row], list[dict[str, Any]]]:
    """Rows of one section, and what contenders said."""
    if section == "gpu":
        return [Row("gpu", "MaxSim beside a fused kernel", "optical_ray", "", given.threads, note=gpu_note())], []
    if section == "stream":
        return measure_stream(given.vectors, given.queries, 384, given.threads, work, say), []
    if section == "maxsim":
        groups = maxsim_groups(effort, given.threads, work)
    else:
        small = (2, 64, 2000) if given.quick else (12, 384, 16_000)
        wanted = given.count if section == "real" else effort.texts
        texts = read_texts(given.texts, wanted)
        model = make_model(given.encoder, texts, small, work / "model")
        if section == "real":
            return measure_real(model, texts, given.threads, work, say), []
        groups = encode_groups(effort, given.threads, model, texts, work)
    rows: list[Row] = []
    said: list[dict[str, Any]] = []
    for number, group in enumerate(groups):
        place = work / f"{section}-{number}"
        shutil.rmtree(place, ignore_errors=True)
        found = measure(group, given.interop, place, load, lambda what, where=group.section: say(f"{where}: {what}"))  # type: ignore[misc]
        rows += found[0]
        said += found[1]
    return rows, said


def gpu_note() -> str:
    """The search runs on processors; where there is a GPU, nothing of ours is compared yet."""
    return "no kernel of ours for GPUs yet" if torch.cuda.is_available() else NO_GPU


def settings(given: argparse.Namespace, effort: Effort) -> dict[str, Any]:
    """Without any path of the machine."""
    kept = {name: value for name, value in vars(given).items() if name not in ("encoder", "texts", "interop", "out")}
    names = {"encoder": given.encoder is not None, "texts": given.texts is not None}
    return kept | {f"{name}_given": value for name, value in names.items()} | {"effort": dataclasses.asdict(effort)}


def say(line: str) -> None:
    print(time.strftime("[%H:%M:%S] ") + line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
