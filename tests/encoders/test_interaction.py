import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from optical_ray.encoders.interaction import SCORERS, TokenClouds, score


def clouds(lengths, seed=0, dimension=4):
    generator = torch.Generator().manual_seed(seed)
    return TokenClouds(normalize(torch.randn(sum(lengths), dimension, generator=generator), dim=1), torch.tensor(lengths))


def texts(cloud):
    return list(cloud.vectors_TD.split(cloud.lengths.tolist()))


def test_scores_are_those_of_a_plain_loop():
    queries, documents = clouds([2, 3, 1]), clouds([4, 1, 2, 3], seed=1)
    found = score(queries, documents, SCORERS)
    for q, query in enumerate(texts(queries)):
        for d, document in enumerate(texts(documents)):
            forward = sum(max(float(a @ b) for b in document) for a in query) / len(query)
            backward = sum(max(float(a @ b) for a in query) for b in document) / len(document)
            assert found["maxsim"][q, d].item() == pytest.approx(forward, abs=1e-6)
            assert found["maxsim-symmetric"][q, d].item() == pytest.approx((forward + backward) / 2, abs=1e-6)
            assert found["pooled"][q, d].item() == pytest.approx(float(cosine_similarity(query.mean(0), document.mean(0), dim=0)), abs=1e-6)


def test_a_document_without_tokens_never_wins_and_a_query_without_tokens_scores_nothing():
    queries, documents = clouds([2, 0]), clouds([0, 3], seed=1)
    found = score(queries, documents, SCORERS)
    assert found["maxsim"][0, 0] == -math.inf
    assert found["maxsim"][1, 1] == 0
    assert found["pooled"][:, 0].tolist() == [0, 0]


def test_selecting_texts_takes_their_tokens():
    cloud = clouds([2, 0, 3, 1])
    chosen = cloud.select(torch.tensor([2, 0, 2]))
    assert chosen.lengths.tolist() == [3, 2, 3]
    assert all(torch.equal(a, b) for a, b in zip(texts(chosen), [texts(cloud)[i] for i in (2, 0, 2)], strict=True))


def test_within_cosine_is_the_mean_over_pairs_of_different_tokens():
    cloud = clouds([3, 1, 2])
    first, _, last = texts(cloud)
    pairs = [float(first[i] @ first[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert cloud.within_cosine() == pytest.approx((sum(pairs) / 3 + float(last[0] @ last[1])) / 2, abs=1e-6)
    assert math.isnan(clouds([1, 1]).within_cosine())
    collapsed = TokenClouds(torch.ones(6, 4), torch.tensor([4, 2]))
    assert collapsed.within_cosine() == pytest.approx(1.0)


def test_centring_subtracts_and_normalises():
    cloud = clouds([2, 2])
    centre = torch.tensor([0.5, 0.0, 0.0, 0.0])
    torch.testing.assert_close(cloud.centred(centre).vectors_TD, normalize(cloud.vectors_TD - centre, dim=1))
