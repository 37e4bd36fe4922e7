"""The plan is the dataset: which row of which language stands where in which global batch, from the first step to the last.

A pure function of mixture, batch shape, number of steps and seed (and, for the order inside a window, of the sentences' lengths), computed
window by window where it is needed: 50 million rows take no more memory than a thousand.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from optical_ray.artifacts import fingerprint
from optical_ray.data.plan_config import BatchConfig
from optical_ray.data.row_order import RowOrder
from optical_ray.errors import ConfigError
from optical_ray.languages.mixing import Mixture
from optical_ray.seeding import derive_seed

FORMAT_VERSION = 2
"""Part of every digest: raised when the same inputs give another sequence of rows."""


class Position(NamedTuple):
    """Where in the plan a training stands: all that resuming needs, kept in its checkpoint."""

    window: int = 0
    batch: int = 0
    """Of the window: the next one to be read."""
    pairs: int = 0
    """Of all the batches before."""


START = Position()


@dataclass(frozen=True)
class BatchPlan:
    """The rows of a whole training, in order. Plain data; small, so it travels."""

    mixture: Mixture
    batch: BatchConfig
    steps: int
    seed: int
    data: str
    """Names what `mixture.rows` counts and where the lengths come from, in the digest."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.mixture, self.batch, self.steps, self.seed, self.data)

    @cached_property
    def _orders(self) -> list[RowOrder]:
        return [RowOrder(tag, rows, self.seed) for tag, rows in self.mixture.rows.items()]

    @cached_property
    def _shares(self) -> tuple[float, ...]:
        return tuple(self.mixture.shares[tag] for tag in self.languages)

    @property
    def languages(self) -> tuple[str, ...]:
        return tuple(self.mixture.rows)

    @property
    def windows(self) -> int:
        """How many windows the steps can need; with `batch.tokens`, a bound (each window has at least one batch)."""
        return self.steps if self.batch.tokens is not None else -(-self.steps // self.batch.length_window)

    def pairs_in(self, window: int) -> int:
        """Pairs of one window; the last is shorter where `length_window` does not divide the steps."""
        if self.batch.tokens is not None:
            return self.batch.window_pairs
        return min(self.batch.window_pairs, (self.steps - window * self.batch.length_window) * self.batch.pairs)

    def draw(self, window: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """(language, row) of every pair of one window, language by language: int16 index into `languages`, int32 row in stored order."""
        before, after = self._drawn(window)
        rows = [order.draw(int(start), int(end - start)) for order, start, end in zip(self._orders, before, after, strict=True)]
        return np.repeat(np.arange(len(rows), dtype=np.int16), after - before), np.concatenate(rows)

    def _drawn(self, window: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draws of each language before a window and up to its end."""
        first = window * self.batch.window_pairs
        before, after = (draws_of_first(total, self._shares) for total in (first, first + self.pairs_in(window)))
        return before, after

    def deal(self, window: int, lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """The global batches of a window, in order: the places of their pairs among those of `draw`.

        Args:
            window: Which.
            lengths: Student tokens of each pair of `draw(window)`.
        """
        generator = np.random.default_rng(derive_seed(self.seed, "plan-window", window))
        order = generator.permutation(len(lengths))
        if self.batch.monolingual_share > 0:
            order = self._group_by_language(window, order, lengths, generator)
        elif self.batch.length_window > 1:
            order = order[np.argsort(lengths[order], kind="stable")]
        ends = self._ends(lengths[order])
        batches = np.split(order, ends[:-1])
        return [batches[turn] for turn in generator.permutation(len(batches))]

    def _group_by_language(
        self, window: int, order: NDArray[np.int64], lengths: NDArray[np.int64], generator: np.random.Generator
    ) -> NDArray[np.int64]:
        """A window's places group by group: `monolingual_share` of them of one language, the rest mixed; then sorted by their longest pair.

        The number of a language's own groups is rounded at one random offset for all: right on average for each, and for the window.
        """
        group, share = self.batch.group, self.batch.monolingual_share
        before, after = self._drawn(window)
        count_L = after - before
        language = np.repeat(np.arange(len(count_L)), count_L)[order]
        wanted_L = np.diff(np.floor(np.cumsum(share * count_L / group) + generator.random()), prepend=0.0).astype(np.int64)
        alone_L = np.minimum(wanted_L, count_L // group)
        own = [order[language == place][: groups * group] for place, groups in enumerate(alone_L)]
        rest = order[~np.isin(order, np.concatenate(own))]
        if self.batch.length_window > 1:  # like lengths within a group, and groups of like lengths next to each other
            own, rest = [part[np.argsort(lengths[part], kind="stable")] for part in own], rest[np.argsort(lengths[rest], kind="stable")]
        groups = np.concatenate([*own, rest]).reshape(-1, group)
        groups = groups[generator.permutation(len(groups))]
        if self.batch.length_window > 1:
            groups = groups[np.argsort(lengths[groups].max(1), kind="stable")]
        return groups.flatten()

    def _ends(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each batch ends among pairs in their order: after `pairs` of them, or where the next group would exceed `tokens`."""
        group = self.batch.group
        if self.batch.tokens is None:
            return np.arange(self.batch.pairs, len(lengths) + 1, self.batch.pairs)
        longest = lengths.reshape(-1, group).max(1)
        ends, start, width = [], 0, 0
        for index, length in enumerate(longest.tolist()):
            width = max(width, length)
            if index > start and (index + 1 - start) * group * width > self.batch.tokens:
                ends.append(index)
                start, width = index, length
        ends.append(len(longest))
        if len(ends) > 1:  # a small rest would leave workers without a group
            first = ends[-3] if len(ends) > 2 else 0
            room = self.batch.tokens // (group * int(longest[first:].max()))
            ends[-2] = ends[-1] - max(ends[-1] - ends[-2], min(room, (ends[-1] - first) // 2))
        return np.asarray(ends) * group

    def draws(self) -> dict[str, int] | None:
        """Positions of each language, repetitions counted; None with `batch.tokens`, where lengths decide how many pairs the steps take."""
        if self.batch.tokens is not None:
            return None
        counts = draws_of_first(self.steps * self.batch.pairs, self._shares)
        return {tag: int(count) for tag, count in zip(self.languages, counts, strict=True)}

    def first_rows(self, count: int) -> Iterator[tuple[NDArray[np.int16], NDArray[np.int32]]]:
        """(language, row) of at least `count` pairs (or of all), window by window, for measuring: a window's languages in their shares."""
        window = 0
        while count > 0 and window < self.windows:
            language, row = self.draw(window)
            chosen = np.sort(np.random.default_rng(derive_seed(self.seed, "plan-sample", window)).permutation(len(row))[:count])
            yield language[chosen], row[chosen]
            count, window = count - len(chosen), window + 1

    def describe(self) -> dict[str, Any]:
        """Plain data for plan.json; the digest tells whether two trainings saw the same rows in the same order."""
        inputs = {
            "version": FORMAT_VERSION,
            "rows": list(self.mixture.rows.items()),
            "shares": self._shares,
            "batch": self.batch.identity(),
            "steps": self.steps,
            "seed": self.seed,
            "data": self.data,
        }
        pairs = self.batch.pairs if self.batch.tokens is None else None
        sizes = {"languages": list(self.languages), "steps": self.steps, "pairs_per_step": pairs, "tokens_per_step": self.batch.tokens}
        order = {"group": self.batch.group, "draws": self.draws(), "digest": fingerprint(inputs)}
        return sizes | self.mixture.describe() | order


def build_plan(mixture: Mixture, batch: BatchConfig, steps: int, seed: int, max_tokens: int, data: str = "") -> BatchPlan:
    """Deal the mixture's rows out to `steps` global batches.

    Every stretch of draws is as close to the sampling shares as whole numbers allow, and exact in the long run; a language goes through all
    of its rows before it repeats one. Within a window, pairs are sorted by length and the batches shuffled.

    Args:
        mixture: Rows and shares of each language.
        batch: Shape and window.
        steps: Global batches.
        seed: Root of every order.
        max_tokens: Of the longest student sentence.
        data: Names the corpus and the tokens.

    Raises:
        ConfigError: fewer pairs than languages, or `batch.tokens` does not hold one group.
    """
    batch.fewest_groups(max_tokens)
    pairs = batch.window_pairs if batch.tokens is not None else steps * batch.pairs
    what = "batch.length_window x batch.pairs" if batch.tokens is not None else "training.max_steps x batch.pairs"
    if 0 < pairs < len(mixture.rows):
        raise ConfigError(f"{what}: {pairs} pairs for {len(mixture.rows)} languages; at least one pair a language is needed")
    return BatchPlan(mixture, batch, steps, seed, data)


@lru_cache(maxsize=64)  # the end of a window is the beginning of the next
def draws_of_first(total: int, shares: tuple[float, ...]) -> NDArray[np.int64]:
    """How many of the first `total` draws fall to each language, int64 [languages]; never less for a larger total, so windows add up.

    Huntington-Hill apportionment, the one rule of its kind that gives everyone a first seat: language l takes its seat number i + 1 at time
    sqrt(i * (i + 1)) / share_l, and draws follow each other in time. So every language is drawn once before any twice, and each then stays
    within rounding of its share (Balinski & Young 2001, Fair Representation).
    """
    share_L = np.maximum(shares, np.finfo(np.float64).tiny)
    if total <= len(shares):
        return (np.arange(len(shares)) < total).astype(np.int64)
    time = float(total - len(shares) - 1)  # no more than `total` seats are taken by then
    count_L = np.floor((np.sqrt(1.0 + 4.0 * (time * share_L) ** 2) - 1.0) / 2.0) + 1.0
    count_L -= np.sqrt((count_L - 1.0) * count_L) / share_L > time  # the inverse is off by one where it rounds
    count_L += np.sqrt(count_L * (count_L + 1.0)) / share_L <= time
    counts: list[int] = count_L.astype(np.int64).tolist()
    following = [(math.sqrt(count * (count + 1)) / share_L[place], place) for place, count in enumerate(counts)]
    heapq.heapify(following)
    for _ in range(total - sum(counts)):
        _, place = following[0]
        counts[place] += 1
        heapq.heapreplace(following, (math.sqrt(counts[place] * (counts[place] + 1)) / share_L[place], place))
    return np.asarray(counts, np.int64)
