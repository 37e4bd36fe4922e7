"""What a model saw in pre-training: the published lists, and which of them a folder may be taken for."""

import json

import pytest

from optical_ray.encoders.config import StudentConfig
from optical_ray.encoders.known_languages import (
    FROM_SCRATCH,
    PretrainingLanguages,
    known_model,
    known_models,
    pretraining_languages,
    read_table,
)
from optical_ray.errors import ConfigError, ModelError
from optical_ray.languages.codes import canonical_tag
from optical_ray.recipe import Recipe

MBERT, XLMR = "google-bert/bert-base-multilingual-cased", "FacebookAI/xlm-roberta-base"
COUNTED_TWICE = {"xlm-r": {"my"}, "xlm-100": {"en"}}
"""Burmese in two encodings; English in simple words."""


def make_folder(path, card=None, **config):
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    if card is not None:
        (path / "README.md").write_text(f"---\n{card}\n---\n# A model\n")
    return str(path)


@pytest.mark.parametrize("name", read_table()["lists"])
def test_a_list_is_of_canonical_tags_and_as_long_as_it_was_published(name):
    values = read_table()["lists"][name]
    tags = list(values["languages"].values())
    assert len(tags) == values["published"]
    assert {tag for tag in tags if tags.count(tag) > 1} == COUNTED_TWICE.get(name, set())
    assert [canonical_tag(tag) for tag in tags] == tags
    assert values["source"].startswith("https://")
    assert values["remark"]


def test_models_are_unique_and_name_lists_that_exist():
    table = read_table()
    names = [model.name.casefold() for model in known_models()]
    assert len(set(names)) == len(names)
    assert all(name.count("/") == 1 for name in names)
    assert {item for values in table["models"].values() for item in values["lists"]} == set(table["lists"])
    for model in known_models():
        assert list(model.pretraining.languages) == sorted(set(model.pretraining.languages))


def test_the_two_bibles_of_the_field_have_the_languages_that_everybody_quotes():
    assert len(known_model(MBERT).pretraining.languages) == 104
    uncased = known_model("google-bert/bert-base-multilingual-uncased").pretraining.languages
    assert set(known_model(MBERT).pretraining.languages) - set(uncased) == {"th", "mn"}
    xlmr = known_model(XLMR).pretraining
    assert [tag for tag in ("sw", "so", "ha", "am", "bn-Latn", "zh-Hans", "zh-Hant") if not xlmr.saw(tag)] == []
    assert [tag for tag in ("ig", "rw", "yo", "ak", "bem", "zu") if xlmr.saw(tag)] == []
    assert known_model("Davlan/afro-xlmr-base").pretraining.saw("ig")


@pytest.mark.parametrize("name", [XLMR, "xlm-roberta-base", "facebookai/XLM-RoBERTa-base"])
def test_a_hub_id_is_known_in_any_case_with_and_without_its_owner(name):
    assert pretraining_languages(name).model == XLMR


@pytest.mark.parametrize("name", ["somebody/xlm-roberta-base", "xlm-roberta", "no-such-model"])
def test_another_name_is_not_guessed_at(name):
    assert pretraining_languages(name) is None


def test_a_folder_of_our_own_says_what_it_saw(tmp_path):
    folder = make_folder(tmp_path / "m", _name_or_path=XLMR, vocab_size=250002)
    (tmp_path / "m" / "pretraining.json").write_text(json.dumps({"languages": ["swa", "hau", "sw"], "steps": 10}))
    assert pretraining_languages(folder) == PretrainingLanguages(("ha", "sw"), "pretraining.json")


