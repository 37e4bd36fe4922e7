"""Runs where PyLate is installed: token vectors and MaxSim of a folder, as a user of it gets them. JOB.json OUT.npz"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
import torch
from pylate import models, scores
from torch.nn.utils.rnn import pad_sequence

job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
model = models.ColBERT(job["model"], device="cpu")
prompts = {kind: kind if model.prompts.get(kind) else None for kind in ("query", "document")}
raw = model.encode(job["queries"], is_query=True, prompt_name=prompts["query"], output_value=None)
real = [mask > 0 for mask in raw["attention_mask"]]
as_is = [vectors[rows] for vectors, rows in zip(raw["token_embeddings"], real, strict=True)]
keep = [~np.isin(ids, model.skiplist) & rows for ids, rows in zip(raw["input_ids"], real, strict=True)]  # what the model card says
queries = [vectors[rows] for vectors, rows in zip(raw["token_embeddings"], keep, strict=True)]
documents = model.encode(job["documents"], is_query=False, prompt_name=prompts["document"])


def score(queries, documents):
    """Pair by pair, so that nothing is padded."""
    return np.array([[float(scores.colbert_scores(q[None], d[None])) for d in documents] for q in queries])


def score_padded(queries, documents):
    """As a batch: PyLate multiplies by the mask, so that padding scores 0."""
    queries, documents = ([torch.from_numpy(vectors) for vectors in side] for side in (queries, documents))
    masks = [pad_sequence([torch.ones(len(vectors)) for vectors in side], batch_first=True) for side in (queries, documents)]
    padded = [pad_sequence(side, batch_first=True) for side in (queries, documents)]
    return scores.colbert_scores(*padded, queries_mask=masks[0], documents_mask=masks[1]).numpy()


PACKAGES = ("pylate", "sentence-transformers", "transformers", "torch")
found = {
    "scores": score(queries, documents),
    "scores_as_is": score(as_is, documents),
    "scores_padded": score_padded(queries, documents),
    "versions": np.array([f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]),
}
found |= {f"query_{index}": vectors for index, vectors in enumerate(queries)}
np.savez(sys.argv[2], **found, **{f"document_{index}": vectors for index, vectors in enumerate(documents)})
