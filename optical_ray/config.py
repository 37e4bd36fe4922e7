"""The base of every config: frozen, typo-proof, documented under each field, and addressable by dotted names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from optical_ray.errors import ConfigError

_WHERE: dict[str, Any] = {"fingerprint": False}


def where_field(default: Any) -> Any:
    """A field's default, with the mark that keeps it out of `Config.identity`: it chooses where a number is computed, not which."""
    return Field(default=default, json_schema_extra=dict(_WHERE))


class Config(BaseModel):
    """A frozen pydantic model that names its fields when it meets an unknown one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_known_fields(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for name in values:
                if name not in cls.model_fields:
                    known = ", ".join(cls.model_fields)
                    raise ValueError(f"{cls.__name__} has no field {name!r}; it has {known}")
            return {name: _complete(cls.model_fields[name].default, value) for name, value in values.items()}
        return values

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate plain data.

        Args:
            values: What `to_dict` gave, or a user's JSON.
            where: Named in the error: a file, an option; empty where the dotted fields say enough.

        Raises:
            ConfigError: one line with the place, the value found and what was expected.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{where}: {one_line(error)}" if where else one_line(error)) from None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a JSON file; a missing or broken one is a ConfigError."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ConfigError(f"{path}: not JSON ({error})") from None
        if not isinstance(values, dict):
            raise ConfigError(f"{path}: expected a JSON object, found {type(values).__name__}")
        return cls.parse(values, str(path))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: what goes to JSON, fingerprints and Ray."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """`to_dict` without the fields that only choose *where* something is computed: what a fingerprint is made of."""
        values = self.to_dict()
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if field.json_schema_extra == _WHERE:
                del values[name]
            elif isinstance(value, Config):
                values[name] = value.identity()
        return values

    def override(self, changes: Mapping[str, Any]) -> Self:
        """A copy with dotted fields replaced: `recipe.override({"transport.epsilon": 0.1})`; of a section, those that a mapping names.

        Raises:
            ConfigError: unknown field (the known ones are listed) or a value that does not fit.
        """
        values = self.to_dict()
        for name, value in dotted_changes(type(self), changes).items():
            _set_dotted(type(self), values, name, value)
        return type(self).parse(values, "")


def _complete(default: Any, value: Any) -> Any:
    """A section of which some fields are given, the others as the section's own default has them (not as its class has them)."""
    if not (isinstance(default, Config) and isinstance(value, Mapping)):
        return value
    given = {name: _complete(getattr(default, name, None), inner) for name, inner in value.items()}
    return {**{name: getattr(default, name) for name in type(default).model_fields}, **given}


def dotted_changes(model: type[Config], changes: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Changes by dotted leaf: `{"transport": {"epsilon": 0.1}}` is `{"transport.epsilon": 0.1}`."""
    leaves: dict[str, Any] = {}
    for name, value in changes.items():
        section: Any = model
        for part in name.split("."):
            field = section.model_fields.get(part) if isinstance(section, type) and issubclass(section, Config) else None
            section = None if field is None else field.annotation
        inside = isinstance(section, type) and issubclass(section, Config) and isinstance(value, Mapping)
        leaves |= dotted_changes(section, value, f"{prefix}{name}.") if inside else {f"{prefix}{name}": value}
    return leaves


def _set_dotted(model: type[Config], values: dict[str, Any], name: str, value: Any) -> None:
    *parents, leaf = name.split(".")
    owner: type[BaseModel] = model
    for position, part in enumerate(parents):
        _require_field(owner, part, name)
        child = owner.model_fields[part].annotation
        if not (isinstance(child, type) and issubclass(child, BaseModel)):
            raise ConfigError(f"{name}: {'.'.join(parents[: position + 1])} has no fields of its own")
        owner, values = child, values[part]
    _require_field(owner, leaf, name)
    values[leaf] = value.to_dict() if isinstance(value, Config) else value


def _require_field(owner: type[BaseModel], part: str, name: str) -> None:
    if part not in owner.model_fields:
        meant = [field for field, *_ in describe_fields(owner) if field.endswith(f".{part}")]
        hint = f"; did you mean {' or '.join(meant)}?" if meant else ""
        raise ConfigError(f"{name}: {owner.__name__} has no field {part!r}; it has {', '.join(owner.model_fields)}{hint}")


def parse_override(text: str) -> tuple[str, Any]:
    """Read `field=value` from a command line; the value is JSON where it parses, else a string."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"{text!r}: expected FIELD=VALUE, for example transport.epsilon=0.1")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def one_line(error: ValidationError) -> str:
    """All findings of a pydantic error in one line: dotted place, message, value found."""
    findings = []
    for finding in error.errors(include_url=False):
        place = ".".join(str(part) for part in finding["loc"])
        message = finding["msg"].removeprefix("Value error, ")
        if finding["type"] in ("tuple_type", "list_type"):
            message = """expected a list, such as '["sw", "hi"]'"""
        found = "" if isinstance(finding["input"], Mapping | BaseModel) else f" (found {finding['input']!r})"
        findings.append(f"{place + ': ' if place else ''}{message}{found}")
    return "; ".join(findings)


def describe_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Rows (dotted name, type, default, meaning) of every leaf field, in declaration order."""
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from describe_fields(annotation, f"{prefix}{name}.")
            continue
        default = "required" if field.is_required() else json.dumps(field.get_default(call_default_factory=True), default=str)
        yield f"{prefix}{name}", _kind(annotation), default, " ".join((field.description or "").split())


def _kind(annotation: Any) -> str:
    """A type as a user reads it: `int > 0 or None`, not `Optional[Annotated[int, Gt(gt=0)]]`."""
    if annotation is type(None):
        return "none"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin in (Union, UnionType):
        return " or ".join(_kind(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {_kind(arguments[0])}"
    return str(getattr(annotation, "__name__", annotation))
