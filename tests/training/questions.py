"""Tiny relevance batches. B queries, K documents of a query, N query tokens, M document tokens, P known positives."""

from dataclasses import replace

import torch
from training.tiny import ALONE, gradients, make_student

from optical_ray.data.relevance.batches import NO_DOCUMENT, RelevanceBatch
from optical_ray.training.accumulation import global_gradient
from optical_ray.training.config import TrainingConfig
from optical_ray.training.precision import prepare_forward
from optical_ray.training.relevance import Relevance, RelevanceObjectiveConfig
from optical_ray.training.state import start_training

GROUP = 4
BOTH = {"contrastive": 1.0, "kl": 0.7, "temperature": 0.3}


def make_questions(queries=8, seed=0, candidates=3):
    """At least 4; below 8 the cases meet in one query.

    Ragged: special tokens that are read and not scored, an empty query, an empty relevant document, queries with fewer documents or without
    scores, a relevant document that two queries share, and one that is another query's negative.
    """
    generator = torch.Generator().manual_seed(seed)

    def lengths(*shape, longest):
        return torch.randint(2, longest + 1, shape, generator=generator)

    query_lengths, document_lengths = lengths(queries, longest=5), lengths(queries, candidates, longest=7)
    document_BK = torch.arange(queries * candidates).view(queries, candidates) + 100
    document_BK[1, 0] = document_BK[0, 0]
    document_BK[2, 1] = document_BK[0, 0]
    document_BK[3, 2] = NO_DOCUMENT
    ids_BKM = torch.randint(1, 20, (queries, candidates, 7), generator=generator)
    for place in ((1, 0), (2, 1)):  # equal numbers, equal texts
        ids_BKM[place], document_lengths[place] = ids_BKM[0, 0], document_lengths[0, 0]
    document_lengths[3, 2] = 0
    attention_BKM = torch.arange(7) < document_lengths[:, :, None]
    content_BKM = attention_BKM & (torch.arange(7) > 0)  # CLS
    content_BKM[5 % queries, 0] = False
    attention_BN = torch.arange(6) < query_lengths[:, None]
    content_BN = attention_BN & (torch.arange(6) > 0)
    content_BN[6 % queries] = False
    scores_BK = torch.randn(queries, candidates, generator=generator).masked_fill(document_BK == NO_DOCUMENT, torch.nan)
    scores_BK[4 % queries] = torch.nan
    known_BP = torch.stack([document_BK[:, 0], torch.full((queries,), NO_DOCUMENT)], 1)
    known_BP[2, 1] = document_BK[3, 0]  # relevant to query 2 too, by another row
    return RelevanceBatch(
        torch.randint(1, 20, (queries, 6), generator=generator),
        attention_BN,
        content_BN,
        ids_BKM,
        attention_BKM,
        content_BKM,
        document_BK,
        scores_BK,
        known_BP,
        torch.zeros(queries, dtype=torch.int64),
    )


def poisoned(batch):
    """Other ids at padding, and at documents that are not there."""
    return replace(
        batch,
        query_ids_BN=batch.query_ids_BN.where(batch.query_attention_BN, 19),
        document_ids_BKM=batch.document_ids_BKM.where(batch.document_attention_BKM, 19),
    )


def make_relevance(parallel=ALONE, chunk=None, group=GROUP, **config):
    return Relevance(RelevanceObjectiveConfig(**(BOTH | config)), group, parallel, chunk)


def gradient_of(batch, parallel=ALONE, chunk=None, micro_groups=None, dropout=0.0, **config):
    """(gradients by name, scalars) of this worker's part of a global batch, in double precision."""
    model = make_student(dropout).double()
    training = TrainingConfig(micro_groups=micro_groups)
    state = start_training(model, training)
    groups = len(batch.language_B) // GROUP
    part = batch.part(slice(groups * parallel.rank // parallel.workers * GROUP, groups * (parallel.rank + 1) // parallel.workers * GROUP))
    objective = make_relevance(parallel, chunk, **config)
    found = global_gradient(state, prepare_forward(model, training, "cpu"), part, objective, parallel, 0)
    return gradients(model), found.scalars


def on_worker(parallel, queries, micro_groups):
    return gradient_of(make_questions(queries), parallel, 3, micro_groups)
