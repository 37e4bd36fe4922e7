"""Products of vectors in tiles that stay in registers: ROWS vectors of one matrix against 16 of another.

The 16 are laid out as a *panel*, [D, 16]: one load brings dimension k of all of them. Every product is summed over the dimensions in their
order, in its own lane, so that it is the same to the bit whatever stands beside it. Matrices are flat float32.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from optical_ray.transport.cpu import simd
from optical_ray.transport.cpu.simd import native

LANES = 16
ROWS = 6
"""Twelve sums of eight float32 are in flight on a processor with AVX2, which has sixteen such registers."""


@njit(inline="always")
def tile(panels, at, rows, start, last, width):
    """Products of rows `start` to `start + ROWS - 1` with the panel at an entry; in the place of rows beyond `last` stands `last` again."""
    zero = simd.splat(panels, 0.0)
    first, second, third, fourth, fifth, sixth = zero, zero, zero, zero, zero, zero
    at_1, at_2, at_3 = start * width, min(start + 1, last) * width, min(start + 2, last) * width
    at_4, at_5, at_6 = min(start + 3, last) * width, min(start + 4, last) * width, min(start + 5, last) * width
    for k in range(width):
        lanes = simd.load(panels, at + k * LANES)
        first = simd.fma(lanes, simd.spread(rows, at_1 + k), first)
        second = simd.fma(lanes, simd.spread(rows, at_2 + k), second)
        third = simd.fma(lanes, simd.spread(rows, at_3 + k), third)
        fourth = simd.fma(lanes, simd.spread(rows, at_4 + k), fourth)
        fifth = simd.fma(lanes, simd.spread(rows, at_5 + k), fifth)
        sixth = simd.fma(lanes, simd.spread(rows, at_6 + k), sixth)
    return first, second, third, fourth, fifth, sixth


@native
def best_match(panels, panel, rows, start, stop, width, best, to):
    """The largest product of each of a panel's vectors with rows `start` to `stop - 1`, at least one.

    A row that stands twice in the last tile changes no maximum, so nothing has to be masked.
    """
    most = simd.splat(panels, -np.inf)
    for row in range(start, stop, ROWS):
        first, second, third, fourth, fifth, sixth = tile(panels, panel * width * LANES, rows, row, stop - 1, width)
        most = simd.maximum(simd.maximum(first, second), most)
        most = simd.maximum(simd.maximum(third, fourth), most)
        most = simd.maximum(simd.maximum(fifth, sixth), most)
    simd.store(best, to, most)


@native
def match_texts(panels, rows, starts, width, owner, chunk, first, last, best, sums):
    """Add up, for each text made of rows and each owner of panel vectors, the largest product of every one of the owner's vectors.

    Args:
        starts: Where each text's rows begin, and behind the last.
        owner: Of each vector in the panels, ascending; the last panel may hold more vectors than there are owners.
        chunk: Panels that are met with all texts before the next ones: as many as stay in the second-level cache.
        first: The first text.
        last: Behind the last text.
        best: Working memory, chunk * LANES.
        sums: [texts, owners]; 0, or what was added before. Texts without rows are left out.
    """
    panels_in_all = -(-len(owner) // LANES)
    for begin in range(0, panels_in_all, chunk):
        end = min(begin + chunk, panels_in_all)
        lanes = min(end * LANES, len(owner)) - begin * LANES
        for text in range(first, last):
            if starts[text] == starts[text + 1]:
                continue
            for panel in range(begin, end):
                best_match(panels, panel, rows, starts[text], starts[text + 1], width, best, (panel - begin) * LANES)
            for lane in range(lanes):
                sums[text, owner[begin * LANES + lane]] += best[lane]


@native
def multiply(panels, num_panels, rows, width, first, last, products, pitch):
    """Products of rows `first` to `last - 1` with every vector of the panels, into rows of `pitch` entries."""
    for row in range(first, last, ROWS):
        bottom = last - 1
        for panel in range(num_panels):
            a, b, c, d, e, f = tile(panels, panel * width * LANES, rows, row, bottom, width)
            to = panel * LANES
            simd.store(products, row * pitch + to, a)
            simd.store(products, min(row + 1, bottom) * pitch + to, b)
            simd.store(products, min(row + 2, bottom) * pitch + to, c)
            simd.store(products, min(row + 3, bottom) * pitch + to, d)
            simd.store(products, min(row + 4, bottom) * pitch + to, e)
            simd.store(products, min(row + 5, bottom) * pitch + to, f)
