"""Our contender of `encode`: `encode_texts`, in a process of its own.

python -m benchmarks.retrieval.ours_encode JOB RANK
"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval.peers import turns
from optical_ray.encoders.pretrained import load_tokenizer, silence_transformers
from optical_ray.encoders.student_folder import load_student, read_description
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.retrieval.encoding import encode_texts, length_sorted_batches


def main() -> None:
    """Token vectors of all texts in every step."""
    job, blocks = turns.read_job()
    blocks.facts = {"versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("transformers", "torch"))}
    silence_transformers()
    texts = json.loads(Path(job["texts"]).read_text(encoding="utf-8"))
    folder = Path(job["model"])
    student, tokenizer, form = load_student(folder), load_tokenizer(str(folder)), read_description(folder).document
    while True:
        blocks.before_step()
        table = tokenize(tokenizer, texts, form.max_tokens, form.prefix)
        batches = cut(job["batches"], table.lengths)
        encode_texts(student, table, batches=batches)
        padded = sum(len(batch) * int(table.lengths[batch].max()) for batch in batches)
        blocks.count(pairs=len(texts), tokens=int(table.lengths.sum()), padded_tokens=padded)


def cut(how: str, lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """`tokens:8192`: by a budget; `sorted:32`, `unsorted:32`: so many texts each, by length or as they come."""
    kind, _, size = how.partition(":")
    if kind == "tokens":
        return length_sorted_batches(lengths, int(size))
    order = np.argsort(-lengths, kind="stable") if kind == "sorted" else np.arange(len(lengths))
    return [order[first : first + int(size)] for first in range(0, len(order), int(size))]


if __name__ == "__main__":
    main()
