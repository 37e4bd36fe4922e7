"""Sentence-Transformers: `MultiVectorEncoder.encode_document` of a folder, token vectors of all texts in every step. JOB"""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import turns
from sentence_transformers import MultiVectorEncoder


def main() -> None:
    job, blocks = turns.read_job()
    texts = json.loads(Path(job["texts"]).read_text(encoding="utf-8"))
    model = MultiVectorEncoder(job["model"], device="cpu")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("sentence-transformers", "transformers", "torch"))
    blocks.facts = {"versions": versions}
    settings = {"batch_size": job["batch_size"], "normalize_embeddings": False, "show_progress_bar": False}
    while True:
        blocks.before_step()
        vectors = model.encode_document(texts, **settings)
        blocks.count(pairs=len(texts))
        blocks.facts["size"] = float(np.mean([np.abs(each.numpy()).mean() for each in vectors[:50]]))


if __name__ == "__main__":
    main()
