"""How sure is a mean over queries? Percentile bootstrap intervals, alone and paired, for one language and for a mean over languages.

Assumed: the queries of a language are independent draws of what users of that language ask. Languages are held fixed (a mean over 16
languages speaks of these 16), and so is training: another training seed is another student, which no resampling of queries can show.

R resamples, Q queries, M measures (columns that share their queries).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]

RESAMPLES = 10_000
CACHE_BYTES = 256 * 2**20  # 16 languages x 150 queries x 10,000 resamples take 96 MB; what does not fit is drawn again
CHUNK_BYTES = 64 * 2**20
SMALL_PRODUCT = 2**18  # multiply-adds up to which OpenBLAS keeps to one thread; waiting for a second, busy core cost a factor of 3 to 7
FEW_VALUES = 8  # up to here a multinomial over values beats one matrix product over queries


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, or a difference of means, with its interval; in the unit of the values."""

    estimate: float
    """Of the queries as they are, not the mean of the resamples."""
    low: float
    high: float
    p_value: float = 1.0
    """Of a difference, two-sided: twice the share of resamples on the far side of 0; the level at which the interval would just reach 0.
    At least 2 / (R + 1). Meaningless for a mean that cannot be negative."""

    @property
    def excludes_zero(self) -> bool:
        """True when a difference of 0 lies outside: without it no direction may be claimed."""
        return self.low > 0.0 or self.high < 0.0


