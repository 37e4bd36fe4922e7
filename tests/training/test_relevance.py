"""A teacher's objective: against loops over tokens, in chunks, on two workers."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn.functional import cosine_similarity
from training import questions
from training.questions import BOTH, GROUP, gradient_of, make_questions, make_relevance, poisoned
from training.tiny import make_student

from optical_ray.data.relevance.batches import NO_DOCUMENT
from optical_ray.encoders.interaction import TokenClouds, score
from optical_ray.runs import names
from optical_ray.training.relevance import RelevanceObjectiveConfig, score_padded

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:multiprocessing")


def assert_same(found, expected, tolerance=1e-10):
    for name, gradient in expected.items():
        assert (found[name] is None) == (gradient is None), name
        if gradient is not None:
            torch.testing.assert_close(found[name], gradient, atol=tolerance, rtol=tolerance, msg=lambda text, name=name: f"{name}: {text}")


def tokens_of(model, ids, attention, content):
    """Scored tokens of one text, alone and without padding."""
    length = int(attention.sum())
    states = model(ids[None, :length], attention[None, :length])[0]
    return [states[place] for place in range(length) if content[place]]


def maxsim(query, document):
    best = [max(cosine_similarity(token, other, dim=0).item() for other in document) for token in query]
    return sum(best) / len(best)


def naive(batch, temperature=0.3, kl=0.7):
    """Both terms, query by query, token by token, from the definitions."""
    model = make_student().double()
    found, compared = [], []
    with torch.no_grad():
        for first in range(0, len(batch.language_B), GROUP):
            group = batch.part(slice(first, first + GROUP))
            texts = {}
            for query in range(GROUP):
                for place in range(group.document_BK.shape[1]):
                    if (number := int(group.document_BK[query, place])) != NO_DOCUMENT:
                        sides = (group.document_ids_BKM, group.document_attention_BKM, group.document_content_BKM)
                        texts[number] = tokens_of(model, *(side[query, place] for side in sides))
            for query in range(GROUP):
                own = [int(number) for number in group.document_BK[query]]
                tokens = tokens_of(model, group.query_ids_BN[query], group.query_attention_BN[query], group.query_content_BN[query])
                if not tokens:
                    continue
                scores = {number: maxsim(tokens, text) / temperature for number, text in texts.items() if text}
                if own[0] in scores:
                    known = set(group.known_BP[query].tolist()) - {own[0]}
                    total = sum(math.exp(value) for number, value in scores.items() if number not in known)
                    found.append(math.log(total) - scores[own[0]])
                given = {number: value for number, value in zip(own, group.scores_BK[query].tolist(), strict=True) if number in scores}
                given = {number: value for number, value in given.items() if math.isfinite(value)}
                if len(given) >= 2:
                    parts = [
                        {number: math.exp(value) / sum(map(math.exp, side.values())) for number, value in side.items()}
                        for side in (given, {number: scores[number] for number in given})
                    ]
                    compared.append(sum(parts[0][number] * math.log(parts[0][number] / parts[1][number]) for number in given))
    means = sum(found) / len(found), sum(compared) / len(compared)
    return {names.LOSS_CONTRASTIVE: means[0], names.LOSS_SCORE_KL: means[1], names.LOSS: means[0] + kl * means[1]}


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_both_terms_are_those_of_a_loop_over_tokens_whatever_stands_at_padding(chunk):
    batch = make_questions()
    expected = naive(batch)
    _, scalars = gradient_of(poisoned(batch), chunk=chunk)
    assert scalars == pytest.approx(expected, rel=1e-6)  # given scores are float32


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("scorer", ["maxsim", "pooled"])
def test_chunks_change_neither_loss_nor_gradient(scorer, dropout):
    batch = make_questions()
    whole, loss = gradient_of(batch, scorer=scorer)
    parts, same = gradient_of(batch, chunk=3, scorer=scorer)
    assert same == pytest.approx(loss, rel=1e-12)
    assert_same(parts, whole)
    if dropout:  # other masks, the same each time: the second pass draws those of the first
        first, second = (gradient_of(batch, chunk=3, scorer=scorer, dropout=dropout) for _ in range(2))
        assert_same(first[0], second[0], 0.0)


def saved_numbers(chunk, group):
    """How many numbers the graph of a group's loss holds for its backward pass, inputs and weights apart."""
    batch = make_questions(group, candidates=6)
    model = make_student()
    own = {tensor.data_ptr() for tensor in model.parameters()}
    held = {}

    def pack(tensor):
        if tensor.data_ptr() not in own:
            held[tensor.data_ptr()] = tensor.numel()
        return tensor

    objective = make_relevance(chunk=chunk, group=group)
    counts = objective.counts(batch)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        priced = objective.price(model, batch, counts)
    assert priced.total.requires_grad
    return sum(held.values())


