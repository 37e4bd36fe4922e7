"""Where languages lie in a space of tokens: their means and principal components, estimated on texts without labels.

T tokens, D dimensions, R components.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.collection import Documents
from optical_ray.retrieval.removal import principal_components, remove_components
from optical_ray.retrieval.system import Side
from optical_ray.seeding import derive_seed

SAMPLE_DOCUMENTS = 256
"""Of each language that its mean and components are estimated on: chosen by their ids alone, whatever their order."""


@dataclass(frozen=True, slots=True, eq=False)
class LanguageStatistics:
    """By language."""

    means: dict[str, Tensor]
    """The mean token, [D]."""
    components: dict[str, Tensor]
    """Orthonormal rows, [R, D]."""


def describe_languages(clouds: TokenClouds, languages: Sequence[str], count: int) -> LanguageStatistics:
    """The mean token and the `count` principal components of each language of these texts.

    A language whose texts have no token lies at the origin.
    """
    found = LanguageStatistics({}, {})
    for language, own_T in _tokens_of(clouds, languages).items():
        part_TD = clouds.vectors_TD[own_T]
        part_TD = part_TD if len(part_TD) else clouds.vectors_TD.new_zeros(1, clouds.vectors_TD.shape[1])
        found.means[language] = part_TD.mean(0)
        found.components[language] = principal_components(part_TD, count) if count else part_TD.new_zeros(0, part_TD.shape[1])
    return found


def remove_language_components(clouds: TokenClouds, languages: Sequence[str], components: Mapping[str, Tensor]) -> TokenClouds:
    """Every token loses what lies along the components of its text's language."""
    vectors_TD = clouds.vectors_TD.clone()
    for language, own_T in _tokens_of(clouds, languages).items():
        vectors_TD[own_T] = remove_components(TokenClouds(vectors_TD[own_T], clouds.lengths), components[language]).vectors_TD
    return TokenClouds(vectors_TD, clouds.lengths)


def _tokens_of(clouds: TokenClouds, languages: Sequence[str]) -> dict[str, Tensor]:
    """Which tokens are of each language, bool [T]."""
    named = sorted(set(languages))
    number = {language: place for place, language in enumerate(named)}
    language_T = torch.tensor([number[language] for language in languages], dtype=torch.int64).repeat_interleave(clouds.lengths)
    return {language: language_T == number[language] for language in named}


class DocumentStatistics:
    """Means and components of the languages of document collections, estimated once for all systems that ask.

    Args:
        components: How many of each language.
    """

    def __init__(self, components: int) -> None:
        self.components = components
        self._found: dict[tuple[str, str], LanguageStatistics] = {}

    def describe(self, side: Side, documents: Documents) -> LanguageStatistics:
        """Of the first passages of at most SAMPLE_DOCUMENTS documents of each language; one language is in memory at a time."""
        key = (side.fingerprint, documents.fingerprint)
        if key not in self._found:
            found = self._found[key] = LanguageStatistics({}, {})
            for language, texts in sample_documents(documents, SAMPLE_DOCUMENTS).items():
                own = describe_languages(side.encode(texts), [language] * len(texts), self.components)
                found.means.update(own.means)
                found.components.update(own.components)
        return self._found[key]


def sample_documents(documents: Documents, count: int) -> dict[str, tuple[str, ...]]:
    """By language: first passages of at most `count` documents, chosen and ordered by their ids alone."""
    kept: dict[str, list[tuple[int, str, str]]] = {}
    for block in documents.blocks():
        first = {int(place): passage for passage, place in zip(reversed(block.passages), reversed(block.owner.tolist()), strict=True)}
        for place, (name, language) in enumerate(zip(block.ids, block.languages, strict=True)):
            heap, row = kept.setdefault(language, []), (-derive_seed(0, "sample", name), name, first[place])
            if len(heap) < count:
                heapq.heappush(heap, row)
            else:
                heapq.heappushpop(heap, row)
    return {language: tuple(text for *_, text in sorted(kept[language], reverse=True)) for language in sorted(kept)}