@pytest.mark.parametrize("content", ["{", "[]", '{"languages": "sw"}', '{"languages": ["nonsense"]}', "{}"])
def test_a_damaged_word_of_our_own_is_an_error_in_one_line(tmp_path, content):
    folder = make_folder(tmp_path / "m")
    (tmp_path / "m" / "pretraining.json").write_text(content)
    with pytest.raises(ModelError, match="pretraining.json: cannot be read") as caught:
        pretraining_languages(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("card", ["base_model: intfloat/multilingual-e5-small", "base_model:\n- intfloat/multilingual-e5-small"])
def test_a_folder_is_known_by_its_config_or_its_card(tmp_path, card):
    e5 = known_model("intfloat/multilingual-e5-small").pretraining
    assert pretraining_languages(make_folder(tmp_path / "a", _name_or_path="intfloat/multilingual-e5-small", vocab_size=250037)) == e5
    assert pretraining_languages(make_folder(tmp_path / "b", card, vocab_size=250037)) == e5


def test_a_folder_is_known_where_its_encoder_lies_in_a_subfolder(tmp_path):
    folder = make_folder(tmp_path / "m")
    make_folder(tmp_path / "m" / "0_Transformer", _name_or_path=XLMR, vocab_size=250002)
    modules = [{"idx": 0, "name": "0", "path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}]
    (tmp_path / "m" / "modules.json").write_text(json.dumps(modules))
    assert pretraining_languages(folder).model == XLMR


def test_a_vocabulary_of_another_size_is_another_model(tmp_path, caplog):
    """As of the models that were cut down to a few languages and keep the name of what they were."""
    cut = make_folder(tmp_path / "a", _name_or_path="distilbert-base-multilingual-cased", vocab_size=33328)
    assert pretraining_languages(cut) is None
    assert "has 33328 pieces, not 119547" in caplog.text
    assert pretraining_languages(make_folder(tmp_path / "b", f"base_model: {XLMR}", vocab_size=60302)) is None
    assert pretraining_languages(make_folder(tmp_path / "c", f"base_model: {XLMR}")) is None
    assert pretraining_languages(make_folder(tmp_path / "d", _name_or_path="google/canine-s")) is None


@pytest.mark.parametrize("origin", ["/data/xlm-roberta-base", "./xlm-roberta-base", "somebody/thing", 7, None])
def test_an_origin_that_is_no_known_name_says_nothing(tmp_path, origin):
    assert pretraining_languages(make_folder(tmp_path / "m", _name_or_path=origin, vocab_size=250002)) is None


@pytest.mark.parametrize("card", [f"base_model: [{XLMR}, {MBERT}]", "base_model: [", "license: mit", "- a", f"base_model: {{a: {XLMR}}}"])
def test_a_card_that_names_several_or_nothing_says_nothing(tmp_path, card):
    assert pretraining_languages(make_folder(tmp_path / "m", card, vocab_size=250002)) is None


def test_a_region_counts_with_its_language_and_a_script_by_itself():
    listed = PretrainingLanguages(("fa", "nb", "pt", "sr", "zh-Hans"), "here")
    seen = ("pt", "pt-BR", "fa-AF", "zh", "no", "nb", "sr", "zh-CN")
    unseen = ("zh-Hant", "zh-TW", "nn", "sr-Latn", "sh", "hi-Latn", "pa-Arab")
    assert [listed.saw(canonical_tag(code)) for code in seen] == [True] * len(seen)
    assert [listed.saw(canonical_tag(code)) for code in unseen] == [False] * len(unseen)
    assert not PretrainingLanguages(("pt-BR",), "here").saw("pt")


def test_the_users_word_wins_and_is_brought_to_canonical_tags(tmp_path):
    student = StudentConfig(init=XLMR, pretraining_languages=("swa", "cmn", "sw"))
    assert student.read_pretraining() == PretrainingLanguages(("sw", "zh-Hans"), "student.pretraining_languages")
    assert StudentConfig.parse(student.to_dict(), "") == student
    with pytest.raises(ConfigError, match=r"student\.pretraining_languages: .*'klingonese' is no language code"):
        Recipe().override({"student.pretraining_languages": ["klingonese"]})


def test_a_student_from_scratch_has_seen_nothing_and_one_of_unknown_origin_something_unknown(tmp_path):
    assert StudentConfig().read_pretraining() == FROM_SCRATCH
    assert not FROM_SCRATCH.saw("en")
    assert StudentConfig(init=make_folder(tmp_path / "m")).read_pretraining() is None


def test_what_a_model_saw_is_no_part_of_what_a_trial_does():
    recipe = Recipe()
    assert recipe.override({"student.pretraining_languages": ["sw"]}).trial_id == recipe.trial_id
