"""Token clouds as a `BlockScorer`: documents are encoded, or read from an index, a chunk of passages at a time.

Q queries, C documents of a block, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optical_ray.encoders.config import Scorer
from optical_ray.encoders.interaction import TokenClouds
from optical_ray.errors import ModelError
from optical_ray.retrieval.collection import DocumentBlock
from optical_ray.retrieval.search.index import DocumentIndex
from optical_ray.retrieval.search.passages import DistinctPassages
from optical_ray.retrieval.search.scoring import Seekers, score_block
from optical_ray.retrieval.system import Side

Adjust = Callable[[TokenClouds, Sequence[str]], TokenClouds]
"""Raw tokens of some texts, and each text's language -> tokens to be normalised. Picklable; a pure function of text and language."""
Centre = Tensor | Mapping[str, Tensor] | Adjust | None
"""What is subtracted from every token before it is normalised: one vector [D], one by language of the document, nothing; or what else is
done to tokens, given their languages."""


class TokenScorer:
    """Scores of one collection's queries, a block of documents at a time; a `BlockScorer`.

    A document's score is that of its best passage (MaxP, Dai & Callan 2019). Chunks of passages are cut by the block alone: whoever scores
    it finds the same, bit for bit. At most `passages.PASSAGES_AT_ONCE` passages are in memory as float32.

    Args:
        queries: Raw clouds, one for each query.
        documents: Encodes them now, or has them on disk.
        scorers: Which scores are wanted.
        query_centre: Subtracted from the queries' tokens, [D].
        document_centre: Likewise, of the documents' tokens (or what else is done to them); None with a pooled index, which was centred when
            it was made.

    Raises:
        ModelError: queries and documents have different numbers of dimensions, or a pooled index is asked for more than `pooled`.
        ValueError: a centre was given for a pooled index.
    """

    def __init__(
        self,
        queries: TokenClouds,
        documents: Side | DocumentIndex,
        scorers: Sequence[Scorer] = ("maxsim", "pooled"),
        query_centre: Tensor | None = None,
        document_centre: Centre = None,
    ) -> None:
        check_dimensions(queries.vectors_TD.shape[1], documents)
        if isinstance(documents, DocumentIndex) and documents.pooled:
            if tuple(scorers) != ("pooled",):
                raise ModelError(
                    f"{documents.folder}: holds one pooled vector for each passage, but {', '.join(scorers)} is asked for; ask for pooled "
                    "alone, or make an index of tokens"
                )
            if document_centre is not None:
                raise ValueError("token scorer: the vectors of a pooled index were centred before they were pooled")
        self._queries = Seekers(queries.centred(query_centre))
        self._documents, self._scorers, self._centre = documents, tuple(scorers), document_centre

    @property
    def reads_index(self) -> bool:
        """Only whole blocks can be asked for: those that the index was made of."""
        return isinstance(self._documents, DocumentIndex)

    def scores(self, block: DocumentBlock) -> dict[str, NDArray[np.float32]]:
        """By scorer: scores [Q, C]."""
        if isinstance(self._documents, DocumentIndex):
            stored = self._documents.block(block)
            of_passage, clouds = stored.of_passage, stored.clouds()
            languages = stored.languages
        else:
            distinct = DistinctPassages.of(block)
            of_passage, languages, clouds = distinct.of_passage, distinct.languages, distinct.encode(self._documents)
        found: dict[str, list[NDArray[np.float32]]] = {scorer: [] for scorer in self._scorers}
        done = 0
        for cloud in clouds:
            ready = _subtract(cloud, self._centre, languages[done : done + len(cloud)]).centred(None)
            done += len(cloud)
            for scorer, scores in score_block(self._queries, ready, self._scorers).items():
                found[scorer].append(scores)
        starts = np.flatnonzero(np.diff(block.owner, prepend=-1))
        return {scorer: _best_passage(np.concatenate(parts, axis=1), of_passage, starts) for scorer, parts in found.items()}


def check_dimensions(width: int, documents: Side | DocumentIndex) -> None:
    """Refuse queries that live in another space than the documents.

    Raises:
        ModelError: they have different numbers of dimensions.
    """
    if width != documents.dimension:
        where = f"{documents.folder}: the index" if isinstance(documents, DocumentIndex) else "the documents' model"
        raise ModelError(
            f"{where} has {documents.dimension} dimensions, the queries' model {width}; both sides must share one space: name a model that "
            "fits, or encode the documents again"
        )


def _subtract(clouds: TokenClouds, centre: Centre, languages: Sequence[str]) -> TokenClouds:
    if centre is None:
        return clouds
    if isinstance(centre, Tensor):
        return TokenClouds(clouds.vectors_TD - centre, clouds.lengths)
    if callable(centre):
        return centre(clouds, languages)
    named = sorted(set(languages))
    centre_LD = torch.stack([centre[language] for language in named])
    number = {language: index for index, language in enumerate(named)}
    language_T = torch.tensor([number[language] for language in languages]).repeat_interleave(clouds.lengths)
    return TokenClouds(clouds.vectors_TD - centre_LD[language_T], clouds.lengths)


def _best_passage(scores: NDArray[np.float32], of_passage: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """[Q, C] from scores of distinct texts; `starts`: the first passage of each document."""
    if not np.array_equal(of_passage, np.arange(scores.shape[1])):
        scores = scores[:, of_passage]
    return scores if len(starts) == scores.shape[1] else np.maximum.reduceat(scores, starts, axis=1)
