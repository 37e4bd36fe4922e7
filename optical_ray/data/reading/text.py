"""Text alone: a line, a sentence or a paragraph, of the language that the file is in. A blank line holds no row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optical_ray.data.reading.chunks import Chunk
from optical_ray.data.reading.lines import LineNumbers, read_lines
from optical_ray.data.reading.naming import split_name
from optical_ray.data.reading.rows import Rows, report_undecodable
from optical_ray.data.reading.tally import BadRows


def read_text(chunk: Chunk, bad: BadRows) -> Iterator[Rows]:
    """The lines of a chunk of a text file.

    Raises:
        DataError: it cannot be opened or, `refuse`, has a line that is not UTF-8, or is cut short.
    """
    [path], [label] = chunk["paths"], chunk["labels"]
    span = chunk["spans"][0] if chunk["spans"] else None
    numbers = LineNumbers(label, path, span[0] if span else 0, chunk["first_line"])
    for lines in read_lines(path, label, split_name(path).compression, span, numbers, bad):
        report_undecodable(lines.undecodable, numbers.after(lines.first), bad)
        at = np.flatnonzero(np.asarray(pc.binary_length(lines.texts)))
        texts = lines.texts if len(at) == len(lines.texts) else lines.texts.take(pa.array(at))
        yield Rows(None, [texts], None, None, numbers.of(at + lines.first))
