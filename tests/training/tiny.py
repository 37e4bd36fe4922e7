"""A student and batches small enough to train in milliseconds. B pairs, N student tokens, M teacher tokens, D = 6 dimensions."""

from dataclasses import replace

import torch
from transformers import BertConfig, BertModel

from optical_ray.data.batches import Batch
from optical_ray.data.plan import Position
from optical_ray.encoders.config import StudentConfig
from optical_ray.encoders.student import Student
from optical_ray.encoders.student_folder import save_student
from optical_ray.training.accumulation import global_gradient
from optical_ray.training.config import ObjectiveConfig, TrainingConfig
from optical_ray.training.objectives import Distillation
from optical_ray.training.parallel import Parallel
from optical_ray.training.precision import prepare_forward
from optical_ray.training.state import start_training
from optical_ray.transport.config import SinkhornConfig
from optical_ray.transport.cost import GroundCost

GROUP = 2
LANGUAGES = ("sw", "ha", "yo")
ALONE = Parallel()


def make_student(dropout=0.0, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        drops = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        bert = BertConfig(vocab_size=20, max_position_embeddings=8, initializer_range=0.5, **sizes, **drops)
        return Student(BertModel(bert, add_pooling_layer=False), torch.nn.Linear(8, 6), torch.zeros(6))


def make_batch(pairs=8, seed=0):
    """Ragged, with an empty pair, so that parts of it hold unequal numbers of real pairs."""
    generator = torch.Generator().manual_seed(seed)
    lengths, teacher_lengths = torch.randint(1, 6, (pairs,), generator=generator), torch.randint(1, 5, (pairs,), generator=generator)
    lengths[1] = 0
    content = torch.arange(7)[None] < lengths[:, None]
    attention = torch.arange(7)[None] < lengths[:, None].clamp_min(1)
    return Batch(
        ids_BN=torch.randint(0, 20, (pairs, 7), generator=generator),
        attention_BN=attention,
        content_BN=content,
        teacher_BMD=torch.randn(pairs, 5, 6, generator=generator),
        teacher_mask_BM=torch.arange(5)[None] < teacher_lengths[:, None],
        english_B=torch.arange(pairs),
        language_B=torch.arange(pairs) % 3 % 2,
    )


def in_double(batch):
    return replace(batch, teacher_BMD=batch.teacher_BMD.double())


def saves(tokenizer):
    """Writes a student into a checkpoint."""
    return lambda student, folder: save_student(student, tokenizer, StudentConfig(max_tokens=8), folder)


def part_of(batch, rank, workers):
    groups = len(batch.english_B) // GROUP
    part = slice(groups * rank // workers * GROUP, groups * (rank + 1) // workers * GROUP)
    return batch.part(part)


def make_objective(parallel=ALONE, transport=1.0, contrastive=0.3, **solver):
    config = ObjectiveConfig(transport=transport, contrastive=contrastive, temperature=0.1)
    return Distillation(config, GroundCost(None, 0.5), SinkhornConfig(**solver), GROUP, parallel)


def stream(position, steps, rank=0, workers=1, pairs=8):
    """Seeded by the position: a resumed stream gives what the first would have given."""
    for step in range(position.batch, steps):
        yield part_of(make_batch(pairs, seed=step), rank, workers), Position(0, step + 1, pairs * (step + 1))


def gradients(student):
    return {name: None if each.grad is None else each.grad.clone() for name, each in student.named_parameters()}


def weights(student):
    return {name: each.detach().clone() for name, each in student.named_parameters()}


def gradient_of(batch, parallel=ALONE, micro_groups=None, dropout=0.0, spoil=None, double=True, objective=None, step=0):
    """(gradients by name, Gradient, state) of this worker's part of a global batch; `spoil` wraps the forward."""
    student = make_student(dropout)
    student = student.double() if double else student
    batch = in_double(batch) if double else batch
    config = TrainingConfig(micro_groups=micro_groups)
    state = start_training(student, config)
    state.step = step
    forward = prepare_forward(student, config, "cpu")
    forward = forward if spoil is None else spoil(forward)
    part = part_of(batch, parallel.rank, parallel.workers)
    found = global_gradient(state, forward, part, objective or make_objective(parallel), parallel, 0)
    return gradients(student), found, state


class ScarceMemory:
    """A forward that has no memory for more than so many pairs, there or in its backward pass."""

    def __init__(self, forward, pairs, where="forward", error=torch.OutOfMemoryError):
        self.forward, self.pairs, self.where, self.error, self.seen = forward, pairs, where, error, []

    def __call__(self, ids, attention):
        self.seen.append(len(ids))
        if len(ids) <= self.pairs:
            return self.forward(ids, attention)
        if self.where == "forward":
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return _FailInBackward.apply(self.forward(ids, attention), self.error)


class _FailInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tokens, error):
        ctx.error = error
        return tokens.clone()

    @staticmethod
    def backward(ctx, grad):
        raise ctx.error("CUDA out of memory. Tried to allocate 2.00 GiB")