def test_a_group_four_times_as_large_holds_the_activations_of_one_chunk_alone():
    assert saved_numbers(4, 8) < 0.2 * saved_numbers(None, 8)
    assert saved_numbers(4, 32) < 0.1 * saved_numbers(None, 32)


class Counting(torch.nn.Module):
    """Notes how many texts are read at once."""

    def __init__(self, model):
        super().__init__()
        self.model, self.seen = model, []

    def forward(self, ids, attention):
        self.seen.append(tuple(ids.shape))
        return self.model(ids, attention)


def test_a_chunk_is_the_most_that_is_read_at_once_and_is_cut_to_its_longest_text():
    batch, model = make_questions(8), Counting(make_student())
    objective = make_relevance(chunk=5, group=8)
    objective.price(model, batch, objective.counts(batch)).total.backward()
    assert max(texts for texts, _ in model.seen) == 5
    assert min(width for _, width in model.seen) < 7
    forward = len(model.seen)
    assert forward == 2 * (math.ceil(8 / 5) + math.ceil(21 / 5)), "every chunk twice, every different document once"


def test_a_document_known_to_be_relevant_is_no_negative_and_stands_once():
    batch = make_questions()
    objective = make_relevance(kl=0.0)
    counts = objective.counts(batch)
    model = make_student()
    other = make_questions()
    other.known_BP[2] = NO_DOCUMENT
    with torch.no_grad():
        less, more = (objective.price(model, each, counts).total for each in (batch, other))
    assert more > less, "query 2 would push its second relevant document away"


def test_scores_are_those_of_the_evaluation():
    generator = torch.Generator().manual_seed(0)
    queries, documents = (torch.nn.functional.normalize(torch.randn(3, 5, 6, generator=generator), dim=2) for _ in range(2))
    masks = [torch.arange(5) < torch.tensor(lengths)[:, None] for lengths in ([2, 5, 1], [4, 1, 3])]
    for scorer in ("maxsim", "pooled"):
        clouds = [TokenClouds(each[mask], mask.sum(1)) for each, mask in zip((queries, documents), masks, strict=True)]
        expected = score(*clouds, [scorer])[scorer]
        torch.testing.assert_close(score_padded(queries, masks[0], documents, masks[1], scorer), expected)


@pytest.mark.parametrize("micro_groups", [None, 1])
def test_two_workers_have_the_gradient_of_one(two_workers, micro_groups):
    expected, scalars = gradient_of(make_questions(16))
    for found, same in two_workers.run(questions.on_worker, 16, micro_groups):
        assert same == pytest.approx(scalars, rel=1e-10)
        assert_same(found, expected)


def test_queries_that_cannot_be_priced_have_no_gradient_and_no_share_of_the_mean():
    batch = make_questions(GROUP)
    empty = torch.zeros_like(batch.query_content_BN)
    hollow = make_questions(GROUP)
    hollow.query_content_BN.copy_(empty)
    objective = make_relevance()
    counts = objective.counts(hollow)
    assert counts == {"contrastive": 1.0, "kl": 1.0}
    model = make_student()
    priced = objective.price(model, hollow, counts)
    priced.total.backward()
    assert priced.total == 0
    assert all(each.grad is None or (each.grad == 0).all() for each in model.parameters())


def test_an_objective_without_terms_is_refused():
    with pytest.raises(ValidationError, match="contrastive and kl are both 0"):
        RelevanceObjectiveConfig(contrastive=0.0)
    assert RelevanceObjectiveConfig(**BOTH).weights == {"contrastive": 1.0, "kl": 0.7}
