"""Queries are translated by a local checkpoint: as the model alone would, whatever the batch; each text once."""

import shutil

import pytest
import torch
from retrieval.searches import make_queries
from sentences import translate as in_language
from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

from optical_ray.errors import ModelError
from optical_ray.retrieval.systems import seq2seq
from optical_ray.retrieval.systems.seq2seq import translate_with, write_translations
from optical_ray.retrieval.systems.translation import read_translations

ENGLISH = ("the gate", "a woman sells bread", "our friend finds two letters", "the gate")
QUERIES = make_queries([(str(i), "sw" if i else "en", in_language(text, "sw") if i else text) for i, text in enumerate(ENGLISH)])


@pytest.fixture(scope="module")
def checkpoint(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("t5")
    tokenizer = AutoTokenizer.from_pretrained(world.teacher)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.sep_token_id, "decoder_start_token_id": tokenizer.pad_token_id}
    config = T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, **ids)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def test_every_query_that_is_not_english_is_translated_as_the_model_does_alone(checkpoint, monkeypatch, tmp_path):
    monkeypatch.setattr(seq2seq, "ENGLISH_TOKENS", 12)
    told = []
    found = translate_with(str(checkpoint), [QUERIES, QUERIES], progress=told.append)
    assert sorted(found) == [("sw", "1"), ("sw", "2"), ("sw", "3")]
    assert told == ["translates sw: 3 of 3"]
    tokenizer, model = AutoTokenizer.from_pretrained(checkpoint), T5ForConditionalGeneration.from_pretrained(checkpoint).eval()
    for name, text in zip(QUERIES.ids[1:], QUERIES.texts[1:], strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        alone = model.generate(input_ids=ids, num_beams=4, do_sample=False, max_new_tokens=12)
        assert found["sw", name] == " ".join(tokenizer.decode(alone[0], skip_special_tokens=True).split()) != ""
    write_translations(tmp_path / "t.tsv", found)
    assert read_translations(tmp_path / "t.tsv") == found


def test_a_model_that_names_its_languages_must_know_them(checkpoint, monkeypatch):
    load = seq2seq._load

    def with_codes(path, device):
        model, tokenizer = load(path, device)
        tokenizer.add_tokens(["eng_Latn", "fra_Latn", "zho_Hans"])
        tokenizer.src_lang = "eng_Latn"
        return model, tokenizer

    monkeypatch.setattr(seq2seq, "_load", with_codes)
    assert seq2seq._language_codes(with_codes(str(checkpoint), "cpu")[1]) == {"en": "eng_Latn", "fr": "fra_Latn", "zh-Hans": "zho_Hans"}
    with pytest.raises(ModelError, match="translates from 3 languages, sw is not among them"):
        translate_with(str(checkpoint), [QUERIES])


def test_an_encoder_is_no_translator(world, tmp_path):
    with pytest.raises(ModelError, match="cannot be loaded as a sequence-to-sequence model .*; give a folder of Marian"):
        translate_with(str(world.teacher), [QUERIES])
    shutil.copy(world.teacher / "tokenizer.json", tmp_path / "tokenizer.json")
    with pytest.raises(ModelError):
        translate_with(str(tmp_path), [QUERIES])
