"""Encoders as systems: MaxSim and pooled by plain loops, with and without what tells languages apart."""

import pickle

import numpy as np
import pytest
import torch
from retrieval.searches import ListedDocuments, cut_blocks, make_queries, whole_block
from retrieval.systems.sides import WordSide
from torch.nn.functional import normalize

from optical_ray.artifacts import Store
from optical_ray.errors import ModelError
from optical_ray.retrieval.systems.languages import DocumentStatistics, describe_languages, sample_documents
from optical_ray.retrieval.systems.memory import EncodingMemory
from optical_ray.retrieval.systems.tokens import DenseSystem, TokenSystem

QUERIES = make_queries([("1", "sw", "a b c"), ("2", "sw", "b"), ("3", "ha", "d e"), ("4", "ha", "f a")])
DOCUMENTS = ListedDocuments([("p", "en", "a b"), ("q", "fr", ["c", "b d e"]), ("r", "en", "e f g h"), ("s", "fr", "a")])


def tokens_of(side, rows, language_of, removal):
    """Of each text, its tokens after the removal, by plain loops."""
    clouds = [[side.encode([word]).vectors_TD[0] for word in text.split()] for text in rows]
    for language in sorted(set(language_of)):
        own = [token for cloud, of in zip(clouds, language_of, strict=True) if of == language for token in cloud]
        stacked = torch.stack(own)
        top = torch.linalg.svd(stacked.double()).Vh[0].float()
        for cloud, of in zip(clouds, language_of, strict=True):
            if of == language:
                for place, token in enumerate(cloud):
                    if removal == "means":
                        cloud[place] = token - stacked.mean(0)
                    elif removal == "components":
                        cloud[place] = token - (token @ top) * top
    return [normalize(torch.stack(cloud), dim=1) for cloud in clouds]


def expected_scores(side, removal, scorer):
    queries = tokens_of(side, QUERIES.texts, QUERIES.languages, removal)
    passages = [(place, text, language) for place, (_, language, texts) in enumerate(DOCUMENTS.rows) for text in texts]
    documents = tokens_of(side, [text for _, text, _ in passages], [language for *_, language in passages], removal)
    found = np.full((4, 4), -np.inf)
    for q, query in enumerate(queries):
        for (place, *_), document in zip(passages, documents, strict=True):
            forward = (query @ document.T).max(1).values.mean()
            backward = (query @ document.T).max(0).values.mean()
            pooled = normalize(query.mean(0), dim=0) @ normalize(document.mean(0), dim=0)
            value = {"maxsim": forward, "maxsim-symmetric": (forward + backward) / 2, "pooled": pooled}[scorer]
            found[q, place] = max(found[q, place], float(value))
    return found


@pytest.fixture
def all_passages(monkeypatch):
    """Statistics of documents are of all passages here, so that plain loops need no sample."""
    monkeypatch.setattr(
        "optical_ray.retrieval.systems.languages.sample_documents",
        lambda documents, count: {"en": ("a b", "e f g h"), "fr": ("c", "b d e", "a")},
    )


@pytest.mark.parametrize("scorer", ["maxsim", "maxsim-symmetric", "pooled"])
@pytest.mark.parametrize("removal", ["none", "means", "components"])
@pytest.mark.usefixtures("all_passages")
def test_scores_are_those_of_plain_loops(removal, scorer):
    side = WordSide(offsets={"a": 2.0, "e": -1.0})
    system = TokenSystem("student", side, side, EncodingMemory(), removal=removal, statistics=DocumentStatistics(1))
    found = system.prepare(QUERIES, DOCUMENTS).scores(whole_block(DOCUMENTS))
    assert tuple(found) == system.scorers
    np.testing.assert_allclose(found[scorer], expected_scores(side, removal, scorer), atol=2e-5)


def test_an_offset_of_a_language_is_removed_with_its_mean():
    """Documents of one language and queries of another that lies elsewhere: the removal brings them together."""
    texts = ["a b", "c d", "e f", "g h"]
    queries = make_queries([(str(i), "sw", text) for i, text in enumerate(texts)])
    documents = ListedDocuments([(str(i), "en", text) for i, text in enumerate(texts)])
    near, far = WordSide("near"), WordSide("far", offsets=dict.fromkeys("abcdefgh", torch.arange(8.0) * 3))
    found = {}
    for removal in ("none", "means"):
        system = TokenSystem("student", far, near, EncodingMemory(), removal=removal)
        found[removal] = system.prepare(queries, documents).scores(whole_block(documents))["pooled"]
    assert np.diag(found["means"]).min() > 0.9999
    assert np.diag(found["none"]).max() < 0.9


