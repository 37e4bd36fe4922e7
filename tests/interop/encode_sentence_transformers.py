"""Runs where Sentence-Transformers 6 is installed: token vectors and MaxSim of a folder, as a user of it gets them. JOB.json OUT.npz"""

import importlib.metadata
import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
model = MultiVectorEncoder(job["model"], device="cpu")
as_is = [vectors.numpy() for vectors in model.encode_query(job["queries"])]
for module in model:
    if isinstance(module, MultiVectorMask):
        module.skiplist_tasks = ["query", "document"]  # what the model card says
queries, documents = model.encode_query(job["queries"]), model.encode_document(job["documents"])
found = {
    "scores": model.similarity(queries, documents).numpy(),
    "scores_as_is": model.similarity(as_is, documents).numpy(),
    "versions": np.array([f"{name} {importlib.metadata.version(name)}" for name in ("sentence-transformers", "transformers", "torch")]),
}
found |= {f"query_{index}": vectors.numpy() for index, vectors in enumerate(queries)}
np.savez(sys.argv[2], **found, **{f"document_{index}": vectors.numpy() for index, vectors in enumerate(documents)})
