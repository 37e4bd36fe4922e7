"""Bytes that the store will take on, as far as what is built already tells.

token shards     rows x (12 + 5 x tokens a row): ids as int32 and a mark for each token, three int32 for each row
teacher tokens   sentences x (2 x tokens x D + 8): float16 vectors, and an offset
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optical_ray.artifacts import Store, read_manifest
from optical_ray.data.building.pipeline import find_corpus
from optical_ray.data.corpus import Corpus
from optical_ray.data.teacher_pieces import estimate_size
from optical_ray.data.token_shards import KIND as TOKENS
from optical_ray.errors import OpticalError
from optical_ray.languages.sets import choose_languages
from optical_ray.recipe import Recipe

ROW_BYTES, TOKEN_BYTES = 12, 5
TEACHER_TOKENS = "teacher-tokens"


@dataclass(frozen=True, slots=True)
class StoreDisk:
    """What is still to be built for some recipes."""

    bytes: int
    unknown: tuple[str, ...]
    """What is to be built and cannot be told the size of yet, each once, in words."""


def forecast_store(recipes: Sequence[Recipe], store: Store) -> StoreDisk:
    """Bytes of the shards and teacher tokens that the recipes want and the store has not; pre-trained encoders are not counted.

    Nothing is built, tokenised or encoded for it.
    """
    total, unknown = 0, dict[str, None]()
    languages: dict[str, set[str]] = {}
    corpora: dict[str, tuple[Corpus, Recipe]] = {}
    found: dict[str, Corpus | None] = {}
    for recipe in recipes:
        asked = json.dumps(recipe.corpus.to_dict())
        if asked not in found:
            try:
                found[asked] = find_corpus(store, recipe.corpus)
            except OpticalError:  # a source is missing or wrong: the sweep itself says so, with all that there is to say
                found[asked] = None
        corpus = found[asked]
        if corpus is None:
            unknown["the corpus (not built yet: `optical data build` says how large it gets)"] = None
            continue
        corpora.setdefault(corpus.fingerprint, (corpus, recipe))
        if recipe.batch.token_shards and recipe.training.max_steps:
            languages.setdefault(corpus.fingerprint, set()).update(choose_languages(recipe.languages, corpus.pairs("train")))
    for key, (corpus, recipe) in corpora.items():
        built = list(_manifests(store, TOKENS, key))
        rows, tokens = (sum(int(manifest["facts"][name]) for manifest in built) for name in ("rows", "tokens"))
        missing = languages.get(key, set()) - {manifest["inputs"].get("language") for manifest in built}
        if missing and not rows:
            unknown[f"token shards of {len(missing)} languages (none is tokenised yet)"] = None
        elif missing:
            wanted = sum(corpus.pairs("train")[tag] for tag in missing)
            total += round(wanted * (ROW_BYTES + TOKEN_BYTES * tokens / rows))
        if recipe.teacher.cache and not any(_manifests(store, TEACHER_TOKENS, key)):
            if Path(recipe.teacher.path).is_dir():
                total += round(estimate_size(corpus, recipe.teacher, recipe.teacher.path, corpus.num_english).bytes)
            else:
                unknown[f"teacher tokens of {corpus.num_english:,} sentences (the teacher is not unpacked yet)"] = None
    return StoreDisk(total, tuple(unknown))


def _manifests(store: Store, kind: str, corpus: str) -> Iterator[dict[str, Any]]:
    """Of the artifacts of a kind that were made of a corpus."""
    for path in sorted(store.root.glob(f"{kind}-*")):
        try:
            manifest = read_manifest(path)
        except OpticalError:
            continue
        if manifest["inputs"].get("corpus") == corpus:
            yield manifest
