"""queries.parquet, read as it is today, whoever wrote it: columns that are younger than the file are filled in."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from optical_ray.errors import RunFolderError
from optical_ray.runs.schemas import QUERIES

COLUMNS = [name for name in QUERIES.names if name != "top_candidate_id"]  # the largest column, and no statistic needs it
TEXT_COLUMNS = [name for name in COLUMNS if pa.types.is_string(QUERIES.field(name).type)]
YOUNGER = ("collection", "R@100", "asked", "among")
"""Columns that files of this format version may lack."""


def _dictionary_schema() -> pa.Schema:
    def of(name: str) -> pa.DataType:
        return pa.dictionary(pa.int32(), pa.string()) if name in TEXT_COLUMNS else QUERIES.field(name).type

    return pa.schema([pa.field(name, of(name), QUERIES.field(name).nullable) for name in COLUMNS])


ROWS = _dictionary_schema()
"""QUERIES without the best candidate, text as dictionaries: a sweep's rows repeat a few words millions of times."""


def read_query_rows(path: Path) -> pa.Table:
    """Per-query rows, schema ROWS.

    A file without `collection` gets `<query language>-<document language>`, as bitext rows are named; one without `R@100` gets it where one
    candidate is relevant (1 up to rank 100) and null elsewhere. `asked` and `among` cannot be told from the rest: null.

    Raises:
        RunFolderError: the file cannot be read, a column is missing or of another type.
    """
    try:
        metadata = pq.read_metadata(path)
        found = metadata.schema.names
        missing = [name for name in COLUMNS if name not in found and name not in YOUNGER]
        if missing:
            raise RunFolderError(f"{path}: no column {', '.join(missing)}")
        columns = [name for name in COLUMNS if name in found]
        text = [name for name in columns if name in TEXT_COLUMNS]
        # pq.read_table opens a data set first, which takes as long as the rest where files are small.
        with pq.ParquetFile(path, metadata=metadata, read_dictionary=text) as file:
            table = file.read(columns=columns)
        if "collection" not in found:
            languages = [table[name].cast(pa.string()) for name in ("query_language", "document_language")]
            table = table.append_column("collection", pc.binary_join_element_wise(*languages, "-").dictionary_encode())
        if "R@100" not in found:
            near = pc.cast(pc.less_equal(table["rank"].fill_null(2**31 - 1), 100), pa.float32())
            table = table.append_column("R@100", pc.if_else(pc.equal(table["num_relevant"], 1), near, pa.scalar(None, pa.float32())))
        for name in ("asked", "among"):
            if name not in found:
                table = table.append_column(name, pa.nulls(table.num_rows, pa.int64()))
        return table.select(COLUMNS).cast(ROWS)
    except (OSError, pa.ArrowException) as error:
        raise RunFolderError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
