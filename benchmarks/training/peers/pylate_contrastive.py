"""PyLate: its documented training step, late-interaction contrast in the batch (`Contrastive`); the foreign side asks, English answers.

python pylate_contrastive.py JOB, in the environment of tests/interop/requirements-pylate.txt
"""

from __future__ import annotations

import importlib.metadata

import steps
import torch
import transformers
from datasets import Dataset
from pylate import losses, models, utils
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments


def main() -> None:
    job, blocks = steps.read_job()
    limits = {} if job["shipped_lengths"] else {"query_length": job["max_tokens"], "document_length": job["max_tokens"]}
    model = models.ColBERT(job["encoder"], device="cpu", do_query_expansion=None if job["shipped_lengths"] else False, **limits)
    encoder = model[0].auto_model
    loss = losses.Contrastive(model=model)
    batches = steps.read_batches(job) if job["batches"] else []
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("pylate", "sentence-transformers")]
    blocks.facts = {"versions": ", ".join([*versions, f"transformers {transformers.__version__}", f"torch {torch.__version__}"])}
    blocks.facts |= {"query_length": model.query_length, "document_length": model.document_length}
    blocks.facts |= steps.describe(encoder, model, batches)
    steps.count_tokens(model[0], blocks)
    if batches:
        steps.take_steps(blocks, model, batches, lambda batch: loss(steps.features(batch, True)))
        return
    arguments = SentenceTransformerTrainingArguments(**steps.trainer_settings(job["folder"], job["pairs"]))
    blocks.facts["optimiser"] = str(arguments.optim)
    rows = [{"query": row["foreign"], "positive": row["english"]} for row in steps.read_texts(job)]
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        loss=loss,
        data_collator=utils.ColBERTCollator(tokenize_fn=model.tokenize),
        callbacks=[steps.Paced(blocks, job["pairs"])],
    )
    steps.until_ended(trainer.train)


if __name__ == "__main__":
    main()
