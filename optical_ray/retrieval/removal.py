"""Post-hoc removal of what tells languages apart: transforms of any encoder's tokens, without labels and without training.

T tokens, D dimensions, R components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.data.corpus import Corpus
from optical_ray.encoders.interaction import TokenClouds

SAMPLE_ROWS = 256
"""Training rows of a language that its mean and components are estimated on: the first in stored (shuffled) order."""


@dataclass(frozen=True, slots=True)
class LanguageSamples:
    """Training rows that say where languages lie; none of them is a query or a candidate."""

    texts: tuple[tuple[str, ...], ...]
    """Of each language, at most SAMPLE_ROWS foreign sides; empty for a language without training rows."""
    english_ids: NDArray[np.int32]
    """The first SAMPLE_ROWS different sentences among their English sides, ascending."""


def sample_languages(corpus: Corpus, languages: Sequence[str]) -> LanguageSamples:
    """The samples of some languages of a corpus."""
    rows = [corpus.head(tag, "train", SAMPLE_ROWS, ("english_id", "text")) for tag in languages]
    ids = np.unique(np.concatenate([np.zeros(0, np.int32), *(table["english_id"].to_numpy() for table in rows)]))
    return LanguageSamples(tuple(tuple(table["text"].to_pylist()) for table in rows), ids[:SAMPLE_ROWS].astype(np.int32))


def remove_mean(clouds: TokenClouds, mean_D: Tensor | None = None) -> TokenClouds:
    """Per-language mean removal (Libovicky et al. 2020, arXiv 2004.05160): subtract a language's mean token, of the very texts when none is
    given.

    It uses no label and no training; weakly aligned encoders often gain more from it than from distillation.
    """
    mean_D = clouds.vectors_TD.mean(0) if mean_D is None else mean_D
    return TokenClouds(clouds.vectors_TD - mean_D, clouds.lengths)


def principal_components(vectors_TD: Tensor, count: int) -> Tensor:
    """The `count` directions in which tokens are largest, orthonormal rows in float64, [R, D]: right singular vectors of the plain matrix.

    Not centred: the first of them holds the mean's direction, which is the language's. Fewer where there are fewer tokens or dimensions.
    """
    directions_DD: Tensor = torch.linalg.eigh(vectors_TD.double().T @ vectors_TD.double()).eigenvectors  # columns, ascending
    return directions_DD.T.flip(0)[: min(count, len(vectors_TD))]


def remove_components(clouds: TokenClouds, components_RD: Tensor) -> TokenClouds:
    """Language information removal (LIR, Yang et al. 2021, arXiv 2109.04727): project a language's principal components out of its tokens.

    The paper does it to sentence vectors; here it is done to tokens, before they are normalised.

    Args:
        clouds: Texts of the language.
        components_RD: Orthonormal rows, estimated on other texts of the language.
    """
    components_RD = components_RD.to(clouds.vectors_TD.dtype)
    return TokenClouds(clouds.vectors_TD - (clouds.vectors_TD @ components_RD.T) @ components_RD, clouds.lengths)
