"""The systems that stand beside every student: what characters alone reach, what training rows give away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from optical_ray.data.corpus import Corpus
from optical_ray.retrieval.measures import query_rows
from optical_ray.retrieval.tasks import BitextTask

MEMORY_NEIGHBOURS = 5
MEMORY_ROWS = 20_000  # training rows of a language that the translation memory holds: the first in stored (shuffled) order


def lexical_scores(task: BitextTask) -> Tensor:
    """The lexical floor, [Q, C]: cosine of TF-IDF vectors of character 3- and 4-grams, document frequencies from the candidates."""
    return tfidf_scores(task.query_texts, task.candidate_texts)


def tfidf_scores(query_texts: Sequence[str], candidate_texts: Sequence[str]) -> Tensor:
    """As `lexical_scores`, of any texts."""
    documents = tfidf_vectorizer()
    candidates = documents.fit_transform(candidate_texts)
    return torch.from_numpy((documents.transform(query_texts) @ candidates.T).toarray()).float()


def memory_scores(task: BitextTask, texts: Sequence[str], english: Sequence[str]) -> Tensor:
    """A translation memory, [Q, C]: what near-duplicates of the training rows give away, without any training.

    A query stands for the English of its MEMORY_NEIGHBOURS nearest training texts of its own language (cosine of character 3- and
    4-grams, weights of the same), which is then compared with the candidates as the lexical floor compares.

    Args:
        task: Queries and candidates.
        texts: Training texts of the task's language.
        english: Their English sides.
    """
    foreign, documents = tfidf_vectorizer(), tfidf_vectorizer()
    known_RV = foreign.fit_transform(texts)
    candidates = documents.fit_transform(task.candidate_texts)
    similarity_QR = (foreign.transform(task.query_texts) @ known_RV.T).toarray()
    bridge_RC = (documents.transform(english) @ candidates.T).toarray()
    kept_QR = np.zeros_like(similarity_QR)
    nearest = np.argsort(-similarity_QR, axis=1, kind="stable")[:, :MEMORY_NEIGHBOURS]
    np.put_along_axis(kept_QR, nearest, np.take_along_axis(similarity_QR, nearest, 1), 1)
    return torch.from_numpy(kept_QR @ bridge_RC).float()


def reference_rows(tasks: Sequence[BitextTask], corpus: Corpus) -> pa.Table:
    """Per-query rows of the systems that no training touches; schema QUERIES."""
    tables = []
    for task in tasks:
        rows = corpus.head(task.language, "train", MEMORY_ROWS)
        tables.append(query_rows(task, lexical_scores(task), "lexical", "tfidf"))
        memory_QC = memory_scores(task, rows["text"].to_pylist(), rows["english"].to_pylist())
        tables.append(query_rows(task, memory_QC, "translation-memory", "tfidf"))
    return pa.concat_tables(tables)


def tfidf_vectorizer(vocabulary: Mapping[str, int] | None = None) -> Any:
    """Of character 3- and 4-grams within words; not fitted, where no vocabulary is given."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # here: scikit-learn takes a second to import

    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True, vocabulary=vocabulary)
