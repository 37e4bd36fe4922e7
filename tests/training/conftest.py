"""Two workers, and a tokenizer, for the whole folder."""

import pytest
from training.two_workers import TwoWorkers

from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory):
    workers = TwoWorkers(tmp_path_factory.mktemp("workers"))
    yield workers
    workers.close()


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """Of made-up words, to lie beside a student in its checkpoint."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["kitabu cha mwalimu", "mtoto anasoma kitabu"], TokenizerConfig(vocab_size=100, min_frequency=1), folder)
    return load_tokenizer(str(folder))
