"""What is compared with what in `maxsim` and `encode`, and how long it is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.retrieval.clouds import Shape, write_clouds
from benchmarks.retrieval.rows import Row, summarise
from benchmarks.training.contender import PYLATE, SENTENCE_TRANSFORMERS, Contender
from benchmarks.training.sections import Group, take_turns

PEERS = Path(__file__).parent / "peers"

OURS = "optical_ray"
NO_GPU = "not run on a GPU"


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is looked."""

    shape: Shape = field(default_factory=Shape)
    queries: int = 50
    """Of a block of `maxsim`, for every contender: time goes with their number, and 1,000 would take a peer minutes."""
    blocks: int = 5
    texts: int = 1024
    """Of a block of `encode`."""
    encode_blocks: int = 5


QUICK = Effort(Shape(40, 60, 8, 16, 16), 10, 2, 24, 2)


def maxsim_groups(effort: Effort, threads: int, work: Path) -> list[Group]:
    """All tokens used, and ragged; then all queries by ours alone."""
    groups = []
    for ragged in (False, True):
        shape = replace(effort.shape, ragged=ragged)
        folder = work / ("ragged" if ragged else "full")
        write_clouds(shape, folder)
        job = {"do": "maxsim", "clouds": str(folder), "queries": effort.queries, "queries_in_all": shape.queries}
        tokens = f"{shape.query_tokens} x {shape.passage_tokens} tokens{' at most, ragged' if ragged else ''}"
        many = f"{effort.queries} of {shape.queries:,}"
        name = f"{many} queries x {shape.passages:,} passages, {tokens}, {shape.dimension} dimensions"
        contenders = [
            _ours(OURS, "products and maxima in one pass, all passages at once", job, threads),
            _theirs("Sentence-Transformers", "padding is masked with the lowest number", job | {"chunk": "fastest"}, threads),
            _theirs("Sentence-Transformers, as shipped", "the same in chunks of 100 million elements", job | {"chunk": "shipped"}, threads),
            _theirs("PyLate, masks", "its rule: times the mask, so that padding scores 0", job | {"masks": True}, threads, PYLATE),
        ]
        if not ragged:
            does = "without masks, which nothing needs here"
            contenders.append(_theirs("PyLate, no masks", does, job | {"masks": False}, threads, PYLATE))
        groups.append(Group("maxsim", name, tuple(contenders), effort.blocks, 1, 1, paired=True))
        if not ragged:
            whole = _ours(OURS, "all queries in one call", job | {"queries": shape.queries}, threads)
            every = name.replace(many, f"all {shape.queries:,}")
            groups.append(Group("maxsim", every, (whole,), 1, 1, 1, paired=True))
    return groups


def encode_groups(effort: Effort, threads: int, model: Path, texts: Sequence[str], work: Path) -> list[Group]:
    """Token vectors of the same texts by the same model.

    Args:
        model: A student's folder.
        texts: In the order in which they are given to every contender.
    """
    path = work / "texts.json"
    path.write_text(json.dumps(list(texts), ensure_ascii=False), encoding="utf-8")
    job = {"do": "encode", "model": str(model), "texts": str(path)}
    script = PEERS / "sentence_transformers_encode.py"
    contenders = [
        _ours(OURS, "by length, 2,048 tokens a batch, padding included: as shipped", job | {"batches": "tokens:2048"}, threads),
        _ours(f"{OURS}, 8,192 tokens", "by length, 8,192 tokens a batch", job | {"batches": "tokens:8192"}, threads),
        _ours(f"{OURS}, 32 texts", "by length, 32 texts a batch, as Sentence-Transformers", job | {"batches": "sorted:32"}, threads),
        _ours(f"{OURS}, 32 texts unsorted", "as they come", job | {"batches": "unsorted:32"}, threads),
        replace(
            _theirs("Sentence-Transformers", "by length in characters, 32 texts a batch: as shipped", job | {"batch_size": 32}, threads),
            script=script,
        ),
        replace(
            _theirs("Sentence-Transformers, 128 texts", "the same, 128 texts a batch", job | {"batch_size": 128}, threads), script=script
        ),
    ]
    return [Group("encode", f"{len(texts):,} texts", tuple(contenders), effort.encode_blocks, 1, 1, paired=True)]


def measure(group: Group, interop: Path, folder: Path, load: float, say: Callable[[str], None]) -> tuple[list[Row], list[dict[str, Any]]]:
    """A row for each contender, also for one that is not installed or fails; and what each said, block by block."""
    folder.mkdir(parents=True)
    scores = {contender.name: folder / f"scores-{place}.npy" for place, contender in enumerate(group.contenders)}
    given = tuple(replace(contender, job=contender.job | {"scores": str(scores[contender.name])}) for contender in group.contenders)
    group = replace(group, contenders=given)
    facts, notes, blocks = take_turns(group, interop, folder / "processes", say)
    rows = []
    for contender in group.contenders:
        row = Row(group.section, group.name, contender.name, contender.does, contender.threads, load=load)
        own, first = blocks[contender.name], blocks[group.contenders[0].name]
        row = summarise(row, own, first, facts.get(contender.name, {}), notes.get(contender.name))
        rows.append(replace(row, difference=_difference(scores, group.contenders[0].name, contender.name)))
    where: Mapping[str, Any] = {"section": group.section, "group": group.name}
    return rows, [{**where, "contender": name, **facts.get(name, {}), "blocks": found} for name, found in blocks.items()]


def _difference(scores: Mapping[str, Path], first: str, other: str) -> float | None:
    if not (scores[first].is_file() and scores[other].is_file()):
        return None
    return float(np.abs(np.load(scores[first]) - np.load(scores[other])).max())


def _ours(name: str, does: str, job: dict[str, Any], threads: int) -> Contender:
    return Contender(name, does, job, None, threads, module=f"benchmarks.retrieval.ours_{job['do']}")


def _theirs(name: str, does: str, job: dict[str, Any], threads: int, environment: str = SENTENCE_TRANSFORMERS) -> Contender:
    scripts = {SENTENCE_TRANSFORMERS: PEERS / "sentence_transformers_maxsim.py", PYLATE: PEERS / "pylate_maxsim.py"}
    return Contender(name, does, job, environment, threads, script=scripts[environment])
