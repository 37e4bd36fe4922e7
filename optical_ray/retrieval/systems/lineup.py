"""Which systems an evaluation compares, made of one or two models and, where there are some, translations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from optical_ray.artifacts import Store
from optical_ray.encoders.config import TextForm
from optical_ray.encoders.teacher import VERDICT_FILE
from optical_ray.errors import ConfigError
from optical_ray.retrieval.search.index import BlockWork, one_after_another
from optical_ray.retrieval.system import System
from optical_ray.retrieval.systems.bm25 import Bm25System
from optical_ray.retrieval.systems.languages import DocumentStatistics
from optical_ray.retrieval.systems.lexical import LexicalSystem
from optical_ray.retrieval.systems.memory import EncodingMemory
from optical_ray.retrieval.systems.models import KINDS, Kind, Model, SentenceSide, TokenSide, check_dimensions
from optical_ray.retrieval.systems.shuffle import RandomSystem
from optical_ray.retrieval.systems.tokens import DenseSystem, Removal, TokenSystem
from optical_ray.retrieval.systems.translation import TranslatedSystem, Translations

STUDENT, ZERO_SHOT = "student", "zero-shot"
MEANINGS = {
    STUDENT: "a student of ours on one side; on the other its teacher, where that is named",
    ZERO_SHOT: "an encoder as it is, on both sides; with a student, its teacher",
    "dense": "a dense model's own pooled vectors, as its folder asks for them",
    "mean-removed": "the model, with the mean token of each language removed (transductive: estimated on these queries and documents)",
    "components-removed": "likewise, with the principal components of each language removed",
    "zero-shot-mean-removed": "as mean-removed, of the teacher",
    "lexical": "TF-IDF of character 3- and 4-grams",
    "bm25": "BM25 (bm25s; k1=0.9, b=0.4) of casefolded words, of pairs of characters where a script has no spaces",
    "random": "a seeded random order",
    "translated": "queries translated into English, the teacher (or the model) on both sides",
    "translated-bm25": "queries translated into English, then BM25",
}
"""Every row of a table, in its order."""


@dataclass(frozen=True, slots=True)
class TextForms:
    """How texts are read, where the folders' own word does not stand; None: it does."""

    query_prefix: str | None = None
    document_prefix: str | None = None
    query_tokens: int | None = None
    document_tokens: int | None = None

    def of(self, model: Model, kind: Kind) -> TextForm:
        """Of one side of a model.

        Raises:
            ModelError: as `Model.form`.
        """
        if kind == "query":
            return model.form(kind, self.query_prefix, self.query_tokens)
        return model.form(kind, self.document_prefix, self.document_tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Lineup:
    """What is compared; everything has its default."""

    model: Model | None = None
    """None: reference rows alone."""
    documents: Model | None = None
    """Encodes the documents; None: `model` does."""
    swap: bool = False
    """`model` encodes the documents, `documents` the queries."""
    forms: TextForms = field(default_factory=TextForms)
    """Of `model`, and of `documents` where nothing else is said."""
    document_forms: TextForms | None = None
    """Of `documents`."""
    query_centre: Tensor | Mapping[str, Tensor] | None = None
    """Subtracted from the tokens of queries; see `TokenSystem`."""
    document_centre: Tensor | None = None
    translations: Translations | None = None
    translated_by: str = ""
    """Where the translations come from."""
    components: int = 1
    """Principal components of a language that `components-removed` takes out."""
    seed: int = 0
    """Of the random order."""
    device: str = "cpu"
    store: Store | None = None
    """Where documents' tokens are kept; None: nowhere."""
    each: Callable[[BlockWork, Sequence[int]], None] = one_after_another
    """Encodes the blocks that are to be kept."""

    @property
    def main(self) -> str:
        """What the model's own row is called."""
        assert self.model is not None
        taught = self.model.is_student and not (Path(self.model.path).expanduser() / VERDICT_FILE).is_file()
        return STUDENT if taught else ZERO_SHOT

    def names(self, chosen: Sequence[str] = ()) -> list[str]:
        """Rows that this line-up has, in order.

        Args:
            chosen: Only these; empty: all.

        Raises:
            ConfigError: an unknown row, or one that needs what is not there.
        """
        there = {"lexical", "bm25", "random"}
        if self.model is not None:
            there |= {self.main, "mean-removed", "components-removed"}
            if self._zero_shot is not None:
                there |= {ZERO_SHOT, "zero-shot-mean-removed"}
            if any(model.pooling is not None for model in self._models):
                there |= {"dense"}
        if self.translations is not None:
            there |= {"translated-bm25"} | ({"translated"} if self.model is not None else set())
        for name in chosen:
            if name not in MEANINGS:
                raise ConfigError(f"--systems: no system {name!r}; expected some of {', '.join(MEANINGS)}")
            if name not in there:
                raise ConfigError(f"--systems: {name} is {MEANINGS[name]}; this evaluation has none (it has {', '.join(sorted(there))})")
        return [name for name in MEANINGS if name in (chosen or there)]

    def build(self, chosen: Sequence[str] = ()) -> list[System]:
        """The systems, nothing of them loaded yet; they share what they encode.

        Raises:
            ConfigError: as `names`.
            ModelError: a model is missing, damaged, or the two differ in dimensions.
        """
        names = self.names(chosen)
        memory, statistics = EncodingMemory(), DocumentStatistics(self.components)
        if self.model is not None:
            check_dimensions(self.query_model, self.document_model)
        bm25 = Bm25System()

        def tokens(name: str, queries: Model, documents: Model, removal: Removal = "none") -> TokenSystem:
            sides = (self._side(queries, "query"), self._side(documents, "document"))
            centres = (self.query_centre, self.document_centre) if name == self.main else (None, None)
            return TokenSystem(name, *sides, memory, *centres, removal, statistics, self.store, self.each)

        def build(name: str) -> System:
            if name == "lexical":
                return LexicalSystem()
            if name == "bm25":
                return bm25
            if name == "random":
                return RandomSystem(self.seed)
            if name == "translated-bm25":
                assert self.translations is not None
                return TranslatedSystem(name, bm25, self.translations, self.translated_by)
            assert self.model is not None
            teacher = self._zero_shot or self.model
            if name == "translated":
                assert self.translations is not None
                return TranslatedSystem(name, tokens(ZERO_SHOT, teacher, teacher), self.translations, self.translated_by)
            if name == "dense":
                dense = next(model for model in self._models if model.pooling is not None)
                queries, documents = (SentenceSide(dense, self._form(dense, kind), self.device) for kind in KINDS)
                return DenseSystem(name, queries, documents, memory)
            if name == "zero-shot-mean-removed":
                return tokens(name, teacher, teacher, "means")
            if name == ZERO_SHOT and self.main != ZERO_SHOT:
                return tokens(name, teacher, teacher)
            removals: dict[str, Removal] = {"mean-removed": "means", "components-removed": "components"}
            return tokens(name, self.query_model, self.document_model, removals.get(name, "none"))

        return [build(name) for name in names]

    def describe(self) -> dict[str, Any]:
        """Plain data: which model encodes which side, and how it reads texts."""
        if self.model is None:
            return {}
        sides: dict[str, Any] = {}
        for kind, model in (("queries", self.query_model), ("documents", self.document_model)):
            form = self._form(model, "query" if kind == "queries" else "document")
            sides[kind] = {
                "model": model.path,
                "fingerprint": model.fingerprint,
                "dimension": model.dimension,
                "prefix": form.prefix,
                "max_tokens": form.max_tokens,
            }
        centred = {"queries": _describe_centre(self.query_centre), "documents": _describe_centre(self.document_centre)}
        return {**sides, "centre": centred, "components": self.components, "documents_kept_as": "float16" if self.store else None}

    @property
    def query_model(self) -> Model:
        assert self.model is not None
        return self.documents if self.swap and self.documents is not None else self.model

    @property
    def document_model(self) -> Model:
        assert self.model is not None
        return self.model if self.swap or self.documents is None else self.documents

    @property
    def _models(self) -> list[Model]:
        return [model for model in (self.model, self.documents) if model is not None]

    @property
    def _zero_shot(self) -> Model | None:
        """The teacher beside a student."""
        return self.documents if self.documents is not None and self.documents != self.model else None

    def _form(self, model: Model, kind: Kind) -> TextForm:
        own = self.document_forms if self.document_forms is not None and model == self.documents else self.forms
        return own.of(model, kind)

    def _side(self, model: Model, kind: Kind) -> TokenSide:
        return TokenSide(model, self._form(model, kind), self.device)


def _describe_centre(centre: Tensor | Mapping[str, Tensor] | None) -> str:
    if centre is None:
        return "none"
    return "one vector" if isinstance(centre, Tensor) else "the mean of each language"
