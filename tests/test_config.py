import pickle

import pytest

from optical_ray.config import Config, describe_fields, parse_override, where_field
from optical_ray.errors import ConfigError
from optical_ray.recipe import Recipe, Resources


class Inner(Config):
    width: int = 3
    """Tokens."""


class Outer(Config):
    inner: Inner = Inner()
    name: str = "x"
    """A name."""


class Rates(Config):
    rate: float = 1.0
    steps: int = 10


class Owner(Config):
    fast: Rates = Rates(rate=5.0, steps=3)
    name: str = "x"


def test_a_section_given_in_part_keeps_the_rest_of_the_owners_default():
    assert Owner.parse({"fast": {"steps": 7}}, "").fast == Rates(rate=5.0, steps=7)
    changed = Owner().override({"fast.rate": 6.0})
    assert changed.override({"fast": {"steps": 7}}).fast == Rates(rate=6.0, steps=7)
    assert Owner.parse(changed.to_dict(), "") == changed
    with pytest.raises(ConfigError, match="Rates has no field 'step'"):
        Owner.parse({"fast": {"step": 7}}, "")


def test_an_unknown_field_names_the_known_ones():
    with pytest.raises(ConfigError, match=r"here: .*Inner has no field 'widht'; it has width"):
        Outer.parse({"inner": {"widht": 4}}, "here")


def test_a_dotted_override_changes_that_field_alone():
    changed = Outer().override({"inner.width": 5})
    assert changed.inner.width == 5
    assert changed.name == "x"
    assert Outer().inner.width == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("inner.hight", "Inner has no field 'hight'; it has width"),
        ("outer", "Outer has no field 'outer'; it has inner, name"),
        ("width", "Outer has no field 'width'; it has inner, name; did you mean inner.width"),
        ("name.first", "name has no fields of its own"),
    ],
)
def test_a_wrong_dotted_name_is_one_clear_line(name, message):
    with pytest.raises(ConfigError, match=message):
        Outer().override({name: 1})


def test_a_wrong_value_says_what_was_found():
    with pytest.raises(ConfigError, match=r"^inner.width: Input.*integer.*\(found 'wide'\)"):
        Outer().override({"inner.width": "wide"})
    with pytest.raises(ConfigError, match=r"^languages.pool: expected a list, such as .* \(found 'sw'\)"):
        Recipe().override({"languages.pool": "sw"})


def test_values_of_the_command_line_are_json_or_strings():
    assert parse_override("a.b=0.5") == ("a.b", 0.5)
    assert parse_override('p=["sw","hi"]') == ("p", ["sw", "hi"])
    assert parse_override("p=sw") == ("p", "sw")
    with pytest.raises(ConfigError, match="expected FIELD=VALUE"):
        parse_override("a.b")


def test_every_recipe_field_is_documented():
    rows = list(describe_fields(Recipe))
    assert len(rows) > 40
    assert [name for name, _, _, meaning in rows if not meaning] == []
    assert [name for name, _, _, meaning in describe_fields(Resources) if not meaning] == []


def test_a_recipe_survives_json_and_keeps_its_id():
    recipe = Recipe().override({"languages.pool": ["sw", "hi"], "transport.epsilon": 0.37})
    again = Recipe.parse(recipe.to_dict(), "test")
    assert again == recipe
    assert again.trial_id == recipe.trial_id != Recipe().trial_id


def test_a_recipe_without_any_objective_is_refused_unless_it_does_not_train():
    with pytest.raises(ConfigError, match="every weight of objective is 0"):
        Recipe().override({"objective.transport": 0})
    assert Recipe().override({"objective.transport": 0, "training.max_steps": 0}).arm == "none"


def test_a_broken_recipe_file_is_one_line(tmp_path):
    path = tmp_path / "recipe.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        Recipe.read(path)
    path.write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        Recipe.read(path)
    path.write_text("[]")
    with pytest.raises(ConfigError, match="expected a JSON object, found list"):
        Recipe.read(path)
    path.write_text('{"seeed": 1}')
    with pytest.raises(ConfigError, match="Recipe has no field 'seeed'"):
        Recipe.read(path)


def test_errors_survive_pickling():
    error = ConfigError("one line")
    assert str(pickle.loads(pickle.dumps(error))) == "one line"


def test_a_field_that_says_where_is_recorded_but_no_part_of_the_identity():
    class Inner(Config):
        cache: bool = where_field(True)
        """Where."""
        size: int = 1
        """What."""

    class Outer(Config):
        inner: Inner = Inner()

    changed = Outer().override({"inner.cache": False})
    assert changed.to_dict() == {"inner": {"cache": False, "size": 1}} != Outer().to_dict()
    assert changed.identity() == Outer().identity() == {"inner": {"size": 1}}
    assert Outer().override({"inner.size": 2}).identity() != Outer().identity()
