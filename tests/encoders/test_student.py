import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from optical_ray.encoders.config import StudentConfig, TeacherConfig
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.encoders.pretrained import load_pretrained
from optical_ray.encoders.student import build_student, fit_projection
from optical_ray.encoders.student_folder import load_student, save_student
from optical_ray.encoders.teacher import load_teacher
from optical_ray.errors import ModelError

CONFIG = StudentConfig(hidden_size=32, num_layers=1, num_heads=2, max_tokens=16)


@pytest.fixture
def tokenizer(world):
    return AutoTokenizer.from_pretrained(world.teacher)


def build(tokenizer, seed=0, config=CONFIG, centre=None):
    return build_student(config, tokenizer, torch.zeros(8) if centre is None else centre, 2.0, torch.Generator().manual_seed(seed))


def test_weights_depend_on_the_generator_alone(tokenizer):
    torch.manual_seed(1)
    first = build(tokenizer).state_dict()
    torch.manual_seed(2)
    again, other = build(tokenizer).state_dict(), build(tokenizer, seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["encoder.embeddings.word_embeddings.weight"], other["encoder.embeddings.word_embeddings.weight"])


def test_padding_changes_no_token(tokenizer):
    student = build(tokenizer).eval()
    ids = torch.tensor([[2, 9, 10, 3]])
    padded = torch.cat([ids, torch.full((1, 5), 11)], 1)
    mask = torch.tensor([[True] * 4 + [False] * 5])
    torch.testing.assert_close(student(ids, mask[:, :4]), student(padded, mask)[:, :4])


def test_a_new_student_starts_at_the_centre(tokenizer):
    centre = torch.full((8,), 5.0)
    student = build(tokenizer, centre=centre)
    states = student(torch.tensor([[2, 9, 3]]), torch.ones(1, 3, dtype=torch.bool))
    assert (states.mean((0, 1)) - centre).norm() < centre.norm() / 2
    assert 0.5 < (states - centre).norm(dim=-1).mean() < 4.0  # the spread it was given


IDS, MASK = torch.tensor([[2, 9, 10, 11], [2, 12, 13, 3]]), torch.ones(2, 4, dtype=torch.bool)


def encode(student):
    with torch.no_grad():
        return TokenClouds(student.eval()(IDS, MASK).flatten(0, 1), torch.tensor([4, 4]))


def drifted(tokenizer):
    """An encoder as masked-LM leaves it: most of every state is one common vector."""
    encoder = build(tokenizer, seed=3).encoder
    with torch.no_grad():
        encoder.encoder.layer[-1].output.LayerNorm.bias.fill_(4.0)
    return encoder


@pytest.mark.parametrize("fit", ["new", "always", "never"])
def test_a_fitted_student_starts_at_the_teachers_mean_and_spread_whatever_its_encoder_says(tokenizer, fit):
    centre, config = torch.full((8,), 5.0), CONFIG.override({"projection_fit": fit})
    student = build_student(config, tokenizer, centre, 2.0, torch.Generator().manual_seed(0), drifted(tokenizer), encode)
    vectors = encode(student).vectors_TD
    far, spread = (vectors.mean(0) - centre).norm(), (vectors - vectors.mean(0)).norm(dim=1).mean()
    if fit == "never":
        assert far > 2.0
    else:
        torch.testing.assert_close((far, spread), (torch.tensor(0.0), torch.tensor(2.0)), atol=1e-4, rtol=1e-4)


def test_fitting_moves_no_token_against_another(tokenizer):
    student = build(tokenizer, centre=torch.full((8,), 5.0))
    before = encode(student).vectors_TD
    fit_projection(student, encode(student), 7.0)
    after = encode(student).vectors_TD
    before, after = ((each - each.mean(0)) / (each - each.mean(0)).norm() for each in (before, after))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)


def test_an_encoder_of_ones_own_draws_the_same_projection(tokenizer):
    plain = build(tokenizer).projection.weight
    other = build_student(CONFIG, tokenizer, torch.zeros(8), 2.0, torch.Generator().manual_seed(0), drifted(tokenizer)).projection.weight
    assert torch.equal(plain, other)


@pytest.mark.parametrize("clouds", [TokenClouds(torch.empty(0, 8), torch.tensor([0])), TokenClouds(torch.ones(3, 8), torch.tensor([3]))])
def test_nothing_is_fitted_to_no_tokens_or_to_one_and_the_same(tokenizer, clouds):
    student = build(tokenizer)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    fit_projection(student, clouds, 2.0)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


@pytest.mark.parametrize(("fit", "moved"), [("new", False), ("always", True)])
def test_a_projection_copied_from_a_folder_is_fitted_only_when_asked(world, tokenizer, fit, moved):
    config = StudentConfig(init=str(world.teacher), projection_fit=fit)
    student = build_student(config, tokenizer, torch.ones(32), 2.0, torch.Generator(), encode=encode)
    assert torch.equal(student.projection.weight, torch.eye(32)) is not moved


def test_a_projection_without_bias_is_scaled_alone(tokenizer):
    config = CONFIG.override({"projection_bias": False, "projection_fit": "new"})
    student = build_student(config, tokenizer, torch.ones(8), 2.0, torch.Generator().manual_seed(0), encode=encode)
    vectors = encode(student).vectors_TD
    torch.testing.assert_close((vectors - vectors.mean(0)).norm(dim=1).mean(), torch.tensor(2.0), atol=1e-4, rtol=1e-4)


