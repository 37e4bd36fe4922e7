"""Real texts, encoded into both forms of an index and searched."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.retrieval.rows import Row
from benchmarks.retrieval.stream import DEPTH, NumberedDocuments
from optical_ray.artifacts import Store
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.student_folder import load_student, read_description
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS
from optical_ray.retrieval.encoding import encode_texts
from optical_ray.retrieval.search.index import build_index
from optical_ray.retrieval.search.ranker import Ranker
from optical_ray.retrieval.search.token_scorer import TokenScorer


@dataclass(frozen=True)
class FolderSide:
    """Documents as a student's folder reads them."""

    folder: Path
    fingerprint: str = "folder"

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        return load_student(self.folder), load_tokenizer(str(self.folder)), read_description(self.folder).document

    @property
    def dimension(self) -> int:
        return read_description(self.folder).dimension

    def encode(self, texts: Sequence[str]) -> TokenClouds:
        student, tokenizer, form = self._parts
        return encode_texts(student, tokenize(tokenizer, texts, form.max_tokens, form.prefix))


def measure_real(folder: Path, texts: Sequence[str], threads: int, work: Path, say: Callable[[str], None]) -> list[Row]:
    """Encode real texts into both forms of index, and search them with the first thousand of them."""
    torch.set_num_threads(threads)
    side, documents, rows = FolderSide(folder), NumberedDocuments(len(texts), tuple(texts)), []
    queries = side.encode(texts[:1000])
    for form in ("pooled", "tokens"):
        say(f"real: {len(texts):,} texts, {form}")
        started = time.perf_counter()
        index = build_index(Store(work / "real"), side, documents, form)  # type: ignore[arg-type]
        built = time.perf_counter() - started
        group = f"{len(texts):,} real texts, {form}"
        disk = sum(path.stat().st_size for path in index.folder.iterdir())
        rows.append(Row("real", group, "encode", "encoded and stored", threads, built, per_second=len(texts) / built, disk_mb=disk / 1e6))
        scorers = ("pooled",) if form == "pooled" else ("maxsim", "pooled")
        scorer = TokenScorer(queries, index, scorers)  # type: ignore[arg-type]
        rankers = {name: Ranker([np.array([place]) for place in range(len(queries))], DEPTH, len(texts)) for name in scorers}
        started = time.perf_counter()
        for number, block in enumerate(documents.blocks()):
            for name, scores in scorer.scores(block).items():
                rankers[name].add(number * BLOCK_DOCUMENTS, scores)
        found = {name: float((ranker.finish().rank_R == 1).mean()) for name, ranker in rankers.items()}
        seconds = time.perf_counter() - started
        note = "; ".join(f"{name}: {share:.1%} of the queries find themselves first" for name, share in found.items())
        pairs = len(queries) * len(texts)
        does = f"{len(queries):,} of the texts look for themselves"
        rows.append(Row("real", group, "search", does, threads, seconds, per_second=pairs / seconds, note=note))
    return rows
