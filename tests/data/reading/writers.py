"""The same pairs in every format, written by other means than they are read: plain strings, csv, json, xml.sax.saxutils, pyarrow, gzip."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.data.reading import OnBadRow, RawBatch, Tally, UnknownLanguages, plan_chunks, read_chunk

Pairs = Sequence[tuple[str, str]]

PAIRS = [
    ("The house is big.", "Nyumba ni kubwa."),
    ("Ünïcode & <tags> \"quoted\", 'too'", 'habari \u0085 ya \u2028 asubuhi, "sana"'),
    ("", ""),
    ("one\u00a0two", "\u0939\u093f\u0928\u094d\u0926\u0940 \U0001f600"),
    ("last, line", "mwisho"),
]

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def tsv(pairs: Pairs) -> bytes:
    return "".join(f"{english}\t{text}\n" for english, text in pairs).encode()


def csv_bytes(rows: Sequence[Sequence[str]]) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows(rows)
    return stream.getvalue().encode()


def jsonl(rows: Sequence[object]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=index % 2 == 0) + "\n" for index, row in enumerate(rows)).encode()


def tmx(units: Sequence[Sequence[tuple[str, str]]], attribute: str = "xml:lang") -> bytes:
    body = "".join(
        "<tu>" + "".join(f'<tuv {attribute}="{code}"><seg>{escape(text)}</seg></tuv>\n' for code, text in unit) + "</tu>\n"
        for unit in units
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4"><header srclang="en"/><body>\n{body}</body></tmx>\n'.encode()


def parquet(path: Path, columns: dict[str, object], row_group_size: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def moses(folder: Path, pairs: Pairs, prefix: str = "news", code: str = "sw", suffix: str = "") -> Path:
    """Returns the prefix."""
    folder.mkdir(parents=True, exist_ok=True)
    for column, half in enumerate(("en", code)):
        data = "".join(f"{pair[column]}\n" for pair in pairs).encode()
        (folder / f"{prefix}.{half}{suffix}").write_bytes(PACK[suffix](data))
    return folder / prefix


def save_to_disk(folder: Path, columns: dict[str, object], files: int = 2, licence: str = "cc-by-4.0", chunk_rows: int = 2) -> Path:
    """A folder as Hugging Face's `Dataset.save_to_disk` writes it (datasets 5.2)."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    names = [f"data-{index:05d}-of-{files:05d}.arrow" for index in range(files)]
    step = -(-len(table) // files)
    for index, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.slice(index * step, step), max_chunksize=chunk_rows)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names], "_split": "train"}))
    (folder / "dataset_info.json").write_text(json.dumps({"license": licence, "features": {}}))
    return folder


def read(
    *sources: str | Path, on_bad_row: OnBadRow = "refuse", unknown_languages: UnknownLanguages = "refuse"
) -> tuple[list[RawBatch], Tally]:
    """All batches of all chunks, in order; the chunks go through JSON as they do between processes."""
    plan = plan_chunks([str(source) for source in sources], on_bad_row=on_bad_row, unknown_languages=unknown_languages)
    tally = plan.tally
    batches = []
    for chunk in plan.chunks:
        one = Tally()
        batches += list(read_chunk(json.loads(json.dumps(chunk)), on_bad_row, one))
        tally.merge(Tally.from_dict(json.loads(json.dumps(one.to_dict()))))
    return batches, tally


def pairs_of(batches: Sequence[RawBatch], tag: str | None = None) -> list[tuple[str, str]]:
    return [
        pair
        for batch in batches
        if tag is None or batch.tag == tag
        for pair in zip(batch.english.to_pylist(), batch.text.to_pylist(), strict=True)
    ]