def test_a_saved_student_comes_back_and_its_encoder_is_a_plain_hugging_face_folder(tokenizer, tmp_path):
    student = build(tokenizer).eval()
    save_student(student, tokenizer, CONFIG, tmp_path)
    ids, mask = torch.tensor([[2, 9, 10, 3]]), torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(load_student(tmp_path).eval()(ids, mask), student(ids, mask))
    plain = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False).eval()
    torch.testing.assert_close(plain(input_ids=ids, attention_mask=mask).last_hidden_state, student.encoder(ids, mask).last_hidden_state)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == len(tokenizer)


def test_a_student_of_layers_zero_is_its_embeddings(tokenizer):
    student = build(tokenizer, config=CONFIG.override({"num_layers": 0})).eval()
    one = student(torch.tensor([[2, 9, 10, 3]]), torch.ones(1, 4, dtype=torch.bool))
    two = student(torch.tensor([[2, 10, 9, 3]]), torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(one[:, 1], two[:, 2])  # position embeddings start at zero


def test_a_student_may_start_from_a_local_folder(world, tokenizer):
    student = build_student(StudentConfig(init=str(world.teacher)), tokenizer, torch.ones(32), 2.0, torch.Generator())
    ids, mask = torch.tensor([[2, 9, 10, 3]]), torch.ones(1, 4, dtype=torch.bool)
    teacher = load_teacher(str(world.teacher), TeacherConfig())
    torch.testing.assert_close(student.eval()(ids, mask), teacher.encode(ids, mask.long()), atol=1e-5, rtol=1e-5)


def test_a_folder_in_half_precision_is_computed_in_float32(world, tokenizer, tmp_path):
    model = load_pretrained(str(world.teacher))[0].half()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    student = build_student(StudentConfig(init=str(tmp_path)), tokenizer, torch.ones(32), 2.0, torch.Generator())
    assert student(torch.tensor([[2, 9, 3]]), torch.ones(1, 3, dtype=torch.bool)).dtype == torch.float32


def test_texts_longer_than_the_position_table_are_refused(world, tokenizer):
    with pytest.raises(ModelError, match="reads at most 64 tokens, student.max_tokens is 100; lower it"):
        build_student(StudentConfig(init=str(world.teacher), max_tokens=100), tokenizer, torch.ones(32), 2.0, torch.Generator())


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/nowhere/model", "no such folder, and not a hub id"),
        ("justaname", "no such folder, and not a hub id"),
        ("{tmp}", "no config.json; expected a Hugging Face model folder"),
    ],
)
def test_a_missing_model_is_one_clear_line(path, message, tmp_path):
    with pytest.raises(ModelError, match=message):
        load_pretrained(path.format(tmp=tmp_path))


def test_a_hub_id_without_network_says_what_to_do():
    with pytest.raises(ModelError, match="download nobody/nothing-at-all where there is a network and give the folder's path"):
        load_pretrained("nobody/nothing-at-all")


def test_a_folder_without_weights_is_named(tmp_path, tokenizer):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="cannot be loaded as an encoder"):
        load_pretrained(str(tmp_path))
    with pytest.raises(ModelError, match="no student.json; expected a student's folder"):
        load_student(tmp_path)


def test_a_student_without_bias_has_none_and_comes_back_without(tokenizer, tmp_path):
    config = CONFIG.override({"projection_bias": False})
    student = build(tokenizer, config=config, centre=torch.ones(8)).eval()
    save_student(student, tokenizer, config, tmp_path)
    again = load_student(tmp_path).eval()
    assert again.projection.bias is None and torch.equal(again.centre_D, torch.ones(8))
    ids, mask = torch.tensor([[2, 9, 10, 3]]), torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(again.centred()(ids, mask), student(ids, mask) - 1.0)


def test_a_students_folder_teaches_and_starts_another_student(tokenizer, tmp_path):
    student = build(tokenizer).eval()
    save_student(student, tokenizer, CONFIG, tmp_path)
    ids, mask = torch.tensor([[2, 9, 10, 3]]), torch.ones(1, 4, dtype=torch.bool)
    teacher = load_teacher(str(tmp_path), TeacherConfig())
    torch.testing.assert_close(teacher.encode(ids, mask), student(ids, mask))
    assert (teacher.form.prefix, teacher.form.max_tokens) == ("", 16)
    second = build(tokenizer, seed=1, config=CONFIG.override({"init": str(tmp_path)})).eval()
    torch.testing.assert_close(second(ids, mask), student(ids, mask))


def test_an_exported_student_that_lost_the_centre_starts_no_other(tokenizer, tmp_path):
    save_student(build(tokenizer).centred(), tokenizer, CONFIG, tmp_path, centred=True)
    with pytest.raises(ModelError, match="start from the checkpoint that it was exported from"):
        build(tokenizer, config=CONFIG.override({"init": str(tmp_path)}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "1_Dense" / "model.safetensors").unlink(), "no 1_Dense/model.safetensors"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors, which every student's folder has"),
        (lambda folder: (folder / "centre.safetensors").write_bytes(b"x" * 20), "cannot be loaded"),
        (lambda folder: (folder / "student.json").write_text("{"), "student.json: damaged"),
        (
            lambda folder: (folder / "student.json").write_text('{"dimension": 8, "prefix": ""}'),
            "format version 1, this optical_ray reads 2",
        ),
        (lambda folder: (folder / "student.json").write_text('{"format_version": 2}'), "student.json: damaged"),
    ],
)
def test_a_damaged_students_folder_is_one_line(damage, message, tokenizer, tmp_path):
    save_student(build(tokenizer), tokenizer, CONFIG, tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError, match=message) as error:
        load_student(tmp_path)
    assert "\n" not in str(error.value)


def test_heads_must_divide_the_width(tokenizer):
    with pytest.raises(ModelError, match="student.hidden_size: 32 is not a multiple of student.num_heads"):
        build(tokenizer, config=CONFIG.override({"num_heads": 5}))
