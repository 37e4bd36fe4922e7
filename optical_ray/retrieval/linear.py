"""Intervals of means over languages without resampling: for the averages of thousands of trials, where a bootstrap of each takes hours.

The same clusters as `retrieval.intervals`: queries of all languages that ask for one sentence are drawn together. A mean over languages of
ratios is replaced by its linear part (the delta method; with clusters, the sandwich: Davison & Hinkley 1997, section 2.7; Cameron & Miller
2015, equation 11), whose variance is a sum over sentences. Bounds are Student's, with one degree of freedom less than sentences. Unlike a
percentile interval it lies evenly around the mean, and may reach beyond what a mean can be.

L languages, Q queries of one of them, S sentences of one, U sentences of a group of languages, M measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from optical_ray.retrieval.intervals import Floats, Strings


class LinearIntervals:
    """For one set of queries, which many systems have answered.

    Args:
        relevant: By language, the id of what each query asks for, str [Q]; equal ids are drawn together, across languages too.
        confidence: Share of intervals that hold the mean, between 0 and 1.

    Raises:
        ValueError: no language, or one without a query.
    """

    def __init__(self, relevant: Mapping[str, Strings], confidence: float = 0.95) -> None:
        if not relevant or any(len(ids) == 0 for ids in relevant.values()):
            raise ValueError("no language, or a language without a query; expected at least one query in each")
        self._tail = (1.0 + confidence) / 2
        _, place_all = np.unique(np.concatenate(list(relevant.values())), return_inverse=True)
        self._num_sentences = int(place_all.max()) + 1
        ends = np.cumsum([len(ids) for ids in relevant.values()])[:-1]
        self._clusters = {name: _Clusters(place_Q) for name, place_Q in zip(relevant, np.split(place_all, ends), strict=True)}

    def means(self, values: Mapping[str, Floats], groups: Sequence[Sequence[str]]) -> Floats:
        """Mean over each group's languages of the mean over their queries, with bounds.

        Args:
            values: By language, M values per query, float [Q, M].
            groups: Languages of each.

        Returns:
            float64 [len(groups), 3, M]: estimate, low, high. Where all outcomes are one, there is no width, which is no certainty.

        Raises:
            ValueError: a value is not finite; the language is named.
        """
        for name in self._clusters:
            if not np.isfinite(values[name]).all():
                raise ValueError(f"{name}: a value that is not finite; expected all values finite")
        means: dict[str, Floats] = {name: np.asarray(values[name], dtype=np.float64).mean(0) for name in self._clusters}
        parts = {name: own.residuals(values[name], means[name]) for name, own in self._clusters.items()}
        found = np.empty((len(groups), 3, len(next(iter(means.values())))))
        for row, group in enumerate(groups):
            total_UM = np.zeros((self._num_sentences, found.shape[2]))
            asked_U = np.zeros(self._num_sentences, bool)
            for name in group:
                total_UM[self._clusters[name].places_S] += parts[name]
                asked_U[self._clusters[name].places_S] = True
            size = int(asked_U.sum())
            estimate_M = np.mean([means[name] for name in group], axis=0)
            variance_M = np.square(total_UM / len(group)).sum(0) * size / max(1, size - 1)
            reach_M = np.sqrt(variance_M) * stdtrit(max(1, size - 1), self._tail)
            found[row] = estimate_M, estimate_M - reach_M, estimate_M + reach_M
        return found


class _Clusters:
    """The queries of one language, by sentence."""

    def __init__(self, place_Q: npt.NDArray[np.intp]) -> None:
        self._order_Q = np.argsort(place_Q, kind="stable")
        self.places_S, self._first_S = np.unique(place_Q[self._order_Q], return_index=True)

    def residuals(self, values_QM: Floats, mean_M: Floats) -> Floats:
        """What each sentence adds to the language's mean beyond its share of it, [S, M]; they sum to 0."""
        beyond_QM = (np.asarray(values_QM, dtype=np.float64) - mean_M) / len(self._order_Q)
        return np.asarray(np.add.reduceat(beyond_QM[self._order_Q], self._first_S, axis=0))
