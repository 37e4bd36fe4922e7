"""Encoders of every layout: what their folders say is what comes out of them."""

import json

import pytest
import torch
from encoders.folders import make_bert, save_colbert, save_dense, save_modules, save_pylate, save_tokenizer, write
from safetensors.torch import save_file
from torch.nn.functional import linear
from transformers import (
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from optical_ray.encoders.config import StudentConfig, TeacherConfig, TextForm
from optical_ray.encoders.layout import read_layout
from optical_ray.encoders.pretrained import load_pretrained, load_tokenizer
from optical_ray.encoders.student import build_student
from optical_ray.encoders.teacher import describe_form, load_teacher, read_dimension
from optical_ray.encoders.tokenizer import tokenize
from optical_ray.errors import ModelError

SIZES = {"num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 220, "hidden_size": 16, "intermediate_size": 32}
ENCODERS = {
    "xlm-r": (XLMRobertaModel, XLMRobertaConfig(**SIZES, max_position_embeddings=66), 64),
    "mpnet": (MPNetModel, MPNetConfig(**SIZES, max_position_embeddings=66), 64),
    "distilbert": (
        DistilBertModel,
        DistilBertConfig(vocab_size=220, dim=16, hidden_dim=32, n_layers=1, n_heads=2, max_position_embeddings=64),
        64,
    ),
    "modernbert": (
        ModernBertModel,
        ModernBertConfig(**SIZES, max_position_embeddings=64, pad_token_id=0, cls_token_id=2, sep_token_id=3),
        64,
    ),
}
IDS, MASK = torch.tensor([[2, 9, 10, 11, 3]]), torch.ones(1, 5, dtype=torch.int64)


def build(path, dimension=16, **changes):
    config = StudentConfig(init=str(path), max_tokens=16).override(changes)
    return build_student(config, load_tokenizer(str(path)), torch.ones(dimension), 2.0, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_teaches_and_learns_as_itself(name, world, tmp_path):
    kind, config, limit = ENCODERS[name]
    torch.manual_seed(0)
    model = kind(config).eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(world, tmp_path)
    teacher = load_teacher(str(tmp_path), TeacherConfig())
    with torch.no_grad():
        expected = model(input_ids=IDS, attention_mask=MASK).last_hidden_state
    torch.testing.assert_close(teacher.encode(IDS, MASK), expected, atol=1e-5, rtol=1e-5)
    assert teacher.dimension == read_dimension(str(tmp_path), TeacherConfig()) == 16
    student = build(tmp_path).eval()
    torch.testing.assert_close(student(IDS, MASK), expected, atol=1e-5, rtol=1e-5)
    student.train()(IDS, MASK).sum().backward()
    assert [name for name, parameter in student.encoder.named_parameters() if parameter.grad is None] == []  # no pooler is left to idle
    ids = torch.randint(4, 200, (1, limit))
    assert load_teacher(str(tmp_path), TeacherConfig(max_tokens=limit)).encode(ids, torch.ones_like(ids)).isfinite().all()
    with pytest.raises(ModelError, match=f"reads at most {limit} tokens, teacher.max_tokens is {limit + 1}; lower it"):
        load_teacher(str(tmp_path), TeacherConfig(max_tokens=limit + 1))


@pytest.mark.parametrize("save", [save_pylate, save_colbert, lambda world, folder: save_colbert(world, folder, ".bin")])
def test_a_late_interaction_folder_teaches_through_its_own_projection(save, world, tmp_path):
    model, weight = save(world, tmp_path)
    with torch.no_grad():
        expected = model(input_ids=IDS, attention_mask=MASK).last_hidden_state @ weight.T
    teacher = load_teacher(str(tmp_path), TeacherConfig())
    torch.testing.assert_close(teacher.encode(IDS, MASK), expected, atol=1e-5, rtol=1e-5)
    assert teacher.dimension == read_dimension(str(tmp_path), TeacherConfig()) == 6
    plain = load_teacher(str(tmp_path), TeacherConfig(projection="none"))
    assert plain.dimension == 16
    student = build(tmp_path, dimension=6).eval()
    torch.testing.assert_close(student(IDS, MASK), expected, atol=1e-5, rtol=1e-5)  # it starts as it is


@pytest.mark.parametrize(("save", "marker"), [(save_pylate, "[D] "), (save_colbert, "[unused1]")])
def test_english_is_read_as_the_folder_reads_documents(save, marker, world, tmp_path):
    save(world, tmp_path)
    teacher = load_teacher(str(tmp_path), TeacherConfig())
    assert teacher.form == TextForm(marker, 20)
    tokenizer = load_tokenizer(str(tmp_path))
    plain = tokenize(tokenizer, ["the teacher reads the red book"], 64)
    marked = tokenize(tokenizer, ["the teacher reads the red book"], 64, teacher.form.prefix)
    identity = tokenizer.convert_tokens_to_ids(marker)
    assert marked.ids.tolist() == [plain.ids[0], identity, *plain.ids[1:]]  # behind CLS, and the text as it was without
    assert marked.content.tolist() == [False, False, *plain.content[1:].tolist()]
    assert describe_form(str(tmp_path), TeacherConfig(prefix="", max_tokens=9)) == TextForm("", 9)
    long = tokenize(tokenizer, ["book " * 50, "book"], 20, marker)
    assert long.lengths.tolist() == [20, len(tokenize(tokenizer, ["book"], 20).ids) + 1]
    assert long.ids[19] == tokenizer.sep_token_id


def test_a_marker_and_a_prompt_are_put_together_as_sentence_transformers_does(world, tmp_path):
    save_pylate(world, tmp_path)
    texts = json.loads((tmp_path / "config_sentence_transformers.json").read_text())
    write(tmp_path / "config_sentence_transformers.json", texts | {"prompts": {"query": "[Q] a: ", "document": "the: "}})
    layout = read_layout(str(tmp_path))
    assert (layout.query.prefix, layout.document.prefix) == ("[Q] a: ", "[D] the: ")
    tokenizer = load_tokenizer(str(tmp_path))
    table = tokenize(tokenizer, ["red book"], 64, layout.document.prefix)
    assert table.ids[1] == tokenizer.convert_tokens_to_ids("[D] ")
    kept = tokenizer.decode(table.ids[table.content].tolist())
    assert "red" in kept and "the" not in kept


def test_sentence_transformers_modules_are_applied_in_order_and_what_stands_behind_a_pooling_is_left_out(world, tmp_path):
    model = make_bert()
    model.save_pretrained(tmp_path / "0_Transformer")
    save_tokenizer(world, tmp_path / "0_Transformer")
    first, bias = save_dense(tmp_path / "1_Dense", bias=True, activation_function="torch.nn.modules.activation.Tanh", use_residual=True)
    residual = torch.randn(6, 16)
    save_file({"linear.weight": first, "linear.bias": bias, "residual.weight": residual}, tmp_path / "1_Dense" / "model.safetensors")
    second, _ = save_dense(tmp_path / "2_Dense", seed=2, in_features=6, out_features=4)
    save_dense(tmp_path / "4_Dense", seed=3, in_features=4, out_features=2)
    kinds = ("Transformer", "Dense", "Dense", "Pooling", "Dense", "Normalize")
    paths = ("0_Transformer", "1_Dense", "2_Dense", "3_Pooling", "4_Dense", "5_Normalize")
    save_modules(tmp_path, *((path, f"sentence_transformers.models.{kind}") for path, kind in zip(paths, kinds, strict=True)))
    with torch.no_grad():
        states = model(input_ids=IDS, attention_mask=MASK).last_hidden_state
        expected = (torch.tanh(linear(states, first, bias)) + states @ residual.T) @ second.T
    teacher = load_teacher(str(tmp_path), TeacherConfig())
    torch.testing.assert_close(teacher.encode(IDS, MASK), expected, atol=1e-5, rtol=1e-5)
    assert teacher.form == TextForm("", 64)


def test_a_student_whose_dense_layer_does_not_fit_starts_its_projection_anew_and_says_so(world, tmp_path, caplog):
    save_pylate(world, tmp_path)
    student = build(tmp_path, dimension=5)
    assert student.projection.weight.shape == (5, 16)
    assert "are no linear map to the teacher's 5 dimensions; the projection starts anew" in caplog.text


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "modules.json").write_text("{"), "modules.json: cannot be read as JSON"),
        (lambda f: (f / "modules.json").write_text("[1]"), "is no module; expected an object with `type` and `path`"),
        (lambda f: save_modules(f, ("", "x.Transformer"), ("1_CNN", "x.CNN")), "module x.CNN cannot be read here"),
        (lambda f: save_modules(f, ("../elsewhere", "x.Transformer")), "points outside the folder"),
        (lambda f: save_modules(f, ("1_Dense", "x.Normalize")), "no Transformer among its modules"),
        (lambda f: (f / "1_Dense" / "config.json").unlink(), "no 1_Dense/config.json, which modules.json announces"),
        (lambda f: (f / "1_Dense" / "model.safetensors").unlink(), "no 1_Dense/model.safetensors, which modules.json announces"),
        (lambda f: (f / "1_Dense" / "model.safetensors").write_bytes(b"x" * 99), "cannot be read"),
        (lambda f: save_file({"weight": torch.ones(2)}, f / "1_Dense" / "model.safetensors"), "no matrix linear.weight"),
        (lambda f: save_dense(f / "1_Dense", in_features=7), "its dense layer 1 takes 7 numbers a token and gets 16"),
        (lambda f: save_dense(f / "1_Dense", activation_function="os.system"), "activation_function 'os.system'; expected one of torch.nn"),
        (lambda f: save_dense(f / "1_Dense", use_residual=True), "no residual.weight, which its config.json announces"),
        (lambda f: write(f / "config_sentence_transformers.json", {"document_length": "x"}), "expected texts, a number"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 99), "cannot be loaded as an encoder"),
        (lambda f: (f / "config.json").unlink(), "cannot be loaded as an encoder"),
        (lambda f: make_bert(vocab_size=50).save_pretrained(f), "its tokenizer has [0-9]+ pieces, its encoder embeds 50"),
    ],
)
def test_a_damaged_folder_is_one_line(damage, message, world, tmp_path):
    save_pylate(world, tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError, match=message) as error:
        load_teacher(str(tmp_path), TeacherConfig())
    assert "\n" not in str(error.value)