class QueryBootstrap:
    """The percentile bootstrap over queries (Efron & Tibshirani 1993, chapter 13), reproducible and vectorised.

    A resample draws Q of the Q queries with replacement; all that it needs is how often each query was drawn, so a resample is a row of
    counts and 10,000 resampled means of any number of systems are a matrix product. The counts are a function of (seed, stratum, Q) alone.
    Differences are paired: they are taken query by query first, and resampled then.

    Percentile intervals are a little short at small Q (about 94 % at Q = 150 for a success rate), and have no width where every query has
    the same outcome: 0 of 150 gives [0, 0], although a true rate of 2 % is compatible with it (the rule of three: 3 / Q).

    Args:
        resamples: R.
        confidence: Share of resamples inside the interval, between 0 and 1.
        seed: Of the resamples.
    """

    def __init__(self, resamples: int = RESAMPLES, confidence: float = 0.95, seed: int = 0) -> None:
        if resamples < 1 or not 0.0 < confidence < 1.0:
            raise ValueError(f"resamples={resamples}, confidence={confidence}; expected at least 1 resample and 0 < confidence < 1")
        self.resamples = resamples
        self.confidence = confidence
        self.seed = seed
        self._counts: dict[tuple[str, int], Floats] = {}

    def mean(self, values_Q: Floats, stratum: str = "") -> Interval:
        """The mean of one value per query.

        Raises:
            ValueError: no query, or a value that is not finite.
        """
        return self.mean_over_languages({stratum: values_Q})

    def difference(self, first_Q: Floats, second_Q: Floats, stratum: str = "") -> Interval:
        """Mean of `first` minus mean of `second`, paired: position i is the same query in both.

        Raises:
            ValueError: the lengths differ, no query, or a value that is not finite.
        """
        return self.difference_over_languages({stratum: first_Q}, {stratum: second_Q})

    def mean_over_languages(self, values: Mapping[str, Floats]) -> Interval:
        """The mean over languages of each language's mean over its queries: languages count alike, however many queries they have.

        Queries are resampled within each language, independently of the other languages, then the languages' means are averaged.

        Args:
            values: By language, one value per query, float [Q] (Q may differ).

        Raises:
            ValueError: no language, a language without queries, or a value that is not finite; the language is named.
        """
        if not values:
            raise ValueError("no language to average over")
        draws_R = sum(self.resampled_mean(values_Q, language) for language, values_Q in values.items()) / len(values)
        estimate = np.mean([np.mean(values_Q, dtype=np.float64) for values_Q in values.values()])
        return self.intervals(np.array([estimate]), np.asarray(draws_R)[:, None])[0]

    def means_over_languages(self, values: Mapping[str, Floats]) -> list[Interval]:
        """As `mean_over_languages` for M measures of the same queries at once: values float [Q, M] by language; M intervals."""
        if not values:
            raise ValueError("no language to average over")
        draws_RM = sum(self.resampled_means(values_QM, language) for language, values_QM in values.items()) / len(values)
        means_M = np.mean([np.mean(values_QM, axis=0, dtype=np.float64) for values_QM in values.values()], axis=0)
        return self.intervals(means_M, np.asarray(draws_RM))

    def difference_over_languages(self, first: Mapping[str, Floats], second: Mapping[str, Floats]) -> Interval:
        """The mean over languages of each language's paired difference `first` minus `second`.

        Raises:
            ValueError: the two do not have the same languages with the same number of queries, or as `mean_over_languages`.
        """
        return self.mean_over_languages(_subtract(first, second))

    def differences_over_languages(self, first: Mapping[str, Floats], second: Mapping[str, Floats]) -> list[Interval]:
        """As `difference_over_languages` for M measures of the same queries at once: values float [Q, M] by language."""
        return self.means_over_languages(_subtract(first, second))

    def resampled_means(self, values_QM: Floats, stratum: str = "") -> Floats:
        """Means of R resamples of the queries, float64 [R, M]; the M columns share their resamples.

        Raises:
            ValueError: no query, or a value that is not finite.
        """
        values_QM = np.asarray(values_QM, dtype=np.float32)
        if len(values_QM) == 0 or not np.isfinite(values_QM).all():
            found = "no query" if len(values_QM) == 0 else "a value that is not finite"
            raise ValueError(f"{stratum or 'values'}: {found}; expected at least one query, all values finite")
        num_queries = len(values_QM)
        counts = self._counts.get((stratum, num_queries))
        if counts is not None:
            return _product(counts, values_QM) / num_queries
        used = sum(kept.nbytes for kept in self._counts.values())
        if used + 4 * self.resamples * num_queries <= CACHE_BYTES:
            self._counts[stratum, num_queries] = counts = np.concatenate(list(self._draw_counts(num_queries, stratum)))
            return _product(counts, values_QM) / num_queries
        return np.concatenate([_product(chunk, values_QM) for chunk in self._draw_counts(num_queries, stratum)]) / num_queries

    def intervals(self, estimates_M: Floats, draws_RM: Floats) -> list[Interval]:
        """The percentiles of the resamples around the estimates, one interval per column."""
        tail = (1.0 - self.confidence) / 2
        low_M, high_M = np.quantile(draws_RM, [tail, 1.0 - tail], axis=0)
        far_M = np.minimum((draws_RM <= 0).sum(0), (draws_RM >= 0).sum(0))
        p_M = np.minimum(1.0, 2.0 * (far_M + 1) / (len(draws_RM) + 1))
        columns = (estimates_M, low_M, high_M, p_M)
        return [Interval(*(float(value) for value in row)) for row in zip(*columns, strict=True)]

    def resampled_mean(self, values_Q: Floats, stratum: str = "") -> Floats:
        """Means of R resamples of one measure, float64 [R].

        A success is 0 or 1 and a difference of two -1, 0 or 1, so how often each *value* is drawn suffices: a multinomial of two or three
        cells instead of one of Q, about ten times as fast and the same distribution. A function of (seed, stratum, values) alone, so the
        same outcomes get the same interval wherever they are shown.
        """
        values_Q = np.asarray(values_Q, dtype=np.float64)
        if len(values_Q) == 0 or not np.isfinite(values_Q).all():
            return self.resampled_means(values_Q[:, None], stratum)[:, 0]  # which says what is wrong
        unique_U, counts_U = np.unique(values_Q, return_counts=True)
        if len(unique_U) > FEW_VALUES:
            return self.resampled_means(values_Q[:, None], stratum)[:, 0]
        generator = np.random.default_rng([self.seed, len(values_Q), *stratum.encode()])
        drawn_RU = generator.multinomial(len(values_Q), counts_U / len(values_Q), size=self.resamples)
        return np.asarray(drawn_RU @ unique_U / len(values_Q))

    def _draw_counts(self, num_queries: int, stratum: str) -> Iterator[Floats]:
        """How often each query is drawn, float32 [R, Q] in chunks of rows: multinomial with equal probabilities, by counting indices."""
        generator = np.random.default_rng([self.seed, num_queries, *stratum.encode()])
        rows = max(1, CHUNK_BYTES // (8 * num_queries))
        for start in range(0, self.resamples, rows):
            size = min(rows, self.resamples - start)
            index_RQ = generator.integers(0, num_queries, size=(size, num_queries)) + num_queries * np.arange(size)[:, None]
            counts = np.bincount(index_RQ.ravel(), minlength=size * num_queries).reshape(size, num_queries)
            yield counts.astype(np.float32)


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): adjusted p-values in the order given; valid whatever the dependence between the comparisons."""
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return adjusted


def _product(counts_RQ: Floats, values_QM: Floats) -> Floats:
    """counts @ values, float64 [R, M], in blocks small enough for one thread."""
    rows = max(1, SMALL_PRODUCT // values_QM.size)
    sums_RM = np.empty((len(counts_RQ), values_QM.shape[1]), dtype=np.float32)
    for start in range(0, len(counts_RQ), rows):
        np.matmul(counts_RQ[start : start + rows], values_QM, out=sums_RM[start : start + rows])
    return sums_RM.astype(np.float64)


def _subtract(first: Mapping[str, Floats], second: Mapping[str, Floats]) -> dict[str, Floats]:
    """Paired differences by language."""
    if set(first) != set(second):
        raise ValueError(f"the two systems have different languages: {', '.join(sorted(set(first) ^ set(second)))} in one only")
    for name in first:
        if np.shape(first[name]) != np.shape(second[name]):
            raise ValueError(f"{name}: {len(first[name])} and {len(second[name])} queries; a paired difference needs the same queries")
    return {name: np.subtract(first[name], second[name], dtype=np.float64) for name in first}
