import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from optical_ray.encoders.interaction import SCORERS, TokenClouds, score
from optical_ray.retrieval.search import scoring, sharing
from optical_ray.retrieval.search.scoring import Seekers, score_block

LENGTHS = [2, 0, 3, 1, 17, 32, 5, 0, 16, 40]


def clouds(lengths, dimension=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return TokenClouds(
        normalize(torch.randn(sum(lengths), dimension, generator=generator), dim=1), torch.tensor(lengths, dtype=torch.int64)
    )


def texts(cloud):
    return list(cloud.vectors_TD.double().split(cloud.lengths.tolist()))


def direction(seekers, others):
    """Mean best match, pair by pair, in float64."""
    found = np.zeros((len(seekers), len(others)))
    for i, own in enumerate(texts(seekers)):
        for j, other in enumerate(texts(others)):
            if len(own):
                found[i, j] = (own @ other.T).max(1).values.mean() if len(other) else -np.inf
    return found


@pytest.mark.parametrize("dimension", [1, 8, 31, 128])
@pytest.mark.parametrize("documents", [[7, 0, 1, 6, 12, 13, 100], [5], [0], []], ids=str)
def test_scores_are_those_of_a_plain_loop(dimension, documents):
    queries, documents = clouds(LENGTHS, dimension), clouds(documents, dimension, seed=1)
    found = score_block(Seekers(queries), documents, SCORERS)
    forward, backward = direction(queries, documents), direction(documents, queries).T
    np.testing.assert_allclose(found["maxsim"], forward, atol=1e-6)
    np.testing.assert_allclose(found["maxsim-symmetric"], (forward + backward) / 2, atol=1e-6)
    pooled = queries.pool().double() @ documents.pool().double().T
    np.testing.assert_allclose(found["pooled"], pooled, atol=1e-6)
    assert all(scores.dtype == np.float32 and scores.shape == (len(queries), len(documents)) for scores in found.values())


def test_they_are_those_of_the_plain_function_of_torch():
    queries, documents = clouds(LENGTHS), clouds(LENGTHS[::-1], seed=1)
    found = score_block(Seekers(queries), documents, SCORERS)
    for scorer, scores in score(queries, documents, SCORERS).items():
        np.testing.assert_allclose(found[scorer], scores.numpy(), atol=1e-6)


def test_similarities_below_zero_are_not_lost_to_padding():
    token = normalize(torch.ones(1, 8), dim=1)
    queries, documents = TokenClouds(token, torch.tensor([1])), TokenClouds(-token.repeat(7, 1), torch.tensor([7]))
    assert score_block(Seekers(queries), documents, ["maxsim"])["maxsim"].item() == pytest.approx(-1)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_pair_scores_the_same_to_the_bit_whatever_stands_beside_it(threads, monkeypatch):
    monkeypatch.setattr(sharing, "PER_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(scoring, "CHUNK_BYTES", 3 * 16 * 31 * 4)  # three panels at a time
    queries, documents = clouds(LENGTHS, 31), clouds([7, 0, 1, 6, 12, 13, 100], 31, seed=1)
    found = score_block(Seekers(queries), documents, SCORERS)
    for q in range(len(queries)):
        for d in range(len(documents)):
            alone = score_block(Seekers(queries.select(torch.tensor([q]))), documents.select(torch.tensor([d])), SCORERS)
            assert all(alone[scorer].tobytes() == found[scorer][q, d].tobytes() for scorer in SCORERS)


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_token_that_is_not_a_number_spoils_its_own_text_alone(scorer):
    queries, documents = clouds([2, 3]), clouds([4, 2, 9], seed=1)
    whole = score_block(Seekers(queries), documents, [scorer])[scorer].copy()
    documents.vectors_TD[4, 3] = torch.nan
    queries.vectors_TD[0] = torch.nan
    found = score_block(Seekers(queries), documents, [scorer])[scorer]
    assert np.isnan(found[0]).all() and np.isnan(found[:, 1]).all()
    assert np.array_equal(found[1, [0, 2]], whole[1, [0, 2]])


def test_work_is_shared_out_whole(monkeypatch):
    monkeypatch.setattr(sharing, "PER_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for operations in ([0, 5], [0, 0, 0, 9, 9, 30], list(range(100)), [0, *[7] * 20]):
        spans = []
        sharing.share_out(lambda first, last, spans=spans: spans.append((first, last)), np.array(operations))
        done = [item for first, last in sorted(spans) for item in range(first, last)]
        assert done == list(range(len(operations) - 1))


def test_what_fails_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(sharing, "PER_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def fails(first, last):
        raise RuntimeError("here")

    with pytest.raises(RuntimeError, match="here"):
        sharing.share_out(fails, np.arange(9))
