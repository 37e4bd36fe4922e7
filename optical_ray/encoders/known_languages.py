"""Which languages an encoder saw in pre-training: what its folder says, or what was published of a known checkpoint.

The published lists stand in known_languages.json, each with its source; a name there is the source's, its tag is ours.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub.repocard import metadata_load
from yaml import YAMLError  # type: ignore[import-untyped]

from optical_ray.encoders.layout import find_file, read_layout
from optical_ray.errors import LanguageError, ModelError
from optical_ray.languages.codes import canonical_tag

log = logging.getLogger(__name__)
TABLE = "known_languages.json"
PRETRAINING = "pretraining.json"
"""Of a folder that was pre-trained here: `{"languages": [...]}`, and whatever else."""
_HUB_ID = re.compile(r"\A[\w.-]+(/[\w.-]+)?\Z")
_REGION = re.compile(r"-([A-Z]{2}|[0-9]{3})\Z")


@dataclass(frozen=True, slots=True)
class PretrainingLanguages:
    """What is known of a model's pre-training."""

    languages: tuple[str, ...]
    """Canonical tags, sorted; empty: no pre-training, nothing was seen."""
    source: str
    """Who says so: a URL, a file's name, the recipe's field."""
    model: str | None = None
    """The known checkpoint whose list it is; None: nobody else's."""

    def saw(self, tag: str) -> bool:
        """Whether a language was seen, by its canonical tag.

        A region that is not listed counts with its language (pt-BR where pt is listed, fa-AF where fa is); a script never does, since its
        text is made of other tokens (zh-Hant, sr-Latn and bn-Latn only where they are listed).
        """
        return tag in self.languages or _REGION.sub("", tag) in self.languages

    def after(self, before: PretrainingLanguages) -> PretrainingLanguages:
        """This pre-training where it went on from a model that had seen others."""
        source = f"{before.source} and {self.source}" if before.languages else self.source
        return PretrainingLanguages(tuple(sorted({*before.languages, *self.languages})), source, before.model or self.model)

    def describe(self, tags: Iterable[str]) -> dict[str, Any]:
        """Plain data for plan.json: source and languages, and for each of the tags whether it was seen."""
        return {
            "source": self.source,
            "model": self.model,
            "languages": list(self.languages),
            "seen": {tag: self.saw(tag) for tag in tags},
        }


FROM_SCRATCH = PretrainingLanguages((), "student.init=scratch")


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One checkpoint of the table."""

    name: str
    """Hub id, OWNER/NAME."""
    vocab_size: int | None
    """Of its embeddings; None: not known for certain, or no vocabulary, and then nothing but its own name stands for it."""
    pretraining: PretrainingLanguages


def pretraining_languages(path: str, revision: str | None = None) -> PretrainingLanguages | None:
    """The languages that a model saw before it came to us; None where nobody has said.

    In this order: `pretraining.json` in its folder; its hub id, with or without owner, in the table; the one model that its config.json
    (`_name_or_path`) or its card (`base_model`) says it was made from, if that is in the table and the vocabulary is still of that size: a
    model cut down to fewer languages keeps the name and loses pieces. What it was taught after that (an adaptation, sentence pairs) is not
    known, so such a list is a lower bound.

    Args:
        path: A folder, or a hub id.
        revision: Of a hub id: the commit whose files are read.

    Raises:
        ModelError: pretraining.json is damaged.
    """
    if not Path(path).expanduser().is_dir():
        found = known_model(path)
        if found is not None or path.count("/") != 1:
            return found.pretraining if found is not None else None
    own = find_file(path, PRETRAINING, revision)
    return _read_own(own) if own is not None else _by_origin(path, revision)


def known_model(name: str) -> KnownModel | None:
    """A checkpoint of the table by its hub id, in any case, with its own owner or none."""
    if not _HUB_ID.match(name):
        return None
    return _by_name().get(name.casefold())


def known_models() -> tuple[KnownModel, ...]:
    """The whole table."""
    table = read_table()
    return tuple(_make_model(name, values, table["lists"]) for name, values in table["models"].items())


@lru_cache(maxsize=1)
def read_table() -> Mapping[str, Any]:
    """known_languages.json: `lists` (source, remark, published number, languages by the source's names) and `models`."""
    table: Mapping[str, Any] = json.loads((files("optical_ray.encoders") / TABLE).read_text(encoding="utf-8"))
    return table


@lru_cache(maxsize=1)
def _by_name() -> Mapping[str, KnownModel]:
    found = {}
    for model in known_models():
        name = model.name.casefold()
        found[name] = model
        found.setdefault(name.partition("/")[2], model)  # LaBSE has two owners, and one list
    return found


def _make_model(name: str, values: Mapping[str, Any], lists: Mapping[str, Any]) -> KnownModel:
    tags = {tag for item in values["lists"] for tag in lists[item]["languages"].values()}
    source = " and ".join(lists[item]["source"] for item in values["lists"])
    return KnownModel(name, values["vocab_size"], PretrainingLanguages(tuple(sorted(tags)), source, name))


def _read_own(path: Path) -> PretrainingLanguages:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        names = values["languages"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError(f"languages is {names!r}, expected a list of codes")
        tags = tuple(sorted({canonical_tag(name) for name in names}))
    except (OSError, ValueError, KeyError, TypeError, LanguageError) as error:
        raise ModelError(
            f'{path}: cannot be read ({error}); expected {{"languages": ["sw", ...]}}, as pre-training writes it; mend or delete it'
        ) from None
    return PretrainingLanguages(tags, path.name)


def _by_origin(path: str, revision: str | None) -> PretrainingLanguages | None:
    subfolder = read_layout(path, revision).subfolder
    config = _read_config(find_file(path, f"{subfolder}/config.json" if subfolder else "config.json", revision))
    for origin in (_text(config.get("_name_or_path")), _base_model(find_file(path, "README.md", revision))):
        model = known_model(origin) if origin is not None else None
        if model is None:
            continue
        if model.vocab_size is not None and config.get("vocab_size") == model.vocab_size:
            return model.pretraining
        log.warning(
            "%s: says it was made from %s, but its vocabulary has %s pieces, not %s; its pre-training languages count as unknown "
            "(student.pretraining_languages can say them)",
            path,
            model.name,
            config.get("vocab_size", "unknown"),
            model.vocab_size or "a known number of",
        )
        return None
    return None


def _read_config(path: Path | None) -> dict[str, Any]:
    """Empty where there is none, or none that can be read: whoever loads the model says so."""
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _base_model(path: Path | None) -> str | None:
    """What a model card's front matter names; None where it names nothing, or several (a merge)."""
    try:
        found = (metadata_load(path) or {}).get("base_model") if path is not None else None
    except (OSError, ValueError, YAMLError):
        return None
    names = found if isinstance(found, list) else [found]
    return _text(names[0]) if len(names) == 1 else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
