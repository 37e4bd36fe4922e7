"""English sentences that nearly equal another: MinHash bands find candidates, exact similarity of character trigrams decides. Pure.

The similarity of two keys (`splits.split_key`) is the Jaccard index of their sets of three successive characters. Sentences here have five
words at the median, too few for the word n-grams of Lee et al. 2022 ("Deduplicating training data makes language models better"); of 2 to
5 characters, 3 is the shortest that tells unrelated sentences apart (docs/LABLOG.md), and three code points fit a 64-bit number, so that
the similarity is exact.

A job of any number of machines hands out `band_hashes`, brings equal ones together, calls `judge` on each heap (or on the records of its
`shared_bands`, a part at a time: a record's verdict takes 8 bytes for every character of its key) and `union` on the verdicts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from optical_ray.data.characters import decode, native, utf8

BANDS = 8
RECALL = 0.95
"""A pair exactly at the threshold meets in at least one band with this probability or more."""

MAX_COMPARISONS = 64
"""Exact similarities that a record is judged by in one group; a group of g records costs g times this, not g squared."""

Mode = Literal["held-out", "all"]

RECORDS = pa.schema(
    [
        pa.field("band", pa.uint64(), nullable=False),  # one of the sentence's `band_hashes`
        pa.field("order", pa.uint64(), nullable=False),  # its second number of `hash_keys`; it names the sentence
        pa.field("split", pa.int8(), nullable=False),  # index into SPLITS: the larger, the better protected
        pa.field("key", pa.string(), nullable=False),
    ]
)
"""What `judge` reads: a row for every band of every sentence."""

VERDICTS = pa.schema(
    [
        pa.field("order", pa.uint64(), nullable=False),
        pa.field("split", pa.int8(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("partner_order", pa.uint64(), nullable=False),  # of the sentence that stays
        pa.field("partner_split", pa.int8(), nullable=False),
        pa.field("partner", pa.string(), nullable=False),  # its key
        pa.field("similarity", pa.float64(), nullable=False),
    ]
)
"""What `judge` gives: a row for every sentence that goes."""


def rows_per_band(similarity: float) -> int:
    """How many hashes a band is made of: the most that still find a pair at the threshold with probability RECALL.

    r hashes agree with probability s^r, and one of b bands with 1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman, section 3.4). With b = 8:

    | threshold | r | s=.3 | s=.5 | s=.6 | s=.7 | s=.8 | s=.9 |
    |---|---|---|---|---|---|---|---|
    | .7 | 3 | .20 | .66 | .86 | .965 | .997 | 1.000 |
    | .8 | 5 | .02 | .22 | .48 | .77 | .958 | .999 |
    | .9 | 11 | .00 | .00 | .03 | .15 | .51 | .951 |
    """
    return math.floor(math.log(1 - (1 - RECALL) ** (1 / BANDS)) / math.log(similarity))


def band_hashes(keys: pa.StringArray, similarity: float) -> NDArray[np.uint64]:
    """MinHash signatures of keys (Broder 1997), BANDS hashes of several minima each, uint64 [n, BANDS].

    Two keys share a hash about as often as `rows_per_band` says; hashes of different bands do not meet. The same everywhere: no seed.

    Args:
        keys: Split keys, [n], without nulls.
        similarity: The threshold, within (0, 1): it sets the length of the bands.
    """
    text, offsets = utf8(keys)
    return np.asarray(_band_hashes(text, offsets, BANDS, rows_per_band(similarity)))


def shared_bands(bands: NDArray[np.uint64], most_records: int) -> list[NDArray[np.uint64]]:
    """The band hashes that several records have, ascending, cut into parts that are judged one after the other: uint64 [hashes] each.

    Args:
        bands: Of all records of a heap, [records], in any order; overwritten.
        most_records: That a part's hashes have between them; a hash that has more is a part by itself.
    """
    bands.sort()
    first = np.flatnonzero(np.concatenate([np.ones(min(len(bands), 1), np.bool_), bands[1:] != bands[:-1]]))
    counts = np.diff(first, append=len(bands))
    hashes, counts = bands[first[counts > 1]], counts[counts > 1]
    starts, held = [0], 0
    for place, count in enumerate(counts.tolist()):
        if held and held + count > most_records:
            starts.append(place)
            held = 0
        held += count
    return [hashes[begin:end] for begin, end in itertools.pairwise([*starts, len(hashes)]) if begin < end]


def judge(records: pa.Table, similarity: float, mode: Mode) -> pa.Table:
    """Which sentences go, by the groups of equal band hash in one heap of records.

    In a group the better protected come first (test, valid, train), then those of smaller `order`. A record goes when its similarity to an
    earlier record that stays is at least the threshold. It is compared with the first MAX_COMPARISONS of these whose numbers of trigrams
    permit it. "Stays" means in this group: the partner may go by another group, so a chain a ~ b ~ c can cost c its place for b's sake.

    Args:
        records: Of the schema RECORDS, in any order; all those of a band hash have to be here. Repeated ones count once.
        similarity: The threshold.
        mode: `all`, or `held-out`: only a partner in a better protected split counts, so nothing goes for the sake of its own split.

    Returns:
        VERDICTS; a sentence stands once for every group that it goes by. Concatenate heaps, then `union`.
    """
    band, order, split = (records[name].to_numpy() for name in ("band", "order", "split"))
    arranged = np.lexsort((order, -split.astype(np.int16), band))
    band, order, split = band[arranged], order[arranged], split[arranged]
    first_of_group, repeated = np.ones(len(band), np.bool_), np.zeros(len(band), np.bool_)
    first_of_group[1:] = band[1:] != band[:-1]
    repeated[1:] = ~first_of_group[1:] & (order[1:] == order[:-1])
    group = np.cumsum(first_of_group)
    chosen = np.flatnonzero(~repeated)
    chosen = chosen[np.bincount(group[chosen])[group[chosen]] > 1] if len(chosen) else chosen
    keys = records["key"].cast(pa.string()).take(pa.array(arranged[chosen])).combine_chunks()
    order, split = order[chosen], split[chosen]
    trigrams, ends = _trigrams(*utf8(keys))
    partner, found = _judge(trigrams, ends, group[chosen], split, similarity, mode == "held-out", MAX_COMPARISONS)
    gone = np.flatnonzero(partner >= 0)
    kept = partner[gone]
    columns = [order[gone], split[gone], keys.take(pa.array(gone)), order[kept], split[kept], keys.take(pa.array(kept)), found[gone]]
    return pa.table(columns, schema=VERDICTS)


def union(verdicts: Sequence[pa.Table]) -> pa.Table:
    """One row for every sentence that goes, beside its most similar partner (of equal ones that of smaller order), sorted by `order`."""
    table = pa.concat_tables([VERDICTS.empty_table(), *verdicts])
    order, partner, similarity = (table[name].to_numpy() for name in ("order", "partner_order", "similarity"))
    arranged = np.lexsort((partner, -similarity, order))
    order = order[arranged]
    first = np.ones(len(order), np.bool_)
    first[1:] = order[1:] != order[:-1]
    return table.take(pa.array(arranged[first])).combine_chunks()


@native
def _mix(x: Any) -> Any:
    """A permutation of 64-bit numbers that leaves no pattern (the finaliser of splitmix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@native
def _next_trigram(text: Any, at: Any, trigram: Any) -> Any:
    """The last two characters with the next one behind them, 21 bits each, and the byte after it."""
    code, width = decode(text, at)
    return ((trigram << np.uint64(21)) | np.uint64(code)) & np.uint64((1 << 63) - 1), at + width


@native
def _band_hashes(text: Any, offsets: Any, bands: int, rows: int) -> Any:
    n, hashes = len(offsets) - 1, bands * rows
    factor, shift = np.empty(hashes, np.uint64), np.empty(hashes, np.uint64)
    for i in range(hashes):
        factor[i] = _mix(np.uint64(2 * i + 1)) | np.uint64(1)
        shift[i] = _mix(np.uint64(2 * i + 2))
    least = np.empty(hashes, np.uint64)
    out = np.empty((n, bands), np.uint64)
    for row in range(n):
        least[:] = np.uint64(0xFFFFFFFFFFFFFFFF)
        at, end, trigram, seen = offsets[row], offsets[row + 1], np.uint64(0), 0
        while at < end:
            trigram, at = _next_trigram(text, at, trigram)
            seen += 1
            if seen >= 3 or at >= end:  # a shorter key is one trigram
                mixed = _mix(trigram)
                for i in range(hashes):
                    least[i] = min(least[i], mixed * factor[i] + shift[i])
        for band in range(bands):
            joined = _mix(np.uint64(band))
            for i in range(band * rows, (band + 1) * rows):
                joined = _mix(joined ^ least[i])
            out[row, band] = joined
    return out


@native
def _trigrams(text: Any, offsets: Any) -> tuple[Any, Any]:
    """Each key's set of trigrams, sorted, one after the other, and where each set ends: [sum of sizes], int64 [n + 1]."""
    n = len(offsets) - 1
    out, ends = np.empty(offsets[n] - offsets[0] + 1, np.uint64), np.zeros(n + 1, np.int64)
    used = 0
    for row in range(n):
        at, end, trigram, seen, begin = offsets[row], offsets[row + 1], np.uint64(0), 0, used
        while at < end:
            trigram, at = _next_trigram(text, at, trigram)
            seen += 1
            if seen >= 3 or at >= end:
                out[used] = trigram
                used += 1
        out[begin:used].sort()
        distinct = begin
        for i in range(begin, used):
            if i == begin or out[i] != out[i - 1]:  # distinct <= i: what is compared is not overwritten yet, but for equal values
                out[distinct] = out[i]
                distinct += 1
        used = distinct
        ends[row + 1] = used
    return out[:used], ends


@native
def _shared(trigrams: Any, left: int, left_end: int, right: int, right_end: int) -> int:
    """Size of the intersection of two sorted sets."""
    shared = 0
    while left < left_end and right < right_end:
        one, other = trigrams[left], trigrams[right]
        shared += one == other
        left += one <= other
        right += other <= one
    return shared


@native
def _judge(trigrams: Any, ends: Any, group: Any, split: Any, similarity: float, held_out: bool, max_comparisons: int) -> tuple[Any, Any]:
    """The row of the partner for which each row goes, -1 for none, and their similarity. Rows are sorted as `judge` says."""
    n = len(group)
    partner, found = np.full(n, -1, np.int64), np.zeros(n, np.float64)
    stays = np.empty(n, np.int64)
    num_stays = 0
    for row in range(n):
        if row == 0 or group[row] != group[row - 1]:
            num_stays = 0
        size, comparisons = ends[row + 1] - ends[row], 0
        for i in range(num_stays):
            other = stays[i]
            if comparisons == max_comparisons or (held_out and split[other] <= split[row]):
                break
            other_size = ends[other + 1] - ends[other]
            if min(size, other_size) < similarity * max(size, other_size):
                continue
            comparisons += 1
            shared = _shared(trigrams, ends[row], ends[row + 1], ends[other], ends[other + 1])
            jaccard = shared / (size + other_size - shared)
            if jaccard >= similarity:
                partner[row], found[row] = other, jaccard
                break
        if partner[row] < 0:
            stays[num_stays] = row
            num_stays += 1
    return partner, found
