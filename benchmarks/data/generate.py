"""Bitext of any size that looks like bitext to a cleaning pipeline: Zipf words, four scripts, a known share of every kind of bad row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LANGUAGES = {"sw": "Latn", "yo": "Latn", "tr": "Latn", "fi": "Latn", "hi": "Deva", "mr": "Deva", "ar": "Arab", "am": "Ethi"}
ALPHABETS = {
    "Latn": "abcdefghijklmnoprstuvwyzáéíóú",
    "Deva": "".join(map(chr, range(0x0915, 0x0939))) + "ािीुूेैो",
    "Arab": "".join(map(chr, [*range(0x0627, 0x063A), *range(0x0641, 0x064A)])),
    "Ethi": "".join(map(chr, range(0x1200, 0x1248))),
}
ENGLISH = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = 20_000
FILE_ROWS = 125_000
SHARES = {"placeholder": 0.03, "short": 0.03, "copy": 0.02, "script": 0.02, "ratio": 0.02, "repeat": 0.05}
"""Of the rows; a row has at most one fault."""


def generate(folder: Path, rows: int, seed: int = 0) -> None:
    """Write `rows` rows as lang=<code>/part-*.parquet (columns english, text), equal parts of LANGUAGES; the same for one seed."""
    english_words = _vocabulary(ENGLISH, np.random.default_rng(seed))
    for place, (code, script) in enumerate(LANGUAGES.items()):
        rng = np.random.default_rng((seed, place))
        words = _vocabulary(ALPHABETS[script], rng)
        count = rows // len(LANGUAGES)
        for part, first in enumerate(range(0, count, FILE_ROWS)):
            size = min(FILE_ROWS, count - first)
            english, text = _sentences(english_words, size, rng), _sentences(words, size, rng)
            _spoil(english, text, english_words, rng, "Latn" if script != "Latn" else "Cyrl")
            path = folder / f"lang={code}" / f"part-{part:03d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table({"english": english, "text": text}), path, compression="zstd", row_group_size=16_384)


def _vocabulary(letters: str, rng: np.random.Generator) -> list[str]:
    lengths = rng.integers(2, 10, VOCABULARY)
    return ["".join(letters[letter] for letter in rng.integers(0, len(letters), length)) for length in lengths]


def _sentences(words: list[str], count: int, rng: np.random.Generator) -> list[str]:
    """5 to 24 words each, drawn by Zipf's law."""
    lengths = rng.integers(5, 25, count)
    chosen = np.minimum((VOCABULARY ** rng.random(lengths.sum())).astype(int), VOCABULARY - 1)
    ends = lengths.cumsum()
    return [" ".join(words[word] for word in chosen[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def _spoil(english: list[str], text: list[str], words: list[str], rng: np.random.Generator, wrong: str) -> None:
    fault = rng.choice(len(SHARES) + 1, len(english), p=[*SHARES.values(), 1 - sum(SHARES.values())])
    alphabet = ALPHABETS["Latn"] if wrong == "Latn" else "".join(map(chr, range(0x0430, 0x0450)))
    for row in np.flatnonzero(fault < len(SHARES)):
        kind = list(SHARES)[fault[row]]
        if kind == "placeholder":
            english[row] += " %s"
        elif kind == "short":
            english[row] = " ".join(english[row].split()[:2])
        elif kind == "copy":
            text[row] = english[row]
        elif kind == "script":
            text[row] = " ".join("".join(alphabet[ord(c) % len(alphabet)] for c in word) for word in text[row].split())
        elif kind == "ratio":
            text[row] = " ".join([text[row]] * 4)
        elif row:
            english[row] = english[int(rng.integers(0, row))]
