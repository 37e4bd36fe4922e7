"""Encoders as systems: late interaction and the cosine of pooled tokens, of one model on either side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.artifacts import Store
from optical_ray.encoders.config import Scorer
from optical_ray.encoders.interaction import SCORERS, TokenClouds
from optical_ray.retrieval.collection import DocumentBlock, Documents, Queries
from optical_ray.retrieval.search.index import BlockWork, DocumentIndex, build_index, one_after_another
from optical_ray.retrieval.search.token_scorer import Centre, TokenScorer
from optical_ray.retrieval.system import Side
from optical_ray.retrieval.systems.languages import DocumentStatistics, describe_languages, remove_language_components
from optical_ray.retrieval.systems.memory import EncodingMemory, RememberedSide

Removal = Literal["none", "means", "components"]
DENSE = "dense"
"""Scorer: cosine of the vectors that a dense model's own folder makes."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenSystem:
    """Queries as one model encodes them, documents as another does (or the same).

    `removal`: with `means`, the tokens of each language lose that language's mean, queries' and documents' apart (Libovicky et al. 2020,
    arXiv 2004.05160); with `components`, the principal components (LIR, Yang et al. 2021, arXiv 2109.04727). Both are estimated on the
    very collection, of all its queries and of a sample of its documents: transductive, that is, no label was used, but the test's texts
    were.
    """

    name: str
    queries: Side
    documents: Side
    memory: EncodingMemory
    query_centre: Tensor | Mapping[str, Tensor] | None = None
    """Subtracted where nothing is removed: one vector [D]; or one by language, where a language that is not named loses the mean of its own
    queries."""
    document_centre: Tensor | None = None
    """[D]; likewise."""
    removal: Removal = "none"
    statistics: DocumentStatistics = field(default_factory=lambda: DocumentStatistics(1))
    store: Store | None = None
    """Where the documents' tokens are kept, as float16; None: they are encoded for every evaluation, in float32."""
    each: Callable[[BlockWork, Sequence[int]], None] = one_after_another
    """Encodes the blocks that are to be kept."""
    scorers: tuple[Scorer, ...] = SCORERS

    def prepare(self, queries: Queries, documents: Documents) -> TokenScorer:
        """As `System.prepare`.

        Raises:
            ModelError: a model is missing, or the sides differ in dimensions.
        """
        clouds = self.memory.encode(self.queries, queries.texts)
        kept: Side | DocumentIndex = RememberedSide(self.documents, self.memory)
        if self.store is not None:
            kept = build_index(self.store, self.documents, documents, each=self.each)
        means: Tensor | Mapping[str, Tensor] | None = self.query_centre
        centre: Centre = self.document_centre
        if self.removal == "components":
            own = describe_languages(clouds, queries.languages, self.statistics.components).components
            clouds, means = remove_language_components(clouds, queries.languages, own), None
            theirs = self.statistics.describe(self.documents, documents).components
            centre = partial(remove_language_components, components=theirs)
        elif self.removal == "means":
            means, centre = {}, self.statistics.describe(self.documents, documents).means
        if isinstance(means, Mapping):
            own = describe_languages(clouds, queries.languages, 0).means
            clouds, means = _subtract_means(clouds, queries.languages, {**own, **means}), None
        return TokenScorer(clouds, kept, self.scorers, means, centre)


def _subtract_means(clouds: TokenClouds, languages: Sequence[str], means: Mapping[str, Tensor]) -> TokenClouds:
    """Every token loses the mean of its text's language."""
    if not languages:
        return clouds
    means_BD = torch.stack([means[language] for language in languages])
    return TokenClouds(clouds.vectors_TD - means_BD.repeat_interleave(clouds.lengths, 0), clouds.lengths)


@dataclass(frozen=True, slots=True, eq=False)
class DenseSystem:
    """A model that makes one vector of a text, as its own folder says; scored by cosine."""

    name: str
    queries: Side
    documents: Side
    memory: EncodingMemory
    scorers: tuple[str, ...] = (DENSE,)

    def prepare(self, queries: Queries, documents: Documents) -> DenseScorer:
        """As `System.prepare`."""
        clouds = self.memory.encode(self.queries, queries.texts)
        return DenseScorer(TokenScorer(clouds, RememberedSide(self.documents, self.memory), ("pooled",)))


@dataclass(frozen=True, slots=True, eq=False)
class DenseScorer:
    """The cosine of clouds of one vector each, under its own name."""

    pooled: TokenScorer

    def scores(self, block: DocumentBlock) -> dict[str, NDArray[np.float32]]:
        """As `BlockScorer.scores`."""
        return {DENSE: self.pooled.scores(block)["pooled"]}
