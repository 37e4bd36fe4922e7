"""A tiny encoder with a Unigram vocabulary, and what is left of it when an experiment reads one language of it."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from optical_ray.data.building.pipeline import build_corpus
from optical_ray.data.corpus_config import SPLITS
from optical_ray.encoders.pretrained import load_pretrained
from optical_ray.encoders.tokenizer import tokenize

FILE = Path(__file__).parents[2] / "tools" / "trim_vocabulary.py"
SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
PREFIX = "query: "


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("trim_vocabulary", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def corpus(world):
    return build_corpus(world.store, world.recipe.corpus)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, corpus):
    """As XLM-R's kin: Unigram, padding at 1, <mask> at the end and more embeddings than pieces."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    texts = [text for tag in corpus.languages for split in SPLITS for text in corpus.rows(tag, split, ("text",))["text"].to_pylist()]
    texts += [PREFIX + text for text in corpus.english()["english"].to_pylist()]
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        texts, trainers.UnigramTrainer(vocab_size=600, special_tokens=first, unk_token="<unk>", show_progress=False)
    )
    tokenizer.add_special_tokens(["<mask>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    folder = tmp_path_factory.mktemp("unigram")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", **SPECIAL).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=640, pad_token_id=1, bos_token_id=0, eos_token_id=2, max_position_embeddings=64, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def test_what_is_left_reads_the_corpus_as_before(tool, corpus, encoder, tmp_path):
    counts = tool.trim(str(encoder), [corpus], ["sw"], [PREFIX], tmp_path / "small")
    before, after = load_pretrained(str(encoder)), load_pretrained(str(tmp_path / "small"))
    assert counts["kept"] < counts["pieces"]
    assert after[0].get_input_embeddings().num_embeddings == counts["kept"] == after[0].config.vocab_size
    texts = corpus.rows("sw", "test", ("text",))["text"].to_pylist() + corpus.english()["english"].to_pylist()
    tables = [tokenize(tokenizer, texts, 64, PREFIX) for _, tokenizer in (before, after)]
    assert tables[0].offsets.tolist() == tables[1].offsets.tolist() and tables[0].content.tolist() == tables[1].content.tolist()
    pieces = [tokenizer.convert_ids_to_tokens(table.ids.tolist()) for table, (_, tokenizer) in zip(tables, (before, after), strict=True)]
    assert pieces[0] == pieces[1]
    with torch.inference_mode():
        for index in (0, len(texts) - 1):
            vectors = [
                model.eval()(input_ids=torch.tensor(table.slice(index, index + 1).ids, dtype=torch.int64)[None]).last_hidden_state
                for table, (model, _) in zip(tables, (before, after), strict=True)
            ]
            assert torch.equal(*vectors)


def test_special_pieces_stay_and_are_found_by_their_new_numbers(tool, corpus, encoder, tmp_path):
    tool.trim(str(encoder), [corpus], ["sw"], [], tmp_path / "small")
    model, tokenizer = load_pretrained(str(tmp_path / "small"))
    assert tokenizer.pad_token_id == 1 == model.config.pad_token_id == model.get_input_embeddings().padding_idx
    assert tokenizer.convert_ids_to_tokens(tokenizer("x")["input_ids"])[0 :: len(tokenizer("x")["input_ids"]) - 1] == ["<s>", "</s>"]
    assert tokenizer.mask_token_id < model.config.vocab_size
    assert tokenizer.decode([tokenizer.mask_token_id]) == "<mask>"


def test_a_tokenizer_that_is_not_unigram_is_refused(tool, corpus, world, tmp_path, capsys):
    assert tool.main([str(world.teacher), str(corpus.folder), "--out", str(tmp_path / "small")]) == 2
    message = capsys.readouterr().err
    assert "BPE; expected Unigram" in message and len(message.splitlines()) == 1
    assert not (tmp_path / "small").exists()


def test_a_language_that_no_corpus_has_is_refused(tool, corpus, encoder, tmp_path, capsys):
    assert tool.main([str(encoder), str(corpus.folder), "--lang", "fr", "--out", str(tmp_path / "small")]) == 2
    assert "fr: in none of the corpora" in capsys.readouterr().err


def test_a_text_that_would_be_read_otherwise_is_an_error(tool, encoder):
    whole = Tokenizer.from_file(str(encoder / "tokenizer.json"))
    definition = json.loads(whole.to_str())
    poor = Tokenizer.from_str(json.dumps(tool.trim_definition(definition, tool.pieces_to_keep(definition, set()))))
    word = max((piece for piece, _ in definition["model"]["vocab"] if not piece.startswith("<")), key=len).removeprefix("▁")
    with pytest.raises(tool.ModelError, match="nothing was written"):
        tool.check_same(whole, poor, [word])
