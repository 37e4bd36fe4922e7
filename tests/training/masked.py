"""A masked language model and batches small enough to train in milliseconds; functions that a spawned process can import."""

import torch
from transformers import BertConfig, BertModel

from optical_ray.data.masking import IGNORED, MaskedBatch
from optical_ray.encoders.masked_lm import MaskedLanguageModel, MaskedLMHead
from optical_ray.training.accumulation import global_gradient
from optical_ray.training.config import TrainingConfig
from optical_ray.training.masked_lm import MaskedLM
from optical_ray.training.parallel import Parallel
from optical_ray.training.precision import prepare_forward
from optical_ray.training.state import start_training

GROUP, PIECES = 2, 30
ALONE = Parallel()


def make_model(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        drops = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        bert = BertConfig(vocab_size=PIECES, max_position_embeddings=8, initializer_range=0.5, **sizes, **drops)
        generator = torch.Generator().manual_seed(seed)
        return MaskedLanguageModel(BertModel(bert, add_pooling_layer=False), MaskedLMHead.scratch(8, PIECES, generator)).double()


def make_batch(pairs=8, seed=0):
    """Ragged; the first group has nothing to guess, so that parts of the batch hold unequal numbers of tokens to be guessed."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, PIECES, (pairs, 7), generator=generator)
    attention = torch.arange(7)[None] < torch.randint(3, 8, (pairs, 1), generator=generator)
    guessed = attention & (torch.rand(pairs, 7, generator=generator) < 0.5)
    guessed[:GROUP] = False
    return MaskedBatch(ids.masked_fill(guessed, 1), attention, ids.masked_fill(~guessed, IGNORED), torch.arange(pairs) % 3)


def gradient_of(batch, parallel=ALONE, micro_groups=None):
    """(gradients by name, scalars) of this worker's part of a global batch."""
    model = make_model()
    config = TrainingConfig(micro_groups=micro_groups)
    groups = len(batch.language_B) // GROUP
    part = batch.part(slice(groups * parallel.rank // parallel.workers * GROUP, groups * (parallel.rank + 1) // parallel.workers * GROUP))
    state = start_training(model, config)
    objective = MaskedLM(model, GROUP, parallel)
    found = global_gradient(state, prepare_forward(model, config, "cpu"), part, objective, parallel, 0)
    return {name: None if each.grad is None else each.grad.clone() for name, each in model.named_parameters()}, found.scalars


def price(parallel, pairs):
    return gradient_of(make_batch(pairs), parallel)