def test_centres_are_subtracted_from_the_side_that_they_are_of():
    side, centre_D, other_D = WordSide(), torch.randn(8), torch.randn(8)
    system = TokenSystem("student", side, side, EncodingMemory(), centre_D, other_D)
    found = system.prepare(QUERIES, DOCUMENTS).scores(whole_block(DOCUMENTS))["maxsim"]
    query = normalize(side.encode(["a b c"]).vectors_TD - centre_D, dim=1)
    document = normalize(side.encode(["a b"]).vectors_TD - other_D, dim=1)
    assert found[0, 0] == pytest.approx(float((query @ document.T).max(1).values.mean()), abs=1e-5)


def test_a_language_whose_mean_was_given_loses_that_and_another_its_own():
    side, given_D = WordSide(), torch.randn(8)
    system = TokenSystem("student", side, side, EncodingMemory(), {"sw": given_D}, None)
    found = system.prepare(QUERIES, DOCUMENTS).scores(whole_block(DOCUMENTS))["maxsim"]
    document = normalize(side.encode(["a b"]).vectors_TD, dim=1)
    own_D = side.encode(["d e f a"]).vectors_TD.mean(0)
    for q, text, mean_D in ((0, "a b c", given_D), (2, "d e", own_D)):
        query = normalize(side.encode([text]).vectors_TD - mean_D, dim=1)
        assert found[q, 0] == pytest.approx(float((query @ document.T).max(1).values.mean()), abs=1e-5)


def test_systems_that_share_a_side_encode_its_texts_once():
    queries, documents, memory = WordSide("q"), WordSide("d"), EncodingMemory()
    for removal in ("none", "none"):
        TokenSystem("student", queries, documents, memory, removal=removal).prepare(QUERIES, DOCUMENTS).scores(whole_block(DOCUMENTS))
    assert (queries.encoded, documents.encoded) == (4, 5)


def test_the_memory_forgets_what_was_used_least_lately_and_does_not_travel():
    side, memory = WordSide(), EncodingMemory(limit=3 * 4 * 8)
    for texts in (["a b"], ["c"], ["a b"], ["d"], ["a b"]):
        memory.encode(side, texts)
    assert side.encoded == 3  # `c` made room for `d`
    memory.encode(side, ["c"])
    assert side.encoded == 4
    assert pickle.loads(pickle.dumps(memory))._kept == {}


def test_kept_encodings_give_the_same_scores_to_float16(tmp_path):
    side = WordSide()
    plain, kept = (
        TokenSystem("student", side, side, EncodingMemory(), store=store).prepare(QUERIES, DOCUMENTS) for store in (None, Store(tmp_path))
    )
    before = side.encoded
    for name, scores in kept.scores(whole_block(DOCUMENTS)).items():
        np.testing.assert_allclose(scores, plain.scores(whole_block(DOCUMENTS))[name], atol=2e-3)
    TokenSystem("student", side, side, EncodingMemory(), store=Store(tmp_path)).prepare(QUERIES, DOCUMENTS)
    assert side.encoded - before == 5 + 4  # once for the plain scores, and the last system's queries


def test_a_dense_system_is_the_cosine_of_its_vectors():
    class One(WordSide):
        def encode(self, texts):
            clouds = super().encode([text.split()[0] for text in texts])
            return clouds

    system = DenseSystem("dense", One(), One(), EncodingMemory())
    found = system.prepare(QUERIES, DOCUMENTS).scores(whole_block(DOCUMENTS))
    assert tuple(found) == system.scorers == ("dense",)
    first, second = (normalize(One().encode([text]).vectors_TD[0], dim=0) for text in ("d", "b"))
    third = normalize(One().encode(["c"]).vectors_TD[0], dim=0)
    assert found["dense"][2, 1] == pytest.approx(float(max(first @ second, first @ third)), abs=1e-5)  # the best passage


def test_sides_of_other_dimensions_are_refused():
    with pytest.raises(ModelError, match="has 6 dimensions, the queries' model 8"):
        TokenSystem("student", WordSide(), WordSide("d", 6), EncodingMemory()).prepare(QUERIES, DOCUMENTS)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_sample_of_documents_depends_on_their_ids_alone(size, monkeypatch):
    rows = [(str(i), "en" if i % 3 else "fr", [f"first {i}", f"second {i}"]) for i in range(30)]
    expected = sample_documents(ListedDocuments(rows), 5)
    cut_blocks(monkeypatch, size)
    assert sample_documents(ListedDocuments(rows[::-1]), 5) == expected
    assert {language: len(texts) for language, texts in expected.items()} == {"en": 5, "fr": 5}
    assert all(text.startswith("first") for texts in expected.values() for text in texts)


def test_texts_without_tokens_lie_at_the_origin():
    clouds = WordSide().encode(["a b", ""])
    found = describe_languages(clouds, ["sw", "ha"], 1)
    assert found.means["ha"].tolist() == [0.0] * 8
    torch.testing.assert_close(found.means["sw"], clouds.vectors_TD.mean(0))
