"""Is one system better than another on the same queries? Paired tests beside the intervals of intervals.py.

Two tests, of which neither assumes a distribution (Smucker, Allan & Carterette 2007 compare them on retrieval runs):

    randomisation   Were the two systems alike, their outcomes on a query could be exchanged. The sign of each difference is flipped at
                    random, and p is the share of such relabellings whose mean difference is at least as far from 0 as the one found
                    (Fisher 1935; Noreen 1989). Where relabellings are no more than the resamples asked for, all of them are gone through.
    bootstrap       The percentile bootstrap of the difference: p is the level at which its interval reaches 0 (`Interval.p_value`).

What is exchanged or resampled is, in both, everything that asks for one relevant sentence: translations of one question are one draw.

L languages, Q queries of one language, U different relevant sentences, M measures, R relabellings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optical_ray.retrieval.intervals import RESAMPLES, Floats, Interval, QueryBootstrap, Strings, subtract

BLOCK_SIGNS = 2**22
"""Signs that are held at once: 34 MB."""
EQUAL = 1e-9
"""Relative: relabellings whose mean differs from the one found by rounding alone are as far from 0."""


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two systems on the same queries, by one measure."""

    first: Interval
    """Its mean."""
    second: Interval
    difference: Interval
    """First minus second, with the bootstrap's interval and p."""
    p_randomisation: float
    """Two-sided, never 0: the relabelling that was found is one of them."""
    exact: bool
    """Whether every relabelling was gone through."""


class PairedComparison:
    """Both tests of one pair of systems, seeded: the same outcomes give the same numbers wherever they are compared.

    Args:
        bootstrap: Gives intervals, and the number of resamples and the seed of both tests; None: the default one.
    """

    def __init__(self, bootstrap: QueryBootstrap | None = None) -> None:
        self.bootstrap = bootstrap or QueryBootstrap(RESAMPLES)

    def test(self, first: Mapping[str, Floats], second: Mapping[str, Floats], relevant: Mapping[str, Strings]) -> list[PairedTest]:
        """Means over languages of each language's mean over its queries, and of their paired difference, for M measures.

        Args:
            first: By language, float [Q, M].
            second: The same queries in the same order.
            relevant: By language, what each query asks for, str [Q]; equal ids go together, within and across languages.

        Raises:
            ValueError: as `QueryBootstrap.differences_over_languages`.
        """
        differences = subtract(first, second)
        columns = {name: np.concatenate([first[name], second[name], differences[name]], axis=1) for name in differences}
        intervals = self.bootstrap.means_over_languages(columns, relevant)  # one pass over the resamples for all three
        p_M, exact = randomise(cluster_shares(differences, relevant), self.bootstrap.resamples, self.bootstrap.seed)
        one, two, change = (intervals[start : start + len(p_M)] for start in (0, len(p_M), 2 * len(p_M)))
        return [PairedTest(a, b, minus, float(p), exact) for a, b, minus, p in zip(one, two, change, p_M, strict=True)]


def cluster_shares(differences: Mapping[str, Floats], relevant: Mapping[str, Strings]) -> Floats:
    """What each relevant sentence adds to the mean over languages of the mean difference, float64 [U, M], sorted by sentence.

    The mean is their sum. So a relabelling that flips a sentence's sign in every language at once flips one term.
    """
    names, place_all = np.unique(np.concatenate([np.asarray(relevant[name]) for name in differences]), return_inverse=True)
    shares_UM = np.zeros((len(names), next(iter(differences.values())).shape[1]))
    for values_QM in differences.values():
        place_Q, place_all = place_all[: len(values_QM)], place_all[len(values_QM) :]
        np.add.at(shares_UM, place_Q, values_QM / (len(values_QM) * len(differences)))
    return shares_UM


def randomise(shares_UM: Floats, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Floats, bool]:
    """Two-sided p of the sum of terms under random signs, float64 [M], and whether all relabellings were gone through.

    Terms that are 0 in every measure are left out: their sign changes nothing. With all 2^U relabellings p is their share that is at least
    as far from 0; with R random ones, (1 + their number) / (1 + R): valid for any R (Phipson & Smyth 2010).
    """
    shares_UM = shares_UM[np.any(shares_UM != 0, axis=1)]
    found_M = np.abs(shares_UM.sum(0))
    least_M = found_M * (1 - EQUAL)
    every = len(shares_UM) < 63 and 2 ** len(shares_UM) <= resamples
    far_M = np.zeros(shares_UM.shape[1], dtype=np.int64)
    signs = _all_signs(len(shares_UM)) if every else _random_signs(len(shares_UM), resamples, seed)
    for negative_RU in signs:
        sums_RM = shares_UM.sum(0) - 2.0 * (negative_RU @ shares_UM)
        far_M += (np.abs(sums_RM) >= least_M).sum(0)
    return (far_M / 2 ** len(shares_UM), True) if every else ((1.0 + far_M) / (1.0 + resamples), False)


def _all_signs(count: int) -> Iterator[npt.NDArray[np.float64]]:
    """Every relabelling, 1 where a sign is flipped: the bits of 0 .. 2^U - 1."""
    rows = max(1, BLOCK_SIGNS // max(count, 1))
    for start in range(0, 2**count, rows):
        numbers = np.arange(start, min(start + rows, 2**count))
        yield ((numbers[:, None] >> np.arange(count)) & 1).astype(np.float64)


def _random_signs(count: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.float64]]:
    """R relabellings, each sign flipped with probability 1/2: a function of (seed, U) alone."""
    generator = np.random.default_rng([seed, count])
    width = -(-count // 8)
    rows = max(1, BLOCK_SIGNS // count)
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        bits = np.frombuffer(generator.bytes(size * width), np.uint8).reshape(size, width)
        yield np.unpackbits(bits, axis=1, count=count).astype(np.float64)
