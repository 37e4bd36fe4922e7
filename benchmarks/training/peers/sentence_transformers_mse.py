"""Sentence-Transformers: multilingual distillation by the squared error of sentence vectors (`MSELoss`), as its documentation does it.

python sentence_transformers_mse.py JOB, in the environment of tests/interop/requirements-sentence-transformers.txt
"""

from __future__ import annotations

from typing import Any

import steps
import torch
import transformers
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments, __version__
from sentence_transformers.sentence_transformer.losses import MSELoss


def main() -> None:
    job, blocks = steps.read_job()
    model = SentenceTransformer(job["encoder"], device="cpu")
    model.max_seq_length = job["max_tokens"]
    encoder = model[0].auto_model
    loss = MSELoss(model)
    batches = steps.read_batches(job) if job["batches"] else []
    blocks.facts = {"versions": f"sentence-transformers {__version__}, transformers {transformers.__version__}, torch {torch.__version__}"}
    blocks.facts |= steps.describe(encoder, model, batches)
    steps.count_tokens(model[0], blocks)
    if batches:
        steps.take_steps(blocks, model, batches, lambda batch: loss(steps.features(batch, job["both_sides"]), batch["teacher_BD"]))
        return
    arguments = SentenceTransformerTrainingArguments(**steps.trainer_settings(job["folder"], job["pairs"]))
    blocks.facts["optimiser"] = str(arguments.optim)
    dataset = read_dataset(job)
    paced = steps.Paced(blocks, job["pairs"])
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=dataset, loss=loss, callbacks=[paced])
    steps.until_ended(trainer.train)


def read_dataset(job: dict[str, Any]) -> Dataset:
    """Columns english, foreign (or foreign alone) and label: the teacher's sentence vector, computed once for all, or at every batch."""
    teacher = SentenceTransformer(job["teacher"], device="cpu")
    teacher.max_seq_length = job["max_tokens"]
    rows = steps.read_texts(job)
    columns = ["english", "foreign"] if job["both_sides"] else ["foreign"]
    if job["cache"]:
        dataset = Dataset.from_list(rows)
        dataset = dataset.map(lambda batch: {"label": teacher.encode(batch["english"])}, batched=True)
        return dataset.select_columns([*columns, "label"])
    dataset = Dataset.from_list([row | {"label": 0.0} for row in rows]).select_columns([*dict.fromkeys([*columns, "english", "label"])])

    def teach(batch: dict[str, Any]) -> dict[str, Any]:
        targets = teacher.encode(batch["english"], batch_size=len(batch["english"]), convert_to_tensor=True)
        return {name: batch[name] for name in columns} | {"label": list(targets)}

    return dataset.with_transform(teach)


if __name__ == "__main__":
    main()