def test_a_colbert_without_its_projection_or_with_code_in_its_weights_is_refused(world, tmp_path):
    save_colbert(world, tmp_path, ".bin")
    torch.save({"linear.weight": torch.ones(6, 16), "hook": print}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read as tensors alone .*; save the model as safetensors"):
        load_teacher(str(tmp_path), TeacherConfig())
    torch.save({f"bert.{n}": t for n, t in make_bert().state_dict().items()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no matrix linear.weight"):
        load_teacher(str(tmp_path), TeacherConfig())
    (tmp_path / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="no model.safetensors and no pytorch_model.bin"):
        load_teacher(str(tmp_path), TeacherConfig())
    write(tmp_path / "artifact.metadata", {"doc_maxlen": "long"})
    with pytest.raises(ModelError, match="doc_maxlen is 'long'"):
        read_layout(str(tmp_path))


def test_weights_of_another_architecture_are_named(world, tmp_path):
    save_tokenizer(world, tmp_path)
    make_bert().save_pretrained(tmp_path)
    write(tmp_path / "config.json", json.loads((tmp_path / "config.json").read_text()) | {"num_hidden_layers": 2})
    with pytest.raises(ModelError, match="its weights lack 16 tensors of its config.json"):
        load_pretrained(str(tmp_path))


def test_a_folder_without_a_tokenizer_is_refused_where_transformers_makes_an_empty_one(tmp_path):
    make_bert().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"knows no pieces but special ones; expected tokenizer.json"):
        load_tokenizer(str(tmp_path))
