import numpy as np
import pytest
import torch
from retrieval.search.made_up import ListDocuments, WordSide, sentences

from optical_ray.artifacts import Store
from optical_ray.errors import ArtifactError, ModelError, NumericsError
from optical_ray.retrieval.collection import BLOCK_DOCUMENTS
from optical_ray.retrieval.search.index import build_index, forecast_bytes, open_index
from optical_ray.retrieval.search.passages import DistinctPassages
from optical_ray.retrieval.search.token_scorer import TokenScorer

SIDE = WordSide()
QUERIES = SIDE.encode(("the red book", "some bread", "", "her hat her hat"))
SMALL = ListDocuments(tuple(sentences(3, seed=place)[: 1 + place % 3] for place in range(40)))
LARGE = ListDocuments(tuple((text,) for text in sentences(2 * BLOCK_DOCUMENTS + 100)))
CENTRE = torch.linspace(-1, 1, SIDE.dimension)


def test_an_index_of_tokens_gives_the_scores_of_encoding_now_but_for_float16(tmp_path):
    index = build_index(Store(tmp_path), SIDE, SMALL)
    for block in SMALL.blocks():
        for scorer in ("maxsim", "pooled"):
            fresh = TokenScorer(QUERIES, SIDE, (scorer,), CENTRE, CENTRE).scores(block)[scorer]
            stored = TokenScorer(QUERIES, index, (scorer,), CENTRE, CENTRE).scores(block)[scorer]
            np.testing.assert_allclose(stored, fresh, atol=2e-3)


def test_a_pooled_index_gives_the_pooled_scores_but_for_float16(tmp_path):
    index = build_index(Store(tmp_path), SIDE, SMALL, "pooled", CENTRE)
    block = next(SMALL.blocks())
    fresh = TokenScorer(QUERIES, SIDE, ("pooled",), CENTRE, CENTRE).scores(block)["pooled"]
    np.testing.assert_allclose(TokenScorer(QUERIES, index, ("pooled",), CENTRE).scores(block)["pooled"], fresh, atol=2e-3)


def test_each_block_is_found_by_its_documents(tmp_path):
    index = build_index(Store(tmp_path), SIDE, LARGE)
    blocks = list(LARGE.blocks())
    assert [index.numbers[key] for key in index.numbers] == [0, 1, 2]
    for block in reversed(blocks):
        stored = TokenScorer(QUERIES, index, ("maxsim",)).scores(block)["maxsim"]
        np.testing.assert_allclose(stored, TokenScorer(QUERIES, SIDE, ("maxsim",)).scores(block)["maxsim"], atol=2e-3)


def test_whoever_encodes_a_block_writes_the_same_bytes(tmp_path):
    def backwards(work, numbers):
        for number in reversed(numbers):
            work(number)

    first = build_index(Store(tmp_path / "a"), SIDE, LARGE)
    second = build_index(Store(tmp_path / "b"), SIDE, LARGE, each=backwards)
    names = sorted(path.name for path in first.folder.glob("*.vectors"))
    assert len(names) == 3
    for name in names:
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_killed_halfway_it_goes_on_with_the_blocks_that_are_missing(tmp_path):
    done = []

    def dies(work, numbers):
        work(numbers[0])
        raise KeyboardInterrupt

    def counts(work, numbers):
        done.extend(numbers)
        for number in numbers:
            work(number)

    with pytest.raises(KeyboardInterrupt):
        build_index(Store(tmp_path), SIDE, LARGE, each=dies)
    index = build_index(Store(tmp_path), SIDE, LARGE, each=counts)
    assert done == [1, 2]
    assert build_index(Store(tmp_path), SIDE, LARGE, each=dies) == index  # there already: nothing is encoded


def test_the_forecast_is_what_lies_on_the_disk(tmp_path):
    for form in ("tokens", "pooled"):
        index = build_index(Store(tmp_path), SIDE, LARGE, form)
        texts = [text for block in LARGE.blocks() for text in DistinctPassages.of(block).texts]
        tokens = sum(len(text.split()) for text in texts) / len(texts)
        forecast = forecast_bytes(len(texts), SIDE.dimension, tokens if form == "tokens" else None)
        assert index.num_bytes == sum(path.stat().st_size for path in index.folder.glob("*.vectors"))
        assert index.num_bytes == pytest.approx(forecast - 10 * len(texts))


def test_queries_of_other_dimensions_are_refused_in_one_line(tmp_path):
    index = build_index(Store(tmp_path), SIDE, SMALL)
    with pytest.raises(ModelError, match="the index has 8 dimensions, the queries' model 6") as caught:
        TokenScorer(WordSide(6).encode(("a",)), index)
    assert str(index.folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_pooled_index_is_not_asked_for_maxsim_nor_centred_twice(tmp_path):
    index = build_index(Store(tmp_path), SIDE, SMALL, "pooled")
    with pytest.raises(ModelError, match="one pooled vector for each passage, but maxsim, pooled is asked for"):
        TokenScorer(QUERIES, index)
    with pytest.raises(ValueError, match="centred before"):
        TokenScorer(QUERIES, index, ("pooled",), document_centre=CENTRE)


def test_documents_that_were_not_indexed_are_named(tmp_path):
    index = build_index(Store(tmp_path), SIDE, SMALL)
    with pytest.raises(ArtifactError, match="no block that begins with document 'd0'"):
        TokenScorer(QUERIES, index).scores(next(LARGE.blocks()))


def test_damaged_files_are_one_line_each(tmp_path):
    index = build_index(Store(tmp_path), SIDE, SMALL)
    scorer, block = TokenScorer(QUERIES, index), next(SMALL.blocks())
    vectors, facts = index.folder / "00000.vectors", index.folder / "00000.npz"
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-2])
    with pytest.raises(ArtifactError, match=f"{len(whole) - 2} bytes, expected {len(whole)}"):
        scorer.scores(block)
    vectors.write_bytes(whole)
    facts.write_bytes(facts.read_bytes()[:40])
    with pytest.raises(ArtifactError, match="cannot be read"):
        scorer.scores(block)
    (index.folder / "manifest.json").write_text('{"kind": "tokenizer", "inputs": {}, "facts": {}}')
    with pytest.raises(ArtifactError, match="is a tokenizer of format None"):
        open_index(index.folder)


def test_a_vector_that_float16_cannot_hold_stops_the_build(tmp_path):
    with pytest.raises(NumericsError, match="token vectors are NaN, infinite or beyond 65504"):
        build_index(Store(tmp_path), WordSide(scale=1e6), SMALL)


def test_tokens_are_kept_raw(tmp_path):
    with pytest.raises(ValueError, match="kept raw"):
        build_index(Store(tmp_path), SIDE, SMALL, centre_D=CENTRE)
