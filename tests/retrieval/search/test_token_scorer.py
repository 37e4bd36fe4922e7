import numpy as np
import pytest
import torch
from retrieval.search.made_up import ListDocuments, WordSide, sentences
from torch.nn.functional import normalize

from optical_ray.errors import ModelError
from optical_ray.retrieval.search import passages
from optical_ray.retrieval.search.token_scorer import TokenScorer

SIDE = WordSide()
QUERIES = ("the red book", "some bread", "", "a word nobody has", "her hat her hat")
DOCUMENTS = ListDocuments(tuple(sentences(4, seed=place)[: 1 + place % 4] for place in range(30)))


def best_passage(query, documents, of_pair):
    """Scores of one query, document by document, by plain loops."""
    return [max(of_pair(query, passage) for passage in texts) for texts in documents.passages]


def tokens(text, centre):
    return [normalize(SIDE.vector(word) - centre, dim=0) for word in text.split()]


def plain_maxsim(query, passage, query_centre, document_centre):
    sought, offered = tokens(query, query_centre), tokens(passage, document_centre)
    if not sought:
        return 0.0
    return sum(max((float(a @ b) for b in offered), default=-np.inf) for a in sought) / len(sought)


def plain_pooled(query, passage, query_centre, document_centre):
    sought, offered = tokens(query, query_centre), tokens(passage, document_centre)
    if not sought or not offered:
        return 0.0
    return float(normalize(sum(sought), dim=0) @ normalize(sum(offered), dim=0))


@pytest.mark.parametrize("at_once", [4, 512])
def test_scores_are_those_of_plain_loops(at_once, monkeypatch):
    monkeypatch.setattr(passages, "PASSAGES_AT_ONCE", at_once)
    centre = torch.linspace(-1, 1, SIDE.dimension)
    found = TokenScorer(SIDE.encode(QUERIES), SIDE, ("maxsim", "pooled"), centre, centre / 2).scores(next(DOCUMENTS.blocks()))
    for scorer, plain in (("maxsim", plain_maxsim), ("pooled", plain_pooled)):
        expected = [best_passage(query, DOCUMENTS, lambda a, b, plain=plain: plain(a, b, centre, centre / 2)) for query in QUERIES]
        np.testing.assert_allclose(found[scorer], expected, atol=2e-6)
        assert found[scorer].dtype == np.float32


def test_each_language_may_lose_a_mean_of_its_own():
    centres = {"en": torch.zeros(SIDE.dimension), "sw": torch.ones(SIDE.dimension)}
    block = next(DOCUMENTS.blocks())
    found = TokenScorer(SIDE.encode(QUERIES), SIDE, ("maxsim",), document_centre=centres).scores(block)["maxsim"]
    for language, centre in centres.items():
        own = [place for place, name in enumerate(block.languages) if name == language]
        alone = TokenScorer(SIDE.encode(QUERIES), SIDE, ("maxsim",), document_centre=centre).scores(block)["maxsim"]
        assert np.array_equal(found[:, own], alone[:, own])


def test_a_passage_that_comes_twice_is_encoded_once_and_ties():
    class Counted(WordSide):
        def encode(self, texts):
            assert len(set(texts)) == len(texts)
            return super().encode(texts)

    documents = ListDocuments((("the gate", "two letters"), ("two letters",), ("the gate", "two letters")), languages=("en",))
    found = TokenScorer(SIDE.encode(QUERIES), Counted(), ("maxsim", "pooled")).scores(next(documents.blocks()))
    for scores in found.values():
        assert np.array_equal(scores[:, 0], scores[:, 2])


def test_a_document_without_a_token_never_wins():
    documents = ListDocuments((("",), ("two letters",), ("", "two letters")))
    found = TokenScorer(SIDE.encode(QUERIES[:2]), SIDE, ("maxsim",)).scores(next(documents.blocks()))["maxsim"]
    assert np.isneginf(found[:, 0]).all()
    assert np.array_equal(found[:, 1], found[:, 2])


def test_sides_of_different_dimensions_are_refused_in_one_line():
    with pytest.raises(ModelError, match="the documents' model has 8 dimensions, the queries' model 6") as caught:
        TokenScorer(WordSide(6).encode(QUERIES), SIDE)
    assert "\n" not in str(caught.value)
