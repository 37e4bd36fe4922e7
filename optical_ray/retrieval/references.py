"""The systems that stand beside every student: what characters alone reach, and language-mean removal."""

from __future__ import annotations

import torch
from torch import Tensor

from optical_ray.encoders.interaction import TokenClouds
from optical_ray.retrieval.tasks import BitextTask


def lexical_scores(task: BitextTask) -> Tensor:
    """The lexical floor, [Q, C]: cosine of TF-IDF vectors of character 3- and 4-grams, document frequencies from the candidates."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # here: scikit-learn takes a second to import

    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 4), sublinear_tf=True)
    documents = vectorizer.fit_transform(task.candidate_texts)
    return torch.from_numpy((vectorizer.transform(task.query_texts) @ documents.T).toarray()).float()


def remove_mean(clouds: TokenClouds, mean_D: Tensor | None = None) -> TokenClouds:
    """Per-language mean removal (LIR, arXiv 2109.04727): subtract a language's mean token, here of the very texts when none is given.

    It uses no label and no training; weakly aligned encoders often gain more from it than from distillation.
    """
    mean_D = clouds.vectors_TD.mean(0) if mean_D is None else mean_D
    return TokenClouds(clouds.vectors_TD - mean_D, clouds.lengths)
