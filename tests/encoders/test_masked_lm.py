"""The masked language model against transformers' own, and its head in a checkpoint."""

import logging

import pytest
import torch
import transformers

from optical_ray.data.masking import IGNORED
from optical_ray.encoders.config import StudentConfig, TokenizerConfig
from optical_ray.encoders.masked_lm import build_masked_lm, load_masked_lm, save_masked_lm
from optical_ray.encoders.pretrained import load_tokenizer
from optical_ray.encoders.student import build_student
from optical_ray.encoders.tokenizer import train_tokenizer
from optical_ray.errors import ModelError
from optical_ray.training.masked_lm import masked_cross_entropy

PIECES = 100
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": PIECES}
MODERN = {"max_position_embeddings": 20, "pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "reference_compile": False}
FAMILIES = {
    "bert": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SIZES, max_position_embeddings=20, hidden_act="relu")),
    "xlm-r": lambda: transformers.XLMRobertaForMaskedLM(transformers.XLMRobertaConfig(**SIZES, max_position_embeddings=22, pad_token_id=1)),
    "distilbert": lambda: transformers.DistilBertForMaskedLM(
        transformers.DistilBertConfig(vocab_size=PIECES, dim=16, n_layers=1, n_heads=2, hidden_dim=24, max_position_embeddings=20)
    ),
    "modernbert": lambda: transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**SIZES, **MODERN)),
    "untied": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**SIZES, max_position_embeddings=20, tie_word_embeddings=False)),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["kitabu cha mwalimu", "mtoto anasoma kitabu"], TokenizerConfig(vocab_size=PIECES, min_frequency=1), folder)
    return load_tokenizer(str(folder))


def a_batch():
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 30, (4, 9), generator=generator)
    attention = torch.arange(9)[None] < torch.tensor([[9], [5], [7], [3]])
    labels = ids.masked_fill(~(attention & (torch.rand(4, 9, generator=generator) < 0.5)), IGNORED)
    return torch.where(labels != IGNORED, 4, ids), attention, labels


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folders_own_head_gives_the_loss_that_transformers_gives(family, tmp_path, tokenizer, caplog):
    torch.manual_seed(0)
    theirs = FAMILIES[family]().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # so that no bias is 0 and no norm the identity
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ids, attention, labels = a_batch()
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=attention.long(), labels=labels).loss
    ours = build_masked_lm(StudentConfig(init=str(tmp_path), max_tokens=16), tokenizer, torch.Generator()).eval()
    with torch.no_grad():
        found = masked_cross_entropy(ours, ours(ids, attention), labels).mean()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert "no masked-LM head" not in caplog.text
    parameters = {id(each) for each in ours.parameters()}
    assert len(parameters) == len(list(ours.parameters()))
    assert (ours.head.decoder_VD is not None) == (family == "untied")

    save_masked_lm(ours, tokenizer, tmp_path / "checkpoint")
    again = load_masked_lm(tmp_path / "checkpoint").eval()
    with torch.no_grad():
        assert torch.equal(masked_cross_entropy(again, again(ids, attention), labels).mean(), found)


def test_an_encoder_without_a_head_gets_a_new_one_and_says_so(tmp_path, tokenizer, caplog):
    encoder = FAMILIES["bert"]().bert
    encoder.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with caplog.at_level(logging.WARNING):
        model = build_masked_lm(StudentConfig(init=str(tmp_path), max_tokens=16), tokenizer, torch.Generator().manual_seed(0))
    assert "has no masked-LM head of a known kind" in caplog.text
    assert all(torch.equal(one, other) for one, other in zip(model.encoder.parameters(), encoder.parameters(), strict=True))
    assert model.guess(torch.zeros(3, 16)).shape == (3, PIECES)


def test_a_new_model_starts_with_the_weights_of_a_new_student(tokenizer):
    config = StudentConfig(hidden_size=16, num_heads=2, feedforward_size=24, max_tokens=12)
    model = build_masked_lm(config, tokenizer, torch.Generator().manual_seed(5))
    student = build_student(config, tokenizer, torch.zeros(6), 1.0, torch.Generator().manual_seed(5))
    for (name, one), (other, two) in zip(model.encoder.named_parameters(), student.encoder.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(one, two)
    ids, attention, labels = a_batch()
    loss = masked_cross_entropy(model, model(ids, attention), labels).mean()
    assert loss.item() == pytest.approx(torch.tensor(float(len(tokenizer))).log().item(), abs=0.1), "it starts near the uniform guess"


def test_a_head_that_is_untied_guesses_as_before_while_the_embeddings_move(tokenizer):
    config = StudentConfig(hidden_size=16, num_heads=2, feedforward_size=24, max_tokens=12)
    model = build_masked_lm(config, tokenizer, torch.Generator().manual_seed(5))
    states = torch.randn(3, 16)
    before = model.guess(states)
    model.head.untie(model.encoder)
    with torch.no_grad():
        model.encoder.get_input_embeddings().weight.mul_(3)
    assert torch.equal(model.guess(states), before)


def test_the_three_rates_have_every_weight_once(tokenizer):
    config = StudentConfig(hidden_size=16, num_heads=2, feedforward_size=24, max_tokens=12)
    model = build_masked_lm(config, tokenizer, torch.Generator())
    embeddings, head = ({id(each) for each in group} for group in (model.embedding_parameters(), model.head_parameters()))
    assert len(embeddings) == 1
    assert not embeddings & head, "the head's table is the word embeddings, which learn at their own rate"


def test_a_damaged_checkpoint_is_one_line(tmp_path, tokenizer):
    config = StudentConfig(hidden_size=16, num_heads=2, feedforward_size=24, max_tokens=12)
    model = build_masked_lm(config, tokenizer, torch.Generator())
    save_masked_lm(model, tokenizer, tmp_path)
    (tmp_path / "masked_lm_head.safetensors").write_bytes(b"no")
    with pytest.raises(ModelError, match="cannot be loaded") as raised:
        load_masked_lm(tmp_path)
    assert "\n" not in str(raised.value)
