"""Tokens of a corpus, counted on a sample."""

import numpy as np
import pytest

from optical_ray.artifacts import Store
from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus_config import SPLITS, CorpusConfig
from optical_ray.data.token_counts import count_tokens
from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("counts")
    draw = np.random.default_rng(0)
    words = ["simba", "mto", "kitabu", "mwalimu", "leo"]
    lines = [f"sentence number {i} of the river\t{' '.join(draw.choice(words, draw.integers(1, 9)))}" for i in range(600)]
    (folder / "en-sw.tsv").write_text("".join(f"{line}\n" for line in lines))
    config = CorpusConfig(sources=(str(folder / "en-sw.tsv"),)).override(
        {"min_pairs": 1, "cleaning.near_duplicates": "off", "cleaning.min_length_ratio": 0, "cleaning.max_length_ratio": None}
    )
    return build_corpus(Store(folder / "store"), config)


@pytest.fixture(scope="module")
def tokenizer(corpus):
    folder = corpus.folder.parent / "tokenizer"
    texts = corpus.rows("sw", "train", ("text",))["text"].to_pylist()
    train_tokenizer([text.replace("leo", "") for text in texts], TokenizerConfig(vocab_size=100, min_frequency=1), folder)
    return load_tokenizer(str(folder))


def _one_by_one(corpus, tokenizer):
    texts = [text for split in SPLITS for text in corpus.rows("sw", split, ("text",))["text"].to_pylist()]
    return texts, [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def test_counted_on_every_row_the_number_is_exact(corpus, tokenizer):
    texts, ids = _one_by_one(corpus, tokenizer)
    found = count_tokens(corpus, tokenizer)["sw"]
    total = sum(map(len, ids))
    assert (found.rows, found.tokens, found.margin) == (len(texts), total, 0.0)
    assert found.per_word == pytest.approx(total / sum(len(text.split()) for text in texts))
    assert found.unknown == pytest.approx(sum(one.count(tokenizer.unk_token_id) for one in ids) / total)


def test_counted_on_some_rows_the_interval_holds_the_number(corpus, tokenizer):
    total = sum(map(len, _one_by_one(corpus, tokenizer)[1]))
    found = count_tokens(corpus, tokenizer, rows=150)["sw"]
    assert 150 <= found.rows <= 152
    assert 0.01 < found.margin < 0.15
    assert abs(found.tokens - total) < 1.5 * found.margin * total
