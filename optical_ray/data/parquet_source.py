"""A local folder of Parquet bitext, `lang=<code>/part-*.parquet` with columns english and text -> raw rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from optical_ray.data.catalogs import RawRow
from optical_ray.errors import DataError

_PREFIX = "lang="
_COLUMNS = ("english", "text")


def list_language_files(folder: Path) -> dict[str, list[Path]]:
    """The Parquet files of each language, by the code in the folder's name, both in order of name.

    Raises:
        DataError: no such folder, no `lang=` folders in it, or one of them without Parquet files.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one that holds lang=<code>/part-0.parquet, or the word catalogs")
    languages = sorted(path for path in folder.iterdir() if path.name.startswith(_PREFIX) and path.is_dir())
    if not languages:
        raise DataError(f"{folder}: no lang=<code> folders in it; expected lang=<code>/part-0.parquet with columns english and text")
    files: dict[str, list[Path]] = {}
    for language in languages:
        files[language.name.removeprefix(_PREFIX)] = sorted(language.glob("*.parquet"))
        if not files[language.name.removeprefix(_PREFIX)]:
            raise DataError(f"{language}: no .parquet file in it; remove the folder, or put part-0.parquet there")
    return files


def read_bitext(path: Path, source: str) -> Iterator[RawRow]:
    """All rows of one file, in its order; a null counts as an empty string.

    The file is opened by itself: `lang` may be a column and a key of the path at once, which `pq.read_table` on the folder refuses.

    Raises:
        DataError: empty, corrupt, without the columns, or with a string that is not UTF-8; the message names the file and the row group.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path}: 0 bytes, not a Parquet file; copy it again")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({_first_line(error)}); copy it again") from None
    with file:
        _check_columns(path, file.schema_arrow)
        for group in range(file.metadata.num_row_groups):
            try:
                table = file.read_row_group(group, columns=list(_COLUMNS))
                englishes, texts = (table.column(name).to_pylist() for name in _COLUMNS)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise DataError(f"{path}, row group {group}: cannot be read ({_first_line(error)}); copy or write the file again") from None
            for english, text in zip(englishes, texts, strict=True):
                yield RawRow(english or "", text or "", source)


def _check_columns(path: Path, schema: pa.Schema) -> None:
    for name in _COLUMNS:
        if name not in schema.names:
            raise DataError(f"{path}: no column {name!r}; it has {', '.join(schema.names)}; rename the columns to english and text")
        kind = schema.field(name).type
        text = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_string_view(text) or pa.types.is_null(text)):
            raise DataError(f"{path}: column {name!r} is {kind}, expected strings")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
