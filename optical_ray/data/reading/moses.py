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
"""Kind of bad row: lines beyond the end of the shorter half."""


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
    """Tell `bad` of halves of unequal length, by file and number of lines."""
    if lines[0] != lines[1]:
        found = f"{lines[1]} lines, but {labels[0]} has {lines[0]}"
        bad.add(UNEQUAL, labels[1], found, "the halves of a Moses pair must have the same number of lines", abs(lines[0] - lines[1]))
