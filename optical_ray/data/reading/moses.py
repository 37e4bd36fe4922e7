"""Moses pairs: line n of one file translates line n of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np

from optical_ray.data.reading.chunks import Chunk
from optical_ray.data.reading.lines import LineNumbers, read_lines
from optical_ray.data.reading.naming import split_name
from optical_ray.data.reading.rows import Rows, keep, report_undecodable
from optical_ray.data.reading.tally import BadRows

UNEQUAL = "unequal halves"
"""Kind of bad row: all lines of two files of which one has more, so that nobody knows which line translates which; where a packed half is
cut short, the lines of the other beyond the cut."""

_EXPECTED = "the halves of a Moses pair must have the same number of lines"


def read_moses(chunk: Chunk, bad: BadRows) -> Iterator[Rows]:
    """The line pairs of a chunk; two empty lines are a row too, so that cleaning counts it.

    Raises:
        DataError: a half cannot be opened or, `refuse`, has a line that is not UTF-8, or ends before the other.
    """
    spans: Sequence[tuple[int, int] | None] = chunk["spans"] or (None, None)
    halves = [
        LineNumbers(label, path, span[0] if span else 0, chunk["first_line"])
        for label, path, span in zip(chunk["labels"], chunk["paths"], spans, strict=True)
    ]
    streams = [
        read_lines(numbers.path, numbers.label, split_name(numbers.path).compression, span, numbers, bad)
        for numbers, span in zip(halves, spans, strict=True)
    ]
    counts = [0, 0]
    for both in zip_longest(*streams):
        lengths = [len(lines.texts) if lines is not None else 0 for lines in both]
        counts = [counts[0] + lengths[0], counts[1] + lengths[1]]
        common = min(lengths)
        if not common:
            continue
        good = np.ones(common, bool)
        for numbers, lines in zip(halves, both, strict=True):
            inside = [line for line in lines.undecodable if line.at < common and good[line.at]]  # a row is bad once
            report_undecodable(inside, numbers.after(lines.first), bad)
            good[[line.at for line in inside]] = False
        english, text = keep([lines.texts[:common] for lines in both], good)
        yield Rows(english, [text], None, None, halves[1].of(np.flatnonzero(good) + both[1].first))
    report_unequal((chunk["labels"][0], chunk["labels"][1]), (counts[0], counts[1]), bad)


def report_unequal(labels: tuple[str, str], lines: tuple[int, int], bad: BadRows) -> None:
    """Tell `bad` of the lines beyond the end of the shorter half, by file and number of lines."""
    if lines[0] != lines[1]:
        bad.add(UNEQUAL, labels[1], _found(labels, lines), _EXPECTED, abs(lines[0] - lines[1]), "pairs of files")


def report_unknown_order(labels: tuple[str, str], lines: tuple[int, int], bad: BadRows) -> bool:
    """Tell `bad` of all lines of halves of unequal length: one missing line shifts what follows. True where they are unequal."""
    if lines[0] != lines[1]:
        found = f"{_found(labels, lines)}; which line translates which is not known"
        bad.add(UNEQUAL, labels[1], found, _EXPECTED, max(lines), "pairs of files")
    return lines[0] != lines[1]


def _found(labels: tuple[str, str], lines: tuple[int, int]) -> str:
    return f"{lines[1]} lines, but {labels[0]} has {lines[0]}"
