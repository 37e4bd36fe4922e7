"""A negative control: what collapses must be called collapsed, and what differs from it in centring alone must not."""

import pytest
import torch
from torch.nn.functional import normalize
from training.pairs import Table

from optical_ray.data.batches import Batch
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.evaluate import collapse_statistics
from optical_ray.runs import names
from optical_ray.training.config import ObjectiveConfig
from optical_ray.training.objectives import Distillation
from optical_ray.training.parallel import Parallel
from optical_ray.training.verdicts import verdicts
from optical_ray.transport.config import SinkhornConfig
from optical_ray.transport.cost import GroundCost

WORDS, DIMENSION, PAIRS, LENGTH = 40, 24, 32, 8


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_world():
    """Teacher tokens that share one large component (cosine 0.9), as those of encoders do; a student that knows no word yet."""
    generator = torch.Generator().manual_seed(0)
    common = normalize(torch.randn(DIMENSION, generator=generator), dim=0)
    words = normalize(torch.randn(WORDS, DIMENSION, generator=generator), dim=1) + 3 * common
    ids = torch.stack([torch.randperm(WORDS, generator=generator)[:LENGTH] for _ in range(8 * PAIRS)])
    student = Table()
    start = normalize(torch.randn(WORDS, DIMENSION, generator=generator), dim=1) + 1.8 * common
    student.weight = torch.nn.Parameter(start)
    return words, ids, student


def train(weights, cost, solver, steps=150):
    words, ids, student = make_world()
    objective = Distillation(ObjectiveConfig(**weights), cost, solver, PAIRS, Parallel())
    optimizer = torch.optim.Adam(student.parameters(), lr=0.03)
    mask = torch.ones(PAIRS, LENGTH, dtype=torch.bool)
    start = collapse_statistics([clouds_of(student.weight.detach(), ids)])
    teacher = collapse_statistics([clouds_of(words, ids)])
    scalars = []
    for step in range(steps):
        rows = ids[step % 8 * PAIRS :][:PAIRS]
        orders = torch.rand(PAIRS, LENGTH, generator=torch.Generator().manual_seed(step)).argsort(1)
        batch = Batch(rows.gather(1, orders), mask, mask, words[rows], mask, torch.arange(PAIRS), torch.zeros(PAIRS, dtype=torch.int64))
        losses = objective(student, batch)
        losses.total.backward()
        optimizer.step()
        optimizer.zero_grad()
        scalars.append(losses.scalars)
    end = collapse_statistics([clouds_of(student.weight.detach(), ids)])
    assert scalars[-1][names.LOSS] < scalars[0][names.LOSS], "the loss falls either way"
    return verdicts(scalars[-1] | end, {name: max(start[name], teacher[name]) for name in start}), student.weight.detach(), words


def clouds_of(table, ids):
    return TokenClouds(table[ids.flatten()], torch.full((len(ids),), LENGTH))


def correct(found, words, centre):
    """Share of words whose nearest teacher token is their own."""
    found, words = normalize(found - centre, dim=1), normalize(words - centre, dim=1)
    return ((found @ words.T).argmax(1) == torch.arange(WORDS)).float().mean().item()


def test_raw_transport_on_an_anisotropic_teacher_is_called_collapsed():
    found, student, words = train({}, GroundCost(None), SinkhornConfig(epsilon=0.05))
    assert names.COLLAPSED in found
    assert correct(student, words, words.mean(0)) < 0.5


LEAST_CORRECT = {"transport": 0.9, "greedy": 0.9, "pooled_mse": 0.9, "argmax": 0.3, "contrastive": 0.3, "score_kl": 0.3}
"""Chance is 1 of 40; what looks at sentences as a whole need not tell their words apart."""


@pytest.mark.parametrize("term", LEAST_CORRECT)
def test_no_centred_objective_is_called_collapsed(term):
    words, _, _ = make_world()
    found, student, _ = train({"transport": 0.0} | {term: 1.0}, GroundCost(words.mean(0), 0.2), SinkhornConfig(epsilon=0.2))
    assert found == []
    assert correct(student, words, words.mean(0)) >= LEAST_CORRECT[term]
