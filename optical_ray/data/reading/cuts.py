"""Where big files are cut: at ends of rows, into parts of about CHUNK_BYTES."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from optical_ray.data.reading.chunks import CHUNK_BYTES
from optical_ray.data.reading.naming import split_name
from optical_ray.data.reading.places import FoundFile, open_file
from optical_ray.data.reading.streams import BLOCK_BYTES, StreamDamage, read_blocks

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class PairCuts:
    """Both halves of a Moses pair, cut at the same lines."""

    lines: tuple[int, int]
    """Of the English half and of the foreign one; only common lines are in the parts."""
    parts: list[tuple[tuple[Span, Span], int]]
    """(bytes of each half, 1-based number of the first line)."""


def cut_row_groups(sizes: Sequence[int]) -> list[Span]:
    """[start, stop) of row groups, in a row, each at most CHUNK_BYTES where one row group is."""
    spans: list[Span] = []
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and total + size > CHUNK_BYTES:
            spans.append((start, index))
            start, total = index, 0
        total += size
    return [*spans, (start, len(sizes))] if len(sizes) > start else spans


def cut_at_lines(file: FoundFile, quoted: bool) -> list[Span]:
    """[start, end) in bytes of an uncompressed file, each ending where a row ends.

    Args:
        file: At least CHUNK_BYTES long.
        quoted: A line end inside double quotes ends no row. The file is read once, to count quotes: a doubled quote does not change
            whether their number is even.
    """
    blocks: list[int] = []
    if quoted:
        blocks = list(accumulate((block.count(b'"') for block in read_blocks(file.path, file.label, None)), initial=0))
        quoted = blocks[-1] > 0
    cuts = [0]
    with open_file(file.path, file.label) as stream:
        for goal in range(CHUNK_BYTES, file.size, CHUNK_BYTES):
            if goal <= cuts[-1]:
                continue
            quotes = blocks[goal // BLOCK_BYTES] if quoted else 0
            stream.seek(goal)
            at = goal
            while block := stream.read(BLOCK_BYTES):
                end = _row_end(bytes(block), quotes % 2 == 1) if quoted else block.find(b"\n") + 1
                if end:
                    cuts.append(at + end)
                    break
                quotes, at = quotes + block.count(b'"'), at + len(block)
    return [span for span in pairwise([*cuts, file.size]) if span[0] < span[1]]


def _row_end(block: bytes, inside: bool) -> int:
    """Place after the first line end that is outside quotes; 0: none."""
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == ord("\n"))
    before = np.searchsorted(np.flatnonzero(data == ord('"')), ends) + inside
    outside = ends[before % 2 == 0]
    return int(outside[0]) + 1 if len(outside) else 0


def cut_pair(english: FoundFile, text: FoundFile) -> PairCuts:
    """Cut two uncompressed files at the same lines. Both are read once, to count line ends."""
    indexes = [_count_lines(half) for half in (english, text)]
    lines = (indexes[0][-1], indexes[1][-1])
    common = min(lines)
    longest = max(indexes, key=len)
    step = max(1, CHUNK_BYTES * max(1, len(longest) - 1) // max(1, english.size + text.size))  # blocks of the longer half
    starts = [count for count in longest[step:-1:step] if 0 < count < common]
    bounds = [0, *dict.fromkeys(starts), common]
    offsets = [[_offset(half, index, line) for line in bounds] for half, index in zip((english, text), indexes, strict=True)]
    spans = zip(pairwise(offsets[0]), pairwise(offsets[1]), pairwise(bounds), strict=True)
    return PairCuts(lines, [((first, second), start + 1) for first, second, (start, stop) in spans if start < stop])


def count_pair(english: FoundFile, text: FoundFile) -> tuple[int, int] | None:
    """Lines of two files that may be packed; None: one of them is cut short, so that their beginnings are all that is known of them."""
    try:
        first, second = (_count_lines(half)[-1] for half in (english, text))
    except StreamDamage:
        return None
    return first, second


def _count_lines(file: FoundFile) -> list[int]:
    """Line ends before each block of BLOCK_BYTES, and lines in all: a last one without an end counts."""
    counts, last = [0], b"\n"
    for block in read_blocks(file.path, file.label, split_name(file.name).compression):
        counts.append(counts[-1] + block.count(b"\n"))
        last = block[-1:]
    counts[-1] += last != b"\n"
    return counts


def _offset(file: FoundFile, index: Sequence[int], line: int) -> int:
    """The byte at which a line (from 0) begins; the file's size where there is none."""
    if line == 0:
        return 0
    if line >= index[-1]:
        return file.size
    block = bisect_left(index, line) - 1  # the block that holds the line end before it
    with open_file(file.path, file.label) as stream:
        stream.seek(block * BLOCK_BYTES)
        ends = np.flatnonzero(np.frombuffer(stream.read(BLOCK_BYTES), np.uint8) == ord("\n"))
    return block * BLOCK_BYTES + int(ends[line - index[block] - 1]) + 1
