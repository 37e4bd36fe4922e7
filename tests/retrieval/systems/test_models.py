"""A side gives what its model gives, text by text, without special and prefix tokens; pooled as its folder says; and says what is wrong."""

import json
import pickle
import shutil

import pytest
import torch
from encoders.folders import make_bert, save_dense, save_modules, save_pylate, save_tokenizer, write
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from optical_ray.encoders.config import StudentConfig, TextForm
from optical_ray.encoders.student import Student
from optical_ray.encoders.student_folder import save_student
from optical_ray.errors import ModelError
from optical_ray.retrieval.systems.models import Model, SentenceSide, TokenSide, check_dimensions

TEXTS = ("the teacher reads the red book", "a woman sells bread", "the gate", "our friend finds two letters and some bread")


def states_of(folder, text, max_tokens=64):
    """Ids and last hidden states of one text alone, by transformers."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
    inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_tokens)
    with torch.no_grad():
        return inputs["input_ids"][0], model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state[0]


def save_dense_model(world, folder, pooling, *, behind=False, **texts):
    make_bert(vocab_size=200).save_pretrained(folder)
    save_tokenizer(world, folder)
    modules = [("", "sentence_transformers.models.Transformer"), ("1_Pooling", "sentence_transformers.models.Pooling")]
    write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 16} | pooling)
    if behind:
        modules.append(("2_Dense", "sentence_transformers.models.Dense"))
        save_dense(folder / "2_Dense", activation_function="torch.nn.modules.activation.Tanh")
    save_modules(folder, *modules, ("9_Normalize", "sentence_transformers.models.Normalize"))
    if texts:
        write(folder / "config_sentence_transformers.json", texts)


def test_tokens_are_those_of_each_text_alone(world):
    side = TokenSide(Model(str(world.teacher)), TextForm("", 64))
    clouds = side.encode(TEXTS)
    expected = [states_of(world.teacher, text)[1][1:-1] for text in TEXTS]
    assert clouds.lengths.tolist() == [len(part) for part in expected]
    torch.testing.assert_close(clouds.vectors_TD, torch.cat(expected), atol=1e-5, rtol=1e-5)
    assert side.dimension == clouds.vectors_TD.shape[1] == 32


def test_prefix_tokens_are_read_and_not_given(world):
    side = TokenSide(Model(str(world.teacher)), TextForm("a woman ", 64))
    expected = states_of(world.teacher, "a woman the gate")[1][1:-1]
    found = side.encode(["the gate"]).vectors_TD
    assert 0 < len(found) < len(expected)
    torch.testing.assert_close(found, expected[-len(found) :], atol=1e-5, rtol=1e-5)


def test_the_same_texts_give_the_same_bits(world):
    side = TokenSide(Model(str(world.teacher)), TextForm("", 64))
    assert torch.equal(side.encode(TEXTS).vectors_TD, pickle.loads(pickle.dumps(side)).encode(TEXTS).vectors_TD)


def test_folders_say_how_queries_and_documents_are_read(world, tmp_path):
    save_pylate(world, tmp_path)
    model = Model(str(tmp_path))
    assert (model.form("query"), model.form("document")) == (TextForm("[Q] ", 12), TextForm("[D] ", 20))
    assert model.form("document", "passage: ", 32) == TextForm("passage: ", 32)
    assert model.dimension == 6 and model.pooling is None
    plain = Model(str(world.teacher))
    assert (plain.form("query"), plain.form("document")) == (TextForm("", 64), TextForm("", 64))  # its positions end there
    with pytest.raises(ModelError, match="reads at most 64 tokens, a query may have 65; lower --query-tokens"):
        plain.form("query", None, 65)


def test_a_student_is_read_as_its_folder_says(world, tmp_path):
    torch.manual_seed(0)
    student = Student(make_bert(vocab_size=200), torch.nn.Linear(16, 32), torch.randn(32)).eval()
    config = StudentConfig(prefix="query: ", max_tokens=16, document_prefix="", document_max_tokens=24)
    save_student(student, AutoTokenizer.from_pretrained(world.teacher), config, tmp_path)
    model = Model(str(tmp_path))
    assert model.is_student and not model.centred
    assert (model.form("query"), model.form("document")) == (TextForm("query: ", 16), TextForm("", 24))
    assert torch.equal(model.centre(), student.centre_D)
    ids = torch.tensor(AutoTokenizer.from_pretrained(world.teacher)("the gate")["input_ids"])[None]
    with torch.no_grad():
        expected = student(ids, torch.ones_like(ids))[0, 1:-1]
    torch.testing.assert_close(TokenSide(model, model.form("document")).encode(["the gate"]).vectors_TD, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("flags", [{"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, {"pooling_mode": "mean"}])
def test_a_dense_model_pools_all_tokens_where_its_folder_says_mean(world, tmp_path, flags):
    save_dense_model(world, tmp_path, flags)
    found = SentenceSide(Model(str(tmp_path)), TextForm("", 64)).encode(TEXTS)
    expected = torch.stack([normalize(states_of(tmp_path, text)[1].mean(0), dim=0) for text in TEXTS])
    assert found.lengths.tolist() == [1] * len(TEXTS)
    torch.testing.assert_close(found.vectors_TD, expected, atol=1e-5, rtol=1e-5)


def test_a_dense_model_takes_cls_and_the_layer_behind_it_where_its_folder_says_so(world, tmp_path):
    save_dense_model(world, tmp_path, {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, behind=True)
    side = SentenceSide(Model(str(tmp_path)), TextForm("", 64))
    weight, _ = save_dense(tmp_path / "again")
    expected = torch.stack([normalize(torch.tanh(weight @ states_of(tmp_path, text)[1][0]), dim=0) for text in TEXTS])
    assert side.dimension == 6
    torch.testing.assert_close(side.encode(TEXTS).vectors_TD, expected, atol=1e-5, rtol=1e-5)
    assert TokenSide(side.model, side.form).dimension == 16  # on tokens there is no layer


def test_a_prompt_is_left_out_of_the_mean_where_the_folder_says_so(world, tmp_path):
    save_dense_model(world, tmp_path, {"pooling_mode_mean_tokens": True, "include_prompt": False}, prompts={"query": "a woman "})
    model = Model(str(tmp_path))
    assert model.form("query").prefix == "a woman "
    _, states = states_of(tmp_path, "a woman the gate")
    length = len(states_of(tmp_path, "a woman")[0]) - 1  # as Sentence-Transformers counts: with CLS, without SEP
    found = SentenceSide(model, model.form("query")).encode(["the gate"]).vectors_TD[0]
    torch.testing.assert_close(found, normalize(states[length:].mean(0), dim=0), atol=1e-5, rtol=1e-5)


def test_a_way_of_pooling_that_cannot_be_done_is_refused(world, tmp_path):
    save_dense_model(world, tmp_path, {"pooling_mode_max_tokens": True})
    with pytest.raises(ModelError, match="pools its tokens by 'max', expected one of mean, cls"):
        SentenceSide(Model(str(tmp_path)), TextForm("", 64)).encode(TEXTS)
    assert len(TokenSide(Model(str(tmp_path)), TextForm("", 64)).encode(TEXTS)) == 4  # its tokens can be had


def test_sides_of_other_dimensions_are_refused_in_one_line(world, tmp_path):
    save_pylate(world, tmp_path)
    with pytest.raises(ModelError, match=r"token vectors have 6 dimensions, those of .*teacher have 32; give the teacher"):
        check_dimensions(Model(str(tmp_path)), Model(str(world.teacher)))


def test_a_model_without_a_fast_tokenizer_is_refused(world, tmp_path, monkeypatch):
    class Slow:
        name_or_path = "models/slow"

    monkeypatch.setattr("optical_ray.retrieval.systems.models.load_model", lambda model, device: _loaded(Slow()))
    with pytest.raises(ModelError, match="models/slow: its tokenizer has no fast form"):
        TokenSide(Model(str(world.teacher)), TextForm("", 64)).encode(TEXTS)


def _loaded(tokenizer):
    from optical_ray.retrieval.systems.models import Loaded

    return Loaded(None, tokenizer, 32)


def test_any_text_is_cut_where_the_folder_of_sentence_transformers_says(world, tmp_path):
    folder = tmp_path / "m"
    save_dense_model(world, folder, {"pooling_mode": "mean"})
    assert [Model(str(folder)).form(kind).max_tokens for kind in ("query", "document")] == [64, 64], "64 positions"
    for said, taken in ((16, 16), (None, 64), (500, 64)):
        write(folder / "sentence_bert_config.json", {"max_seq_length": said})
        assert [Model(str(folder)).form(kind).max_tokens for kind in ("query", "document")] == [taken, taken]
    assert Model(str(folder)).form("query", max_tokens=9).max_tokens == 9
    write(folder / "sentence_bert_config.json", {"max_seq_length": "long"})
    with pytest.raises(ModelError, match="max_seq_length is 'long'; expected a number of tokens"):
        Model(str(folder)).form("query")


def test_fingerprints_change_with_weights_and_forms_and_not_with_places(world, tmp_path):
    shutil.copytree(world.teacher, tmp_path / "copy")
    here, there = (TokenSide(Model(str(path)), TextForm("", 64)) for path in (world.teacher, tmp_path / "copy"))
    assert here.fingerprint == there.fingerprint
    others = [TokenSide(here.model, TextForm("", 32)), TokenSide(here.model, TextForm("q: ", 64)), SentenceSide(here.model, here.form)]
    assert len({here.fingerprint, *(side.fingerprint for side in others)}) == 4
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.2}))
    assert here.fingerprint != there.fingerprint
