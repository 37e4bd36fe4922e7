import pytest
from transformers import AutoTokenizer

from optical_ray.encoders.config import TokenizerConfig
from optical_ray.encoders.tokenizer import tokenize, train_tokenizer
from optical_ray.errors import ConfigError

TEXTS = ["habari ya asubuhi", "habari ya jioni", "asubuhi njema sana", "सुप्रभात मित्र", "मित्र नमस्ते"]


def test_training_twice_gives_the_same_file(tmp_path):
    for name in ("a", "b"):
        train_tokenizer(TEXTS, TokenizerConfig(vocab_size=100, min_frequency=1), tmp_path / name)
    assert (tmp_path / "a" / "tokenizer.json").read_bytes() == (tmp_path / "b" / "tokenizer.json").read_bytes()


def test_special_and_prefix_tokens_are_no_content(tmp_path):
    train_tokenizer(TEXTS, TokenizerConfig(vocab_size=100, min_frequency=1), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    plain = tokenize(tokenizer, TEXTS, 64)
    prefixed = tokenize(tokenizer, TEXTS, 64, prefix="njema: ")
    assert len(plain) == len(TEXTS)
    for index in range(len(TEXTS)):
        own = slice(plain.offsets[index], plain.offsets[index + 1])
        assert plain.content[own].tolist() == [False, *[True] * (own.stop - own.start - 2), False]
        other = slice(prefixed.offsets[index], prefixed.offsets[index + 1])
        kept = prefixed.ids[other][prefixed.content[other]].tolist()
        assert tokenizer.decode(kept).strip() == tokenizer.decode(plain.ids[own][plain.content[own]].tolist()).strip()


def test_long_texts_are_cut_with_their_end_token(tmp_path):
    train_tokenizer(TEXTS, TokenizerConfig(vocab_size=100, min_frequency=1), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    table = tokenize(tokenizer, ["habari " * 50], 10)
    assert table.lengths.tolist() == [10]
    assert table.ids[-1] == tokenizer.sep_token_id
    assert len(tokenize(tokenizer, [], 10)) == 0


@pytest.mark.parametrize(("limit", "prefix", "least"), [(0, "", 3), (1, "", 3), (2, "", 3), (3, "habari: ", 5)])
def test_a_limit_that_leaves_nothing_of_a_text_is_refused(limit, prefix, least, tmp_path):
    train_tokenizer(TEXTS, TokenizerConfig(vocab_size=100, min_frequency=1), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=f"a limit of {limit} tokens: .* expected at least") as raised:
        tokenize(tokenizer, TEXTS, limit, prefix)
    found = int(str(raised.value).rsplit(" ", 1)[1])
    assert found >= least
    table = tokenize(tokenizer, TEXTS, found, prefix)
    assert all(table.slice(index, index + 1).content.any() for index in range(len(TEXTS))), "something of each is left"
