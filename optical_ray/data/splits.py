"""English sentence -> train, valid or test: a hash of what is left of it without case, punctuation and spaces.

No English key is in two splits, in any language or source, and a key's split does not depend on what else is in the corpus. Of text alone
the key is that of the text. Functions of one string say what is meant; those of a column (`split_keys`, `hash_keys`, `splits_of`) give the
same, compiled.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import regex
from numpy.typing import NDArray

from optical_ray.data.characters import NUM_CHARACTERS, characters, composition, decode, encode, from_utf8, matches, native, utf8
from optical_ray.data.corpus_config import SPLITS, Split, SplitConfig

_KEPT = r"[\p{L}\p{M}\p{N}]"
_NOT_KEPT = regex.compile(r"[^\p{L}\p{M}\p{N}]+")
_DROPPED, _UNSURE = -1, -2


@lru_cache(maxsize=1 << 16)
def split_key(english: str) -> str:
    """What makes two English strings the same sentence: letters, digits and marks of the NFKC casefold.

    Stripping only case is not enough: 18 of 597 held-out strings differed from a training string in punctuation alone. Spaces go too,
    so that `e-mail`, `e mail` and `email` are one.
    """
    folded = english
    # Casefolding can undo NFKC, and so can taking characters out, hence until nothing changes: a key is its own key. Mostly one round.
    while (once := _NOT_KEPT.sub("", unicodedata.normalize("NFKC", folded).casefold())) != folded:
        folded = once
    return folded


def assign_split(english: str, config: SplitConfig) -> Split:
    """The split of an English sentence, the same in every process, corpus and Python version."""
    return split_of_key(split_key(english), config)


def split_of_key(key: str, config: SplitConfig) -> Split:
    """As `assign_split`, for a key that is known already."""
    digest = hashlib.blake2b(f"{config.salt}\x1f{key}".encode(), digest_size=16).digest()
    return SPLITS[int(splits_of(np.frombuffer(digest[:8], ">u8").astype(np.uint64), config)[0])]


def split_keys(english: pa.StringArray) -> pa.StringArray:
    """`split_key` of every string, [n], without nulls: characters are looked up one by one, 0.1 us for a sentence.

    Strings in which characters may join or fall apart (an accent that stands alone, a ligature, sharp s) are left to `split_key`.
    """
    text, offsets = utf8(english)
    table = _key_table()
    key_text, key_offsets, unsure = _keys(text, offsets, table.kept_as, table.order, table.composes_with_next, table.composes_with_previous)
    keys = from_utf8(key_text, key_offsets)
    if not unsure.any():
        return keys
    mask = pa.array(unsure)
    return pc.replace_with_mask(keys, mask, pa.array([split_key(one) for one in english.filter(mask).to_pylist()], pa.string()))


def hash_keys(keys: pa.StringArray, salt: str) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Two independent numbers for every key, uint64 [n] each: the halves of one BLAKE2b digest of salt and key.

    Returns:
        place: Decides the split (`splits_of`).
        order: Decides where the sentence stands; it says nothing about the split, so a stored order mixes splits evenly.
    """
    blake2b, prefix = hashlib.blake2b, f"{salt}\x1f".encode()
    text, offsets = utf8(keys)
    held, ends = text.data, offsets.tolist()
    digests = b"".join([blake2b(prefix + held[start:end], digest_size=16).digest() for start, end in pairwise(ends)])
    halves = np.frombuffer(digests, ">u8").reshape(-1, 2)
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64)


def splits_of(place: NDArray[np.uint64], config: SplitConfig) -> NDArray[np.int8]:
    """Index into SPLITS for every place, int8 [n]: test below the test share of the range, valid above it, then train."""
    share = place.astype(np.float64) / 2**64
    splits = np.full(len(place), SPLITS.index("train"), np.int8)
    splits[share < config.test_share + config.valid_share] = SPLITS.index("valid")
    splits[share < config.test_share] = SPLITS.index("test")
    return splits


class _KeyTable(NamedTuple):
    """What becomes of each character in a key when its neighbours do not matter; tables over all code points."""

    kept_as: NDArray[np.int32]
    """A code point, _DROPPED, or _UNSURE: it becomes several characters."""
    order: NDArray[np.uint8]
    """See `Composition`; the last two hold where the character, its NFKC or its key has the property."""
    composes_with_next: NDArray[np.bool_]
    composes_with_previous: NDArray[np.bool_]


@lru_cache(maxsize=1)
def _key_table() -> _KeyTable:
    kept, (order, _, first, second) = matches(_KEPT), composition()
    kept_as = np.where(kept, np.arange(NUM_CHARACTERS, dtype=np.int32), np.int32(_DROPPED))
    first, second = first.copy(), second.copy()
    for character in characters():
        code, form = ord(character), unicodedata.normalize("NFKC", character)
        folded = form.casefold()
        if folded == character:
            continue
        left = _NOT_KEPT.sub("", folded)
        if not left:
            kept_as[code] = _DROPPED
        elif len(form) == len(folded) == 1 and not order[code] and not order[ord(left)] and split_key.__wrapped__(left) == left:
            kept_as[code] = ord(left)
        else:
            kept_as[code] = _UNSURE
        for other in (ord(one) for one in form + folded):
            first[code] |= first[other]
            second[code] |= second[other]
    return _KeyTable(kept_as, order, first, second)


@native
def _keys(text: Any, offsets: Any, kept_as: Any, order: Any, first: Any, second: Any) -> tuple[Any, Any, Any]:
    """Bytes and offsets of the keys, and which of them are unsure (and empty here).

    NFKC works on each character alone, and so taking out the dropped ones and casefolding gives the key, unless a character that composes
    with its predecessor follows one that composes with its successor, or combining marks are out of order (UAX 15, section 9). A dropped
    character counts as one that composes, since what stood before and after it become neighbours.
    """
    n = len(offsets) - 1
    out = np.empty(2 * (offsets[n] - offsets[0]) + 8, np.uint8)  # no character's key is longer than twice its bytes
    out_offsets = np.zeros(n + 1, np.int32)
    unsure = np.zeros(n, np.bool_)
    end = 0
    for row in range(n):
        at, begin = offsets[row], end
        open_end, last_order = False, 0
        while at < offsets[row + 1]:
            if text[at] < 0x80:
                code, width = np.int64(text[at]), 1
            else:
                code, width = decode(text, at)
            at += width
            kept = kept_as[code]
            if kept >= 0:
                rank = order[kept]
                if (open_end and second[code]) or (rank != 0 and rank < last_order):
                    kept = _UNSURE
                else:
                    open_end = first[code] or (rank != 0 and open_end)
                    last_order = rank
                    end = encode(kept, out, end)
            else:
                open_end = True
            if kept == _UNSURE:
                unsure[row] = True
                end = begin
                break
        out_offsets[row + 1] = end
    return out[:end].copy(), out_offsets, unsure
